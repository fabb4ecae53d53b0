"""Where a command writes, looked at before any work is done."""

from collections.abc import Sequence
from pathlib import Path

from cdn_sc._files import check_writable
from cdn_sc._read import is_zarr_folder
from cdn_sc.errors import InputError, WriteError

ZARR = ".zarr"


def check_destination(path: Path | None, source: Path, endings: Sequence[str]) -> None:
    """Refuse a name that cannot be written.

    Raises
    ------
    InputError
        If its ending is none of those, or it is the input.
    WriteError
        If it cannot be written.
    """
    if path is None:
        return
    if not path.name.lower().endswith(tuple(endings)):
        raise InputError(f"the name {str(path)!r} ends in none of {', '.join(endings)}.")
    check_writable(path)
    if not path.exists():
        return
    if path.samefile(source):
        raise InputError(f"{str(path)!r} is the input, which is never overwritten: give another name.")
    wants_folder = path.name.lower().endswith(ZARR)
    if wants_folder and not (path.is_dir() and is_zarr_folder(path)):
        raise WriteError(f"cannot write {str(path)!r}: something else than a zarr store has that name.")
    if not wants_folder and path.is_dir():
        raise WriteError(f"cannot write {str(path)!r}: a folder has that name.")
