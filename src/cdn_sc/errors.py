"""The errors that users meet: one small family, each also a builtin that fits.

Every message says what was found and what would be right.
"""

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = [
    "ArchiveError",
    "CdnScError",
    "CountsError",
    "DeviceError",
    "DeviceMemoryError",
    "DownloadError",
    "InputError",
    "MissingNameError",
    "WriteError",
    "did_you_mean",
]


class CdnScError(Exception):
    """Any error that cdn-sc raises on purpose."""


class InputError(CdnScError, ValueError):
    """An argument or the data cannot be used as they are."""


class CountsError(InputError):
    """The values look like counts, and log-normalised expression is wanted."""


class MissingNameError(CdnScError, KeyError):
    """A column, layer, label or result of that name does not exist."""

    def __str__(self) -> str:
        # KeyError shows the repr of its argument, which makes sentences hard to read.
        return str(self.args[0]) if self.args else ""


class WriteError(CdnScError, OSError):
    """A file or folder cannot be written: no space, no right, too long a name, or another run there."""


class DownloadError(CdnScError, OSError):
    """A file could not be fetched or kept; the message says where to put it by hand."""


class ArchiveError(InputError):
    """An archive is damaged, lacks what is sought in it, or would write outside its folder."""


class DeviceError(CdnScError, RuntimeError):
    """The device asked for is not there, or is of no known kind."""


class DeviceMemoryError(DeviceError, MemoryError):
    """The device ran out of memory, also when tried again with an empty cache."""


def did_you_mean(name: object, known: Iterable[object], *, show: int = 8) -> str:
    """Return a sentence with the known names nearest to a wrong one.

    Parameters
    ----------
    name
        The name that was not found.
    known
        The names that exist.
    show
        How many names to list at most when none is near.

    Returns
    -------
    A sentence such as ``"Did you mean 'drug_A'?"``, or a list of what there is.
    """
    names = [str(candidate) for candidate in known]
    by_lower_case = {candidate.lower(): candidate for candidate in names}
    near = get_close_matches(str(name).lower(), by_lower_case, n=3, cutoff=0.6)
    if near:
        return f"Did you mean {' or '.join(repr(by_lower_case[key]) for key in near)}?"
    if not names:
        return "There are none."
    listed = ", ".join(repr(candidate) for candidate in names[:show])
    more = f" and {len(names) - show} more" if len(names) > show else ""
    return f"There are: {listed}{more}."
