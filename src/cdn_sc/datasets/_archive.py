"""Taking single members out of tar and zip archives, without ever writing outside one folder."""

from __future__ import annotations

import os
import secrets
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from lzma import LZMAError
from pathlib import Path
from typing import IO

from cdn_sc._progress import progress_bar
from cdn_sc.errors import ArchiveError
from cdn_sc.settings import settings

_BROKEN = (tarfile.TarError, zipfile.BadZipFile, zlib.error, LZMAError, EOFError, NotImplementedError)


@dataclass(frozen=True)
class _Member:
    """A member of either kind of archive."""

    name: str
    size: int
    is_file: bool
    open: Callable[[], IO[bytes] | None]


def is_archive(path: Path) -> bool:
    """Whether a file is a tar (compressed or not) or zip archive."""
    return path.is_file() and (zipfile.is_zipfile(path) or tarfile.is_tarfile(path))


def has_random_access(path: Path) -> bool:
    """Whether single members can be read without reading all that is before them: in zip archives."""
    return zipfile.is_zipfile(path)


def unpack(archive: Path, folder: Path, wanted: Collection[str], *, parts: int = 2) -> list[str]:
    """Write the wanted members of an archive into a folder, and nothing else.

    Each is written under the name by which it is asked for, never under the one that the archive gives it,
    and as a plain file: links, devices and names that lead elsewhere have no way to be followed.

    Parameters
    ----------
    archive
        A tar archive, compressed or not, or a zip archive.
    folder
        Where to write; made if need be.
    wanted
        Paths in the folder, with slashes.
    parts
        A member is the wanted one if so many parts of its path, counted from the end, are the same: it does
        not matter in which folders the archive keeps everything. Of several, the one that has most in common.

    Returns
    -------
    The wanted paths that the archive does not have.

    Raises
    ------
    ArchiveError
        If the archive is damaged or none, a wanted path leads out of the folder, or a wanted member is no
        plain file.
    OSError
        If the folder cannot be written.
    """
    by_tail = {_tail(name, parts): name for name in wanted}
    for name in wanted:
        if not _is_inside(name):
            raise ArchiveError(f"{name!r} would be written outside {folder}; it is refused.")
    found: dict[str, int] = {}
    try:
        with (
            _members(archive) as members,
            progress_bar(
                len(by_tail) >= 10 and settings.show_progress,
                total=len(by_tail), desc=f"unpacking {archive.name}", unit="file",
            ) as bar,
        ):  # fmt: skip
            for member in members:
                wanted_name = by_tail.get(_tail(member.name, parts))
                if wanted_name is None or not _is_inside(member.name):
                    continue
                in_common = _common(member.name, wanted_name)
                if in_common < found.get(wanted_name, 0):
                    continue
                if not member.is_file:
                    raise ArchiveError(
                        f"{member.name!r} in {archive.name} is a link or another thing that is no file; it "
                        "is refused."
                    )
                _write(member, folder / wanted_name, archive)
                bar.update(wanted_name not in found)
                found[wanted_name] = in_common
    except (*_BROKEN, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # the disk; bz2 and gzip give no number
            raise
        raise ArchiveError(
            f"{archive} is damaged ({error}): delete it, so that it is fetched anew."
        ) from error
    return sorted(set(wanted) - set(found))


def _tail(name: str, parts: int) -> str:
    return "/".join(name.split("/")[-parts:])


def _common(one: str, other: str) -> int:
    """Number of parts, from the end, in which two paths agree."""
    pairs = zip(reversed(one.split("/")), reversed(other.split("/")), strict=False)
    return next((number for number, (a, b) in enumerate(pairs) if a != b), len(one.split("/")))


def _is_inside(name: str) -> bool:
    """Whether a name stays in the folder that it is relative to, on any system."""
    parts = name.split("/")
    return all(part not in ("", "..") for part in parts) and not set(name) & set("\\:\0")


@contextmanager
def _members(archive: Path) -> Iterator[Iterator[_Member]]:
    """Members of an archive, in the order in which they lie in it."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as opened:
            yield _zip_members(opened)
    elif archive.is_file() and tarfile.is_tarfile(archive):
        # a stream: read once, front to back, with no list of members in memory first
        with tarfile.open(archive, "r|*") as stream:
            yield _tar_members(stream)
    else:
        raise ArchiveError(f"{archive} is no tar or zip archive; put the published one in its place.")


def _zip_members(opened: zipfile.ZipFile) -> Iterator[_Member]:
    for info in opened.infolist():
        # the upper half holds the rights of Unix, where a link is one kind of file
        kind = info.external_attr >> 16 & 0o170000
        is_file = not info.is_dir() and kind in (0, 0o100000)
        yield _Member(info.filename, info.file_size, is_file, partial(opened.open, info))


def _tar_members(stream: tarfile.TarFile) -> Iterator[_Member]:
    for info in stream:
        name = info.name.removeprefix("./")
        yield _Member(name, info.size, info.isreg(), partial(stream.extractfile, info))
        # tarfile keeps them all, and there may be ten thousands
        stream.members = []  # type: ignore[attr-defined]


def _write(member: _Member, path: Path, archive: Path) -> None:
    """Write one member at once or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        source = member.open()
        if source is None:
            raise ArchiveError(f"{member.name!r} in {archive.name} holds no bytes.")
        with source, part.open("xb") as file:
            shutil.copyfileobj(source, file, 1 << 20)
        if part.stat().st_size != member.size:
            raise ArchiveError(f"{member.name!r} in {archive} is cut off: delete the archive.")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
