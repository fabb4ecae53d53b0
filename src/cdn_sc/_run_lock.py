"""One run at a time in a folder of results."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from cdn_sc._logging import logger
from cdn_sc.errors import WriteError


@contextmanager
def only_run(what: Path, lock_file: Path) -> Iterator[None]:
    """Keep other processes, and other calls of this one, from writing to the same place meanwhile.

    The operating system gives the lock back when a process ends, also when it is killed; the empty lock file
    stays.

    Parameters
    ----------
    what
        The folder or file, for messages.
    lock_file
        The file that carries the lock.

    Raises
    ------
    WriteError
        If another run is at work there.
    """
    lock = FileLock(lock_file, timeout=0, thread_local=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise WriteError(
            f"another run is at work in {str(what)!r}: wait until it ends, or name another place."
        ) from error
    except (OSError, NotImplementedError) as error:
        logger.info("%s cannot be locked (%s): start no second run there meanwhile.", what, error)
    try:
        yield
    finally:
        lock.release()


def folder_lock(folder: Path) -> Path:
    """Return the lock file of a folder."""
    return folder / ".cdn-sc.lock"
