"""Annotated data written in two parts: all that there is before the scoring, then the result."""

import errno
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from cdn_sc.errors import InputError

if TYPE_CHECKING:
    from anndata import AnnData

ENDINGS = (".h5ad", ".zarr", ".zarr.zip")


def write_object(adata: "AnnData", part: Path) -> None:
    """Write an object to a new file, in the form that the name's ending says.

    Parameters
    ----------
    adata
        The object. Its columns of strings become categorical, as :meth:`anndata.AnnData.write_h5ad` has it.
    part
        Name that ends in one of `ENDINGS`. Of a zip file the folder is written, see `add_result`.

    Raises
    ------
    InputError
        If the object holds something that cannot be written.
    OSError
        If the file cannot be written.
    """
    with _nullable_strings(), _refusals():
        if part.name.endswith(".h5ad"):
            from anndata.io import write_elem

            adata.strings_to_categoricals()
            if adata.raw is not None:
                adata.strings_to_categoricals(adata.raw.var)
            with _h5_file(part, "w") as file:
                write_elem(file, "/", adata)
        else:
            adata.write_zarr(_folder_of(part))


def add_result(part: Path, key: str, result: Any) -> None:
    """Add a result to `uns` of what `write_object` wrote, which is then complete.

    Parameters
    ----------
    part
        As of `write_object`.
    key, result
        What to add.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    from anndata.io import write_elem

    with _nullable_strings():
        if part.name.endswith(".h5ad"):
            with _h5_file(part, "r+") as file:
                write_elem(file["uns"], key, result)
            return
        import zarr

        folder = _folder_of(part)
        # zarr 2 knows no such option, and does without it
        plain: Any = {} if zarr.__version__.startswith("2.") else {"use_consolidated": False}
        group = zarr.open_group(str(folder), mode="r+", **plain)
        write_elem(cast(Any, group["uns"]), key, result)
        zarr.consolidate_metadata(group.store)
        if part != folder:
            _zip(folder, part)


def _folder_of(part: Path) -> Path:
    """Folder of a zarr store; of one to be zipped, it lies beside the zip file."""
    return part.with_name("store.zarr") if part.name.endswith(".zip") else part


def _zip(folder: Path, part: Path) -> None:
    from zipfile import ZIP_STORED, ZipFile

    with ZipFile(part, "w", ZIP_STORED) as file:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                file.write(path, path.relative_to(folder))
    shutil.rmtree(folder)


@contextmanager
def _refusals() -> Iterator[None]:
    """Tell what h5py, zarr and anndata have against an object."""
    try:
        yield
    except (OSError, MemoryError):
        raise
    except Exception as error:
        reason = str(error).rstrip(".")
        raise InputError(
            f"the object that was read cannot be written, so that nothing was scored: {reason}. Ask for the "
            "--table alone, or remove or rename in the input what is named here."
        ) from error


@contextmanager
def _nullable_strings() -> Iterator[None]:
    """Let strings that were read with missing values, or in that form, be written in the same form."""
    import anndata

    with warnings.catch_warnings():
        # zarr and anndata announce changes of their formats, which is nothing to tell a user of the command
        warnings.simplefilter("ignore")
        name = "allow_write_nullable_strings"
        if not hasattr(anndata.settings, name):
            yield
            return
        with anndata.settings.override(**{name: True}):
            yield


@contextmanager
def _h5_file(path: Path, mode: str) -> Iterator[Any]:
    """Open an HDF5 file for writing so that a full disk ends in an `OSError`.

    HDF5 by itself crashes when it is closed after its writing failed.
    """
    import h5py

    with _Disk(path, mode) as disk:
        try:
            with h5py.File(disk, mode) as file:
                yield file
        finally:
            disk.tell_failure()


class _Disk:
    """The file that HDF5 writes to: it never hears of a write that fails, which would make it crash later."""

    def __init__(self, path: Path, mode: str) -> None:
        # no buffer: HDF5 has its own
        self._file = path.open("w+b" if mode == "w" else "r+b", buffering=0)
        self._failure: OSError | None = None

    def __enter__(self) -> "_Disk":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def tell_failure(self) -> None:
        """Raise what went wrong first."""
        if self._failure is not None:
            raise self._failure

    def write(self, content: Any) -> int:
        """Write all of it, or nothing more once the disk is full."""
        rest = memoryview(content).cast("B")
        while rest and self._failure is None:
            try:
                written = self._file.write(rest)
                if not written:
                    raise OSError(errno.ENOSPC, "No space left on device")
                rest = rest[written:]
            except OSError as error:
                self._failure = error
        return len(content)

    def truncate(self, size: int | None = None) -> int:
        """Set the file's size."""
        if self._failure is None:
            try:
                return self._file.truncate(size)
            except OSError as error:
                self._failure = error
        return size or 0

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer, with zeros where what was to be written there is not."""
        found = self._file.readinto(buffer) or 0
        if self._failure is not None:
            view = memoryview(buffer).cast("B")
            view[found:] = bytes(len(view) - found)
            return len(view)
        return found

    def read(self, size: int = -1) -> bytes:
        """Read some bytes."""
        return self._file.read(size) or b""

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to a place."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Return the place."""
        return self._file.tell()

    def flush(self) -> None:
        """Do nothing: there is no buffer."""
