"""Files of figshare articles, by article number and file name, with the checksums that figshare lists."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cdn_sc._logging import logger
from cdn_sc._text import printable
from cdn_sc.datasets._download import RemoteFile, fetch, mirror_urls
from cdn_sc.datasets._pins import TRUST_HTTP, is_trusted, pinned, pins_file
from cdn_sc.datasets._transfer import TransferError, transfer
from cdn_sc.errors import DownloadError
from cdn_sc.settings import settings

API = "https://api.figshare.com/v2"
# The front at figshare.com/ndownloader answers scripts with 202 and nothing else; these two give files.
DOWNLOADS = "https://ndownloader.figshare.com/files"
DATA_ARTICLE, DATA_FILE = 29215766, 55059587
WEIGHTS_ARTICLE = 29225855
_LARGEST_ANSWER = 8 << 20
_PAGE_SIZE = 100
_MOST_PAGES = 50


@dataclass(frozen=True)
class ListedFile:
    """A file of an article, as figshare lists it.

    Attributes
    ----------
    id, name, size, md5
        What the list says.
    trusted
        Whether the list came from where nobody else could have written it.
    """

    id: int
    name: str
    size: int
    md5: str
    trusted: bool = True


def article_page(article: int) -> str:
    """Address of an article for people."""
    return f"https://doi.org/10.6084/m9.figshare.{article}"


def listed_files(article: int, *, hint: str = "") -> list[ListedFile]:
    """Ask which files an article has, and remember the answer for machines that cannot ask.

    Parameters
    ----------
    article
        Its number.
    hint
        What to do by hand, for the message of the error.

    Returns
    -------
    Its files: from the mirror, or else from figshare, or else as they were listed the last time.

    Raises
    ------
    DownloadError
        If neither answers, nor did before.
    """
    kept = _kept_listing(article)
    failures: list[str] = []
    try:
        files = _ask(article, failures)
    except TransferError as failure:
        failures.append(str(failure))
        remembered = _read_listing(kept)
        if remembered is None:
            told = "; ".join(failures)
            raise DownloadError(
                f"could not ask figshare for the files of article {article}: {told}. {hint}".rstrip()
            ) from failure
        logger.info("figshare cannot be asked (%s): taking the list in %s.", "; ".join(failures), kept)
        return remembered
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps([asdict(file) for file in files], indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        logger.debug("the list of files is not kept: %s", error)
    return files


def figshare_file(article: int, listed: ListedFile, path: str | None = None) -> RemoteFile:
    """Return what is needed to fetch a listed file.

    Parameters
    ----------
    article
        The article's number.
    listed
        The file.
    path
        Where it lies in the data set folder; by default ``figshare/<article>/<name>``.

    Raises
    ------
    DownloadError
        If figshare lists it without a checksum, under a name that could lead out of the folder, or with
        another checksum than when it was first fetched; or if the list came over plain http, and the checksum
        is not known from before.
    """
    # nothing is fetched that cannot be checked, and the name becomes one on this machine
    impossible = listed.name[:1] in ("", ".") or not listed.name.isprintable()
    impossible = impossible or not set(listed.name).isdisjoint('/\\:"')
    if not listed.md5 or impossible:
        raise DownloadError(
            f"figshare lists {listed.name!r} in {article_page(article)} without a checksum, or it is an "
            "impossible name; it is not fetched."
        )
    path = path or f"figshare/{article}/{listed.name}"
    checksum, known = f"md5:{listed.md5}", pinned(path)
    if known is None and not listed.trusted:
        raise DownloadError(
            f"the checksum of {listed.name} came over plain http from the mirror, where anybody on the way "
            "can change it, and it is not known from before: the file is not fetched. Give the mirror an "
            f"https address, put the file at {settings.dataset_dir / path} by hand (from "
            f"{article_page(article)}), or set {TRUST_HTTP}=1 in the environment if the network is your own."
        )
    if known is not None and known != checksum:
        raise DownloadError(
            f"{listed.name} is listed with the checksum {checksum}, but had {known} when it was first "
            f"fetched: it is not fetched now. If {article_page(article)} has a new version, take its line "
            f"out of {pins_file()} and delete the file."
        )
    return RemoteFile(
        path,
        (f"{DOWNLOADS}/{listed.id}", f"{API}/file/download/{listed.id}"),
        checksum,
        article_page(article),
        listed.size,
        pinned=True,
    )


def fetch_figshare(article: int, *, name: str | None = None, file_id: int | None = None) -> Path:
    """Fetch a file of an article by its name or number.

    Parameters
    ----------
    article
        The article's number.
    name, file_id
        The file: one of the two.

    Returns
    -------
    Its path, ``figshare/<article>/<name>`` in the data set folder.

    Raises
    ------
    DownloadError
        If there is no such file, or it cannot be fetched.
    """
    here = settings.dataset_dir / "figshare" / str(article) / (name or "")
    hint = f"Download {name or f'file {file_id}'} by hand from {article_page(article)} and put it at {here}."
    try:
        files = listed_files(article, hint=hint)
    except DownloadError:
        if not here.is_file():
            raise
        logger.warning("%s is taken as it is: figshare cannot be asked for its checksum.", here)
        return here
    wanted = [file for file in files if name == file.name or file_id == file.id]
    if not wanted:
        raise DownloadError(
            f"article {article} ({article_page(article)}) has no file {name or file_id}. "
            f"It has: {', '.join(f'{file.name} ({file.id})' for file in files) or 'none'}."
        )
    return fetch(figshare_file(article, wanted[0]))


def _kept_listing(article: int) -> Path:
    return settings.dataset_dir / "figshare" / f"{article}.json"


def _ask(article: int, failures: list[str]) -> list[ListedFile]:
    """Ask the mirror, then figshare; a mirror that anybody could answer for comes last.

    The reason why the one asked first has no list is added to the failures.
    """
    ways: list[Callable[[], list[ListedFile]]] = [
        partial(_ask_mirror, url) for url in mirror_urls(f"figshare/{article}.json")
    ]
    trusted = all(is_trusted(url) for url in mirror_urls(""))
    ways.insert(len(ways) if trusted else 0, partial(_ask_figshare, article))
    for way in ways[:-1]:
        try:
            return way()
        except TransferError as failure:
            failures.append(str(failure))
    return ways[-1]()


def _ask_mirror(url: str) -> list[ListedFile]:
    return [replace(file, trusted=is_trusted(url)) for file in _parse(_get_json(url), url)]


def _ask_figshare(article: int) -> list[ListedFile]:
    url = f"{API}/articles/{article}"
    details = _get_json(url)
    if not isinstance(details, dict):
        raise TransferError(f"{url} answered with something else than an article")
    found = _parse(details.get("files"), url)
    if len(found) < 10:
        return found
    # The article itself lists ten files at most; the pages of its files list all.
    try:
        return _all_pages(article)
    except TransferError as failure:
        logger.warning("only the first files of article %s are known: %s", article, failure)
        return found


def _all_pages(article: int) -> list[ListedFile]:
    files: list[ListedFile] = []
    for page in range(1, _MOST_PAGES):
        url = f"{API}/articles/{article}/files?page={page}&page_size={_PAGE_SIZE}"
        new = _parse(_get_json(url), url)
        files += new
        if len(new) < _PAGE_SIZE:
            break
    return files


def _get_json(url: str) -> Any:
    with TemporaryDirectory() as folder:
        part = Path(folder) / "answer"
        try:
            transfer(url, part, limit=_LARGEST_ANSWER)
            return json.loads(part.read_bytes())
        except TransferError as failure:
            raise TransferError(f"{url} {failure}") from failure
        except (ValueError, RecursionError) as error:
            raise TransferError(f"{url} answered with something else than JSON") from error


def _parse(entries: Any, url: str) -> list[ListedFile]:
    """Files of an answer of the API, or of a list that was kept."""
    try:
        return [
            ListedFile(
                int(entry["id"]),
                printable(str(entry["name"])),
                int(entry["size"]),
                str(entry.get("md5") or entry.get("computed_md5") or entry.get("supplied_md5") or "").lower(),
                entry.get("trusted") is not False,
            )
            for entry in entries
        ]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise TransferError(f"{url} answered with something else than a list of files") from error


def _read_listing(path: Path) -> list[ListedFile] | None:
    try:
        return _parse(json.loads(path.read_text(encoding="utf-8")), str(path))
    except (OSError, ValueError, RecursionError, TransferError):
        return None
