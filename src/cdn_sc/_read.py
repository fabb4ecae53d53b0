"""Annotated data from a file or folder, whatever its form, or one error that says what is there instead."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cdn_sc.errors import InputError

if TYPE_CHECKING:
    from anndata import AnnData

ZIPPED = ".zip"
# What marks a folder as a zarr store, in its formats 2 and 3.
_ZARR_MARKS = (".zgroup", ".zmetadata", "zarr.json")


def is_zarr_folder(path: Path) -> bool:
    """Return whether a folder is a zarr store."""
    return any((path / mark).is_file() for mark in _ZARR_MARKS)


def check_there(path: Path) -> None:
    """Look whether there is a file, or a zarr store, of that name.

    Raises
    ------
    InputError
        If there is nothing, or a folder of another kind.
    """
    if path.is_dir():
        if not is_zarr_folder(path):
            raise InputError(f"{str(path)!r} is a folder, and no zarr store: name an h5ad file or a store.")
    elif not path.is_file():
        raise InputError(f"there is no file {str(path)!r}.")


def read_object(path: Path) -> AnnData:
    """Read an h5ad file, or a zarr store: a folder or a zip file of one.

    Raises
    ------
    InputError
        If it is none, is damaged, or holds several modalities (h5mu).
    """
    check_there(path)
    if path.is_dir() or path.name.endswith(ZIPPED):
        return _read(path, "a zarr store", _read_zarr)
    return _read(path, "an h5ad file", _read_h5ad)


def _read(path: Path, what: str, read: Callable[[Path], AnnData]) -> AnnData:
    try:
        return read(path)
    except InputError:
        raise
    except Exception as error:  # whatever a file of another kind makes h5py, zarr and anndata raise
        raise InputError(f"cannot read {path} as {what}: {error}") from error


def _read_h5ad(path: Path) -> AnnData:
    import h5py
    from anndata import read_h5ad

    with h5py.File(path, "r") as file:
        _check_one_modality(file, path)
    return read_h5ad(path)


def _read_zarr(path: Path) -> AnnData:
    try:
        import zarr
    except ImportError as error:
        raise InputError(f"to read {str(path)!r} the package zarr is needed: pip install zarr.") from error
    from anndata import read_zarr

    if path.is_dir():
        _check_one_modality(zarr.open_group(str(path), mode="r"), path)
        return read_zarr(path)
    store: Any = zarr.storage.ZipStore(str(path), mode="r")
    try:
        group = zarr.open_group(store, mode="r")
        _check_one_modality(group, path)
        return read_zarr(group)
    finally:
        store.close()


def _check_one_modality(group: Any, path: Path) -> None:
    if group.attrs.get("encoding-type") != "MuData" and not ("mod" in group and "X" not in group):
        return
    names = sorted(group["mod"]) if "mod" in group else []
    listed = ", ".join(repr(name) for name in names[:8]) or "none"
    first = names[0] if names else "rna"
    reader = "read_zarr" if path.is_dir() else "read_h5mu"
    raise InputError(
        f"{str(path)!r} holds several modalities ({listed}: MuData, h5mu), and one is wanted. Write it to a "
        f"file of its own in Python: mudata.{reader}({str(path)!r}).mod[{first!r}].write_h5ad('{first}.h5ad')"
    )
