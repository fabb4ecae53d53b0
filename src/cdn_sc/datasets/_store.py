"""Where the arrays of the published archive lie, unpacked when they are first wanted."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path

import numpy as np

from cdn_sc.datasets._archive import has_random_access, is_archive, unpack
from cdn_sc.datasets._download import fetch
from cdn_sc.datasets._figshare import DATA_ARTICLE, DATA_FILE, article_page, figshare_file, listed_files
from cdn_sc.errors import ArchiveError, DownloadError, InputError
from cdn_sc.settings import settings

# Values of an array that are converted and checked at a time.
_CHUNK_VALUES = 4_000_000


class ArrayStore:
    """Files of the archive by the paths that the splits give them.

    Parameters
    ----------
    everything
        All paths that may be asked for. A tar archive is read front to back, so that these are then all
        unpacked at the first question; a zip archive gives single files.
    folder
        Folder with the unpacked archive, with or without its outermost folder `data`. By default the data set
        folder, where the archive is fetched and unpacked.
    """

    def __init__(self, everything: Sequence[str], folder: str | PathLike[str] | None = None) -> None:
        self._everything = everything
        self._folder = None if folder is None else Path(folder).expanduser()
        if self._folder is not None and not self._folder.is_dir():
            raise InputError(f"folder={str(self._folder)!r} is no folder.")

    def paths(self, names: Sequence[str]) -> list[Path]:
        """Return where files lie, after fetching and unpacking them if need be.

        Raises
        ------
        DownloadError
            If they are not there and cannot be got.
        ArchiveError
            If the archive is damaged.
        """
        if self._folder is not None:
            return [self._in_folder(name) for name in names]
        root = settings.dataset_dir
        if not all((root / name).is_file() for name in names):
            try:
                self._unpack(names, root)
            except DownloadError:
                raise
            except OSError as error:
                found = "there is no space left" if error.errno == errno.ENOSPC else error.strerror or error
                raise DownloadError(
                    f"cannot unpack the archive into {root} ({found}). Set cdn_sc.settings.dataset_dir, or "
                    f"CDN_SC_DATASETDIR in the environment, to a folder with space. {_by_hand(names[0])}"
                ) from error
        return [root / name for name in names]

    def _in_folder(self, name: str) -> Path:
        assert self._folder is not None
        for candidate in (self._folder / name, self._folder / name.removeprefix("data/")):
            if candidate.is_file():
                return candidate
        raise InputError(
            f"there is no {name} in folder={str(self._folder)!r}; it is to hold the unpacked archive of "
            f"{article_page(DATA_ARTICLE)}."
        )

    def _unpack(self, names: Sequence[str], root: Path) -> None:
        tried = []
        for archive in _archives(names[0]):
            wanted = names if has_random_access(archive) else [*names, *self._everything]
            unpack(archive, root, [name for name in dict.fromkeys(wanted) if not (root / name).is_file()])
            tried.append(archive.name)
            if all((root / name).is_file() for name in names):
                return
        absent = next(name for name in names if not (root / name).is_file())
        searched = ", ".join(tried) or "no archive"
        raise DownloadError(f"{absent} is not in the published archive ({searched}). {_by_hand(absent)}")


def _by_hand(name: str) -> str:
    return (
        f"Download the archive by hand from {article_page(DATA_ARTICLE)} and put it, as it is, into "
        f"{settings.dataset_dir / 'figshare' / str(DATA_ARTICLE)}, or unpack it so that "
        f"{settings.dataset_dir / name} exists."
    )


def _archives(name: str) -> Iterator[Path]:
    """Archives that may hold a file: those on this machine, then those of the article."""
    folder = settings.dataset_dir / "figshare" / str(DATA_ARTICLE)
    here = sorted(path for path in folder.glob("[!.]*") if is_archive(path)) if folder.is_dir() else []
    yield from here
    synthetic = name.startswith("data/synthetic/")
    for listed in listed_files(DATA_ARTICLE, hint=_by_hand(name)):
        holds = "synth" in listed.name.lower() if synthetic else listed.id == DATA_FILE
        if holds and folder / listed.name not in here:
            path = fetch(figshare_file(DATA_ARTICLE, listed))
            if not is_archive(path):
                raise ArchiveError(f"{path} is no tar or zip archive. {_by_hand(name)}")
            yield path


def map_array(path: Path) -> np.ndarray:
    """Map an array of a file into memory: whatever the file announces, it takes none.

    Raises
    ------
    ValueError
        If the file holds something else than one array of plain values, or less than it says.
    OSError
        If it cannot be read.
    """
    try:
        with np.errstate(over="raise"):
            return np.lib.format.open_memmap(path, mode="r")
    # what damaged headers and impossible sizes make numpy raise
    except (EOFError, SyntaxError, TypeError, ArithmeticError, MemoryError, RecursionError) as error:
        raise ValueError(f"its header cannot be used: {error}") from error


def open_values(path: Path) -> np.ndarray:
    """Map an array of cells x genes into memory, without reading its values.

    Raises
    ------
    InputError
        If the file holds something else, or less than it says.
    """
    try:
        values = map_array(path)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} is damaged or no array ({error}): delete it, so that it is unpacked anew."
        ) from error
    if values.ndim != 2 or not values.size or values.dtype.kind not in "fiu":
        raise InputError(f"{path} holds {values.shape} of {values.dtype} type, not cells x genes.")
    return values


def read_values(values: np.ndarray, path: Path, rows: np.ndarray | None = None) -> np.ndarray:
    """Read mapped values as float32, a few rows at a time.

    Parameters
    ----------
    values
        As `open_values` returns them.
    path
        Their file, for messages.
    rows
        Which rows; by default all.

    Raises
    ------
    InputError
        If a value is NaN or infinite.
    """
    n_rows = len(values) if rows is None else len(rows)
    read = np.empty((n_rows, values.shape[1]), dtype=np.float32)
    step = max(1, _CHUNK_VALUES // max(1, values.shape[1]))
    for start in range(0, n_rows, step):
        chosen = slice(start, start + step) if rows is None else rows[start : start + step]
        with np.errstate(over="ignore"):  # what becomes infinite is told below
            read[start : start + step] = values[chosen]
        if not np.isfinite(read[start : start + step]).all():
            raise InputError(f"{path} holds NaN or infinity.")
    return read
