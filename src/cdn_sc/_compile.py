"""Numba compilation that also works where no cache folder can be written."""

from collections.abc import Callable
from typing import Any

import numba


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile with ``numba.njit``: cached on disk where possible, without the interpreter lock.

    Numba raises when the module is imported if neither the package folder nor the user's cache folder
    can be written (read-only containers); there the function is compiled anew in each process.
    """
    try:
        return numba.njit(cache=True, nogil=True)(function)
    except RuntimeError:
        return numba.njit(nogil=True)(function)
