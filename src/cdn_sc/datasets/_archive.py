"""Taking single members out of tar and zip archives, without ever writing outside one folder.

An archive may come from anyone, and may be damaged. It is read to its end before anything of it is believed,
since the checksum of a compressed tar archive stands there. No more is read of it, at once or in all, than
an honest one of its size holds.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import re
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

from cdn_sc._bounded import ShortReads, TooLongError
from cdn_sc._progress import progress_bar
from cdn_sc._text import printable
from cdn_sc.errors import ArchiveError
from cdn_sc.settings import settings

_BROKEN = (
    tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError,
    TooLongError, RecursionError, ValueError, RuntimeError, MemoryError,
)  # fmt: skip
# The published data have some ten thousand members, whose names take three megabytes in a zip archive.
_LONGEST_READ = 16 << 20
_LONGEST_HEADER, _MOST_HEADERS = 64 << 10, 16 << 20
_MOST_MEMBERS = 100_000
# Cells x genes, mostly zeros, take a tenth to a twentieth of their size when compressed.
_MOST_UNPACKED, _ALWAYS_UNPACKED = 50, 100 << 20
_COPIED = 1 << 20
# No number in a header is as long; tarfile would look for the end of one from each of its digits.
_LONG_NUMBER = re.compile(rb"[0-9]{64}")
_OPENERS: dict[bytes, Callable[..., IO[bytes]]] = {
    b"\x1f\x8b": gzip.open,  # type: ignore[dict-item]
    b"BZh": bz2.open,  # type: ignore[dict-item]
    b"\xfd7zXZ\0": lzma.open,  # type: ignore[dict-item]
}


@dataclass(frozen=True)
class _Member:
    """A member of either kind of archive."""

    name: str
    size: int
    is_file: bool
    open: Callable[[], IO[bytes] | None]


def is_archive(path: Path) -> bool:
    """Whether a file is a tar (compressed or not) or zip archive."""
    return path.is_file() and (zipfile.is_zipfile(path) or _is_tar(path))


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
        A tar archive, compressed or not, or a zip archive. Of a tar archive that is not compressed, damage
        inside a member cannot be told: it has no checksum of it.
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
        If the archive is damaged anywhere or none, unpacks to more than an honest one, a wanted path leads
        out of the folder, or a wanted member is no plain file. Then nothing is written.
    OSError
        If the folder cannot be written.
    """
    by_tail = {_tail(name, parts): name for name in wanted}
    for name in wanted:
        if not _is_inside(name):
            raise ArchiveError(f"{name!r} would be written outside {folder}; it is refused.")
    if not wanted:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    try:
        # beside the final places, so that they can be moved there at once when all is known to be right
        with tempfile.TemporaryDirectory(prefix=".unpacking-", dir=folder) as aside:
            found = _take_out(archive, by_tail, parts, Path(aside))
            for name, part in found.items():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                os.replace(part, folder / name)
    except (*_BROKEN, OSError) as error:
        if isinstance(error, ArchiveError):
            raise
        if isinstance(error, OSError) and error.errno is not None:  # the disk; bz2 and gzip give no number
            raise
        raise ArchiveError(
            f"{archive} is damaged ({printable(str(error))[:200]}): delete it, so that it is fetched anew."
        ) from error
    return sorted(set(wanted) - set(found))


def _take_out(archive: Path, by_tail: dict[str, str], n_parts: int, aside: Path) -> dict[str, Path]:
    """Write the wanted members into a folder and read the archive to its end; returns where each one is."""
    in_common: dict[str, int] = {}
    written: dict[str, Path] = {}
    number = 0
    with (
        _members(archive) as members,
        progress_bar(
            len(by_tail) >= 10 and settings.show_progress,
            total=len(by_tail), desc=f"unpacking {archive.name}", unit="file",
        ) as bar,
    ):  # fmt: skip
        for member in members:
            number += 1
            if number > _MOST_MEMBERS:
                raise ArchiveError(f"{archive} has more than {_MOST_MEMBERS:,} members; it is refused.")
            wanted = by_tail.get(_tail(member.name, n_parts))
            if wanted is None or not _is_inside(member.name):
                continue
            common = _common(member.name, wanted)
            if common < in_common.get(wanted, 0):
                continue
            if not member.is_file:
                raise ArchiveError(
                    f"{member.name!r} in {archive.name} is a link or another thing that is no file; it is "
                    "refused."
                )
            written.setdefault(wanted, aside / str(len(written)))
            _write(member, written[wanted], archive)
            bar.update(wanted not in in_common)
            in_common[wanted] = common
    return written


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
    """Members of an archive, in their order; after the last, all of it has been read."""
    if not is_archive(archive):
        raise ArchiveError(f"{archive} is no tar or zip archive; put the published one in its place.")
    with ExitStack() as opened:
        if zipfile.is_zipfile(archive):
            file = ShortReads(opened.enter_context(archive.open("rb")), _LONGEST_READ)
            # a stand-in for a file; zipfile asks for nothing but what it has
            contents = opened.enter_context(zipfile.ZipFile(file))  # type: ignore[call-overload]
            yield _zip_members(contents, _most_unpacked(archive))
        else:
            stream = _Stream(opened.enter_context(_decompressed(archive)), _most_unpacked(archive))
            yield _tar_members(stream)


def _is_tar(path: Path) -> bool:
    """Whether a file starts as a tar archive does, compressed or not."""
    try:
        with _decompressed(path) as file:
            start = file.read(tarfile.BLOCKSIZE)
        if start == bytes(tarfile.BLOCKSIZE):  # no members
            return True
        tarfile.TarInfo.frombuf(start, "utf-8", "surrogateescape")
    except OSError as error:
        if error.errno is not None:
            raise
        return False
    except _BROKEN:
        return False
    return True


def _decompressed(path: Path) -> IO[bytes]:
    with path.open("rb") as file:
        start = file.read(6)
    opener = next((opener for mark, opener in _OPENERS.items() if start.startswith(mark)), open)
    return opener(path, "rb")  # type: ignore[no-any-return]


def _most_unpacked(archive: Path) -> int:
    return _ALWAYS_UNPACKED + _MOST_UNPACKED * archive.stat().st_size


class _Stream:
    """A tar archive read front to back, never more than a short piece at once nor a certain length in all.

    It can go back by the one byte that `tarfile` reads again before each member.
    """

    def __init__(self, file: IO[bytes], most: int) -> None:
        self._file, self._most = file, most
        self._position, self._last, self._back = 0, b"", False
        self._headers = 0
        self.in_header = True

    def read(self, size: int = -1) -> bytes:
        """Read the next bytes.

        Raises
        ------
        TooLongError
            If it is more at once, or in all, than an honest archive holds.
        """
        if not 0 <= size <= (_LONGEST_HEADER if self.in_header else _COPIED):
            raise TooLongError(f"a name or header in it has {size:,} bytes")
        content = self._next(size)
        if self.in_header and size > tarfile.BLOCKSIZE:
            self._headers += size
            if self._headers > _MOST_HEADERS or _LONG_NUMBER.search(content):
                raise TooLongError("it has names or headers of more bytes than honest ones")
        return content

    def _next(self, size: int) -> bytes:
        if not size:
            return b""
        if self._position + size > self._most:
            raise TooLongError(f"it unpacks to more than {self._most:,} bytes")
        content = self._last if self._back else b""
        self._back = False
        content += self._file.read(size - len(content))
        self._last = content[-1:]
        self._position += len(content)
        return content

    def tell(self) -> int:
        """Say the place."""
        return self._position

    def seek(self, position: int, whence: int = 0) -> int:
        """Go ahead, or back by a byte."""
        if position == self._position - 1 and self._last and not self._back:
            self._back, self._position = True, position
        if position < self._position:
            raise TooLongError("it would have to be read backwards")
        while self._position < position and self._next(min(_COPIED, position - self._position)):
            pass
        return self._position

    def seekable(self) -> bool:
        """Whether places can be gone to: those ahead."""
        return True

    def read_to_the_end(self) -> None:
        """Read what follows the last member, and with it the checksum of a compressed archive."""
        while self._next(_LONGEST_HEADER):
            pass


def _zip_members(opened: zipfile.ZipFile, most: int) -> Iterator[_Member]:
    size = sum(info.file_size for info in opened.infolist())
    if size > most:
        raise TooLongError(f"it unpacks to {size:,} bytes, and {most:,} are the most")
    for info in opened.infolist():
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise TooLongError("a member is compressed in another way than deflate")
        # the upper half holds the rights of Unix, where a link is one kind of file
        kind = info.external_attr >> 16 & 0o170000
        is_file = not info.is_dir() and kind in (0, 0o100000)
        yield _Member(info.filename, info.file_size, is_file, partial(opened.open, info))


def _tar_members(stream: _Stream) -> Iterator[_Member]:
    with tarfile.open(fileobj=stream, mode="r:") as opened:  # type: ignore[call-overload]
        for info in opened:
            stream.in_header = False
            # a sparse file may be of any size, whatever the archive's
            is_file = info.isreg() and not info.issparse()
            yield _Member(info.name.removeprefix("./"), info.size, is_file, partial(opened.extractfile, info))
            stream.in_header = True
            # tarfile keeps them all, and there may be ten thousands
            opened.members, opened.pax_headers = [], {}
    stream.read_to_the_end()


def _write(member: _Member, path: Path, archive: Path) -> None:
    """Write one member."""
    source = member.open()
    if source is None:
        raise ArchiveError(f"{member.name!r} in {archive.name} holds no bytes.")
    with source, path.open("wb") as file:
        shutil.copyfileobj(source, file, _COPIED)
    if path.stat().st_size != member.size:
        raise ArchiveError(f"{member.name!r} in {archive} is cut off: delete the archive.")
