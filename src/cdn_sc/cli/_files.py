"""Files that the commands read and write."""

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING
from uuid import uuid4

from cdn_sc.errors import InputError

if TYPE_CHECKING:
    from anndata import AnnData


def check_destination(path: Path | None, source: Path, endings: Sequence[str]) -> None:
    """Refuse a file name that cannot be written, before any work is done."""
    if path is None:
        return
    if not path.name.lower().endswith(tuple(endings)):
        raise InputError(f"the name {str(path)!r} ends in none of {', '.join(endings)}.")
    if path.exists() and path.samefile(source):
        raise InputError(f"{str(path)!r} is the input, which is never overwritten: give another name.")
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise InputError(f"cannot write {str(path)!r}: there is no folder {str(path.absolute().parent)!r}.")
    _check_writable(path.absolute().parent)


def read(source: Path) -> "AnnData":
    """Read an h5ad file, or say in one line why that cannot be done."""
    from anndata import read_h5ad

    try:
        return read_h5ad(source)
    except Exception as error:  # whatever a file that is no h5ad makes h5py and anndata raise
        raise InputError(f"cannot read {str(source)!r} as an h5ad file: {error}") from error


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file under another name first, so that the name never stands for half a file."""
    part = path.with_name(f".{uuid4().hex}.{path.name}")
    try:
        write(part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def make_folder(path: Path) -> None:
    """Make the folder of the results, unless it is there, or refuse one that cannot be written to."""
    if path.exists() and not path.is_dir():
        raise InputError(f"{str(path)!r} is a file; the results need a folder.")
    path.mkdir(parents=True, exist_ok=True)
    _check_writable(path)


def _check_writable(folder: Path) -> None:
    # Only an attempt tells: permissions say nothing of file systems that are read-only or full.
    try:
        with TemporaryFile(dir=folder) as file:
            file.write(b"0")
    except OSError as error:
        raise InputError(f"cannot write into the folder {str(folder)!r}: {error.strerror}.") from error
