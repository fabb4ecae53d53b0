"""Files of the cache: whole and checked, or not there.

pooch names the cache folder and computes the checksums. Its own transfer is not used: it keeps empty answers
where no checksum is known, and neither resumes nor waits as long as a server asks.
"""

from __future__ import annotations

import errno
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from cdn_sc._logging import logger
from cdn_sc.datasets._pins import pin
from cdn_sc.datasets._transfer import TransferError, transfer
from cdn_sc.errors import DownloadError
from cdn_sc.settings import settings

MIRROR = "CDN_SC_MIRROR"
# Files up to this size are checked at every use, in less than a second; larger ones when they arrive.
_ALWAYS_CHECKED = 64 << 20
# Of files whose size is not known: the published tables of splits have 2 MB.
_MOST_BYTES = 1 << 30


@dataclass(frozen=True)
class RemoteFile:
    """A file that can be fetched and checked.

    Attributes
    ----------
    path
        Where it lies in the data set folder, with slashes. A mirror has it under the same path.
    urls
        Addresses, the best first.
    checksum
        `md5:` or `sha256:` and hexadecimal digits, as pooch writes them.
    page
        Where a person finds it.
    size
        Number of bytes, where known.
    pinned
        Whether its checksum is kept once the file has come, see :mod:`cdn_sc.datasets._pins`.
    """

    path: str
    urls: tuple[str, ...]
    checksum: str
    page: str
    size: int | None = None
    pinned: bool = False

    @property
    def local(self) -> Path:
        """Where it lies, or will lie, on this machine."""
        return settings.dataset_dir / self.path

    @property
    def by_hand(self) -> str:
        """What to do where nothing else helps."""
        return f"Download {self.local.name} by hand from {self.page} and put it at {self.local}"


def mirror_urls(path: str) -> tuple[str, ...]:
    """Address of a file of the cache on the mirror that the environment names, if it names one."""
    base = os.environ.get(MIRROR, "").rstrip("/")
    return (f"{base}/{quote(path)}",) if base else ()


def fetch(file: RemoteFile) -> Path:
    """Return the path of a file, fetched if it is not there yet.

    A file appears under its name only when its checksum was found right. Of several processes that want it at
    once, one fetches it and the others wait; a lock goes with the process that holds it.

    Parameters
    ----------
    file
        What is wanted.

    Returns
    -------
    Its path in the data set folder.

    Raises
    ------
    DownloadError
        If no address gives the file, or it cannot be written; the message says what to do by hand.
    """
    path = file.local
    if _is_right(path, file):
        return path
    _bring(file, path)
    if file.pinned:
        pin(file.path, file.checksum)
    return path


def _bring(file: RemoteFile, path: Path) -> None:
    from filelock import FileLock

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.name}.lock")):
            if not _is_right(path, file):
                _fetch(file, path)
    except DownloadError:
        raise
    except OSError as error:
        raise _cannot_write(file, error) from error


def _cannot_write(file: RemoteFile, error: OSError) -> DownloadError:
    folder = file.local.parent
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        needed = "" if file.size is None else f" for its {file.size:,} bytes"
        found = f"there is no space left{needed} in {folder}"
    else:
        found = f"cannot write into {folder} ({error.strerror or error})"
    return DownloadError(
        f"{file.local.name} cannot be kept: {found}. Set cdn_sc.settings.dataset_dir, or CDN_SC_DATASETDIR "
        f"in the environment, to a folder with space that can be written to. {file.by_hand}, there or in the "
        "folder that you set."
    )


def _is_right(path: Path, file: RemoteFile) -> bool:
    """Whether the file is there and is the one that is meant."""
    if not path.is_file():
        return False
    size = path.stat().st_size
    wrong = size != file.size if file.size is not None else size == 0
    if not wrong and size <= _ALWAYS_CHECKED:
        wrong = not _has_checksum(path, file.checksum)
    if wrong:
        logger.warning(
            "%s is damaged or another file (%s bytes, %s is wanted): it is fetched anew.",
            path, f"{size:,}", file.checksum,
        )  # fmt: skip
    return not wrong


def _fetch(file: RemoteFile, path: Path) -> None:
    """Try one address after another, until one gives the right file."""
    # named after the content: what was begun of another version is never continued
    part = path.with_name(f".{path.name}.{file.checksum.split(':')[-1][:12]}.part")
    failures = []
    for url in (*mirror_urls(file.path), *file.urls):
        for _ in range(2):
            resumed = part.exists()
            if file.size is not None:
                _check_space(path.parent, file.size - (part.stat().st_size if resumed else 0))
            try:
                transfer(url, part, size=file.size, limit=_MOST_BYTES, label=path.name)
            except TransferError as failure:
                failures.append(f"{url} {failure}")
                break
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    part.unlink(missing_ok=True)  # leave no disk full
                raise
            if _has_checksum(part, file.checksum):
                os.replace(part, path)
                return
            part.unlink()
            if not resumed:  # else its beginning may have been another file's
                failures.append(f"{url} gave a file of another checksum than {file.checksum}")
                break
    _remove_if_empty(part)
    raise DownloadError(f"could not fetch {path.name}: {'; '.join(failures)}. {file.by_hand}.")


def _has_checksum(path: Path, checksum: str) -> bool:
    import pooch

    algorithm, digits = checksum.split(":")
    return pooch.file_hash(str(path), alg=algorithm) == digits.lower()


def _check_space(folder: Path, needed: int) -> None:
    """Refuse at once what would fill the disk an hour later."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(errno.ENOSPC, f"{free:,} bytes are free")


def _remove_if_empty(part: Path) -> None:
    if part.exists() and not part.stat().st_size:
        part.unlink()
