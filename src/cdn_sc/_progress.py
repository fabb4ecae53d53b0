"""Progress bars that never end the work they tell of."""

import sys
from contextlib import suppress
from typing import Any

from tqdm.auto import tqdm
from tqdm.std import tqdm as written_bar
from tqdm.utils import ObjectWrapper


class _Forgiving(ObjectWrapper):
    """A stream whose disk may be full, or which may be closed: what cannot be written is left out."""

    def write(self, text: str) -> None:
        with suppress(OSError, ValueError):
            self._wrapped.write(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._wrapped.flush()


def progress_bar(show: bool, *arguments: Any, **options: Any) -> Any:
    """Return a bar on `sys.stderr`, or a notebook's own, which stays silent where neither can be written.

    Parameters
    ----------
    show
        Whether to show it; never without `sys.stderr` (services, pythonw).
    arguments, options
        As of `tqdm.tqdm`.
    """
    written = tqdm.status_printer is written_bar.status_printer
    if written and sys.stderr is not None:
        options["file"] = _Forgiving(sys.stderr)
    return tqdm(*arguments, disable=not show or (written and sys.stderr is None), **options)
