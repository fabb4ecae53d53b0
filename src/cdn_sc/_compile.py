"""How functions are compiled with numba."""

from collections.abc import Callable, Collection
from typing import Any

import numba

# Sums may be taken in any order, so that vector instructions serve for them; nothing else is relaxed.
_ANY_ORDER = {"reassoc"}


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function with numba: machine code kept on disk where possible, no GIL while it runs.

    Compilation happens at the first call; division by zero gives infinity or NaN, as in numpy. Numba
    raises when the module is imported if neither the package folder nor the user's cache folder can be
    written (read-only containers); there the function is compiled anew in each process. A cached function
    does not notice edits in functions that it takes from *other* files, so each file stands on its own.
    """
    return _compiled(function, fastmath=False)


def compiled_sums(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function as :func:`compiled` does, with sums in any order: faster, and rounded otherwise."""
    return _compiled(function, fastmath=_ANY_ORDER)


def _compiled(function: Callable[..., Any], fastmath: bool | Collection[str]) -> Callable[..., Any]:
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": fastmath}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # numba found no folder that it may write its cache to
        return numba.njit(**options)(function)
