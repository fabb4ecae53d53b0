"""How the compiled functions of this folder are compiled."""

from collections.abc import Callable
from typing import Any

import numba


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function with numba: machine code kept on disk where possible, no GIL while it runs.

    Compilation happens at the first call. A cached function does not notice edits in functions that it
    takes from *other* files, so each compiled file of this folder stands on its own.
    """
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # numba found no folder that it may write its cache to
        return numba.njit(**options)(function)
