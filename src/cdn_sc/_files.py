"""Files that are whole or absent: written beside their name, flushed to disk, put in place in one move."""

import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock

from cdn_sc.errors import CdnScError, WriteError

_PREFIX, _SUFFIX = ".cdn-sc-", ".tmp"
_LOCK = "lock"
# Where a folder lies while its successor takes its place
_EARLIER = "earlier"
# A folder of temporary files without a lock may be one that is just being made.
_SECONDS_TO_LOCK = 60.0


@contextmanager
def replacing(*paths: str | os.PathLike[str]) -> Iterator[list[Path]]:
    """Give names to write to; at the end, all that was written there takes the place of what is at `paths`.

    A file keeps the permissions of its predecessor, and a symbolic link stays one: the file that it points to
    is replaced. Until the end, and after an error or a kill, `paths` are as they were; the temporary files of
    a process that was killed are cleared by the next one that writes into that folder.

    Parameters
    ----------
    paths
        Files, or folders, to replace.

    Yields
    ------
    A free name for each path, with the same ending. All have to be there at the end.

    Raises
    ------
    WriteError
        If names cannot be given or put in place; what was at `paths` is unharmed. Errors of the writing in
        between are raised as they are: see `writing`.
    """
    targets = [Path(os.path.realpath(path)) for path in paths]
    with ExitStack() as stack:
        with writing(*paths):
            for folder in {target.parent for target in targets}:
                _clear_strays(folder)
            parts = [stack.enter_context(_temporary(target)) for target in targets]
        yield parts
        with writing(*paths):
            # all are on the disk before the first takes its place
            for part, target in zip(parts, targets, strict=True):
                _flush(part)
                if target.is_file():
                    shutil.copymode(target, part)
            for part, target in zip(parts, targets, strict=True):
                _put_in_place(part, target)


@contextmanager
def writing(*paths: str | os.PathLike[str]) -> Iterator[None]:
    """Turn what the system says against writing into one error that names the files.

    Raises
    ------
    WriteError
        In place of any other `OSError`.
    """
    with _told(" or ".join(repr(str(path)) for path in paths)):
        yield


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file, whole or not at all; see `replacing`."""
    with replacing(path) as (part,), writing(path):
        part.write_bytes(content)


def write_text(path: str | os.PathLike[str], content: str) -> None:
    """Write a file of text in UTF-8, whole or not at all; see `replacing`."""
    write_bytes(path, content.encode())


@contextmanager
def append_to(path: Path) -> Iterator[BinaryIO]:
    """Open a file, made if need be, to write at its end, and flush it to disk afterwards.

    Raises
    ------
    WriteError
        If that fails; what was in the file before is unharmed, and a part may be at its end.
    """
    with writing(path), path.open("ab") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def check_file(path: Path) -> None:
    """Raise where a file could not be put in place: before any work is done.

    Raises
    ------
    WriteError
        As `check_writable`, and if there is a folder of that name.
    """
    check_writable(path)
    if path.is_dir():
        raise WriteError(f"cannot write {str(path)!r}: it is a folder.")


def check_writable(path: Path) -> None:
    """Raise where a file, or a folder of that name, could not be put in place: before any work is done.

    Raises
    ------
    WriteError
        If the name is too long or is that of something else than a file, or its folder is not there or
        cannot be written into.
    """
    target = Path(os.path.realpath(path))
    with writing(path):
        try:
            mode = os.stat(target).st_mode
        except (FileNotFoundError, NotADirectoryError):
            mode = None
    if not target.parent.is_dir():
        raise WriteError(f"cannot write {str(path)!r}: there is no folder {str(target.parent)!r}.")
    if mode is not None and not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise WriteError(f"cannot write {str(path)!r}: it is neither a file nor a folder.")
    _check_folder(target.parent)


def make_folder(path: Path) -> None:
    """Make the folder of the results, unless it is there, and try whether it can be written into.

    Raises
    ------
    WriteError
        If it is a file, or cannot be made or written into.
    """
    if os.path.lexists(path) and not path.is_dir():
        raise WriteError(f"{str(path)!r} is a file; the results need a folder.")
    with _told(f"the folder {str(path)!r}", "make"):
        path.mkdir(parents=True, exist_ok=True)
    _check_folder(path)


def _check_folder(folder: Path) -> None:
    # Only an attempt tells: permissions say nothing of file systems that are read-only or full.
    with _told(f"into the folder {str(folder)!r}"), tempfile.TemporaryFile(dir=folder) as file:
        file.write(b"0")
        file.flush()


@contextmanager
def _told(what: str, verb: str = "write") -> Iterator[None]:
    try:
        yield
    except CdnScError:
        raise
    except OSError as error:
        raise WriteError(f"cannot {verb} {what}: {error.strerror or error}.") from error


@contextmanager
def _temporary(target: Path) -> Iterator[Path]:
    """A free name in a folder of its own beside a file, locked for as long as this process writes there."""
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, suffix=_SUFFIX, dir=target.parent))
    try:
        with _locked(folder / _LOCK):
            # the ending alone: the whole name might be too long with anything added
            yield folder / f"part-{target.name[-20:]}"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    lock = FileLock(path, timeout=0, thread_local=False)
    # a file system without locks: then only the next lines' comfort, clearing after a kill, is lost
    with suppress(NotImplementedError, OSError):
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _clear_strays(folder: Path) -> None:
    """Delete temporary files whose process has ended: nobody holds their lock."""
    for stray in folder.glob(f"{_PREFIX}*{_SUFFIX}"):
        with suppress(NotImplementedError, OSError):  # held, or not ours to delete
            if not (stray / _LOCK).exists():
                if time.time() - stray.stat().st_mtime < _SECONDS_TO_LOCK:
                    continue
            else:
                with FileLock(stray / _LOCK, timeout=0, thread_local=False):
                    _put_back(stray)
            shutil.rmtree(stray, ignore_errors=True)


def _flush(path: Path) -> None:
    """Have the disk keep a file, or all files of a folder, as they are now."""
    files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
    for file in files:
        with file.open("r+b") as opened:
            os.fsync(opened.fileno())


def _put_in_place(part: Path, target: Path) -> None:
    if target.is_dir() and part.is_dir():
        # What was there stays beside, under its own name, until the new one is in place: after an error it
        # comes back at once, after a kill when something is next written into the folder.
        earlier = part.parent / _EARLIER
        earlier.mkdir()
        os.replace(target, earlier / target.name)
        try:
            os.replace(part, target)
        except BaseException:
            os.replace(earlier / target.name, target)
            raise
    else:
        os.replace(part, target)
    # what it holds is on the disk; that its name is, too, cannot be asked for on every system
    with suppress(OSError):
        descriptor = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _put_back(stray: Path) -> None:
    """Give back the folder that a killed process had moved aside, if its successor did not come."""
    for moved in (stray / _EARLIER).glob("*"):
        if not os.path.lexists(stray.parent / moved.name):
            os.replace(moved, stray.parent / moved.name)
