"""Whether this process was forked from one in which the package was imported.

Imported with the package itself, since only what was there before a fork hears of it.
"""

import os

_forked = False


def was_forked() -> bool:
    """Return whether threads that libraries started before a fork may be missing here."""
    return _forked


def _note() -> None:
    global _forked
    _forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note)
