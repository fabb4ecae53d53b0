"""How functions are compiled with numba."""

from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Any

import numba
from numba.core.caching import FunctionCache

from cdn_sc._logging import logger

# Sums may be taken in any order, so that vector instructions serve for them; nothing else is relaxed.
_ANY_ORDER = {"reassoc"}


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function with numba: machine code kept on disk where possible, no GIL while it runs.

    Compilation happens at the first call; division by zero gives infinity or NaN, as in numpy. Where no
    folder for the cache can be written (read-only containers), or the disk is full or the cache damaged, the
    function is compiled anew in each process. None is parallel: threads of ours take whole groups. A cached
    function does not notice edits in functions that it takes from *other* files, so each file stands on its
    own.
    """
    return _compiled(function, fastmath=False)


def compiled_sums(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function as :func:`compiled` does, with sums in any order: faster, and rounded otherwise."""
    return _compiled(function, fastmath=_ANY_ORDER)


def _compiled(function: Callable[..., Any], fastmath: bool | Collection[str]) -> Callable[..., Any]:
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": fastmath}
    dispatcher = numba.njit(**options)(function)
    try:
        dispatcher._cache = _Cache(function)
    except (RuntimeError, OSError) as error:  # no folder that may be written
        logger.debug("%s is not kept compiled: %s", function.__qualname__, error)
    return dispatcher


class _Cache(FunctionCache):
    """Compiled functions on disk, where what cannot be read or written counts as not there."""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)
        except Exception as error:  # of pickle, for whatever a damaged file says
            logger.debug("the compiled %s cannot be read, compiling anew: %r", self._name, error)
            with suppress(Exception):
                self.flush()
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(sig, data)
        except Exception as error:
            logger.debug("the compiled %s cannot be kept: %r", self._name, error)
