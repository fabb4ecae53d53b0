"""How functions are compiled with numba."""

from collections.abc import Callable
from typing import Any

import numba


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function with numba: machine code kept on disk where possible, no GIL while it runs.

    Compilation happens at the first call; division by zero gives infinity or NaN, as in numpy. Numba
    raises when the module is imported if neither the package folder nor the user's cache folder can be
    written (read-only containers); there the function is compiled anew in each process. A cached function
    does not notice edits in functions that it takes from *other* files, so each file stands on its own.
    """
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # numba found no folder that it may write its cache to
        return numba.njit(**options)(function)
