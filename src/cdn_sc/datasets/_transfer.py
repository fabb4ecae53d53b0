"""One file over HTTP, however badly the server behaves: the bytes come whole, or a reason is given."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from cdn_sc._logging import logger
from cdn_sc._progress import progress_bar
from cdn_sc._text import printable
from cdn_sc.settings import settings

if TYPE_CHECKING:
    from requests import Response

_CHUNK = 1 << 18
_EMPTY = "answered with an empty body"
_PAGE_STARTS = (b"<!doctype", b"<html", b"<head", b"<body")
# What may be over a little later; any other error of the client stays one, however often it is asked.
_PASSING = (408, 425, 429)


@dataclass(frozen=True)
class Patience:
    """How long a server is borne with.

    Attributes
    ----------
    attempts
        Tries of one address in a row that bring nothing new, or less than `least_speed` times `window`.
    connection_attempts
        The same, where not even a connection is made: without internet nobody wants to wait.
    connect, read
        Seconds until a connection stands, and between two pieces of an answer.
    back_off
        Seconds before the second try, twice as many before each further one.
    longest_wait
        Seconds to wait at most, also where the server asks for more (`Retry-After`).
    least_speed, window
        Bytes a second, averaged over so many seconds, below which a transfer counts as broken.
    """

    attempts: int = 5
    connection_attempts: int = 2
    connect: float = 10.0
    read: float = 60.0
    back_off: float = 1.0
    longest_wait: float = 60.0
    least_speed: float = 500.0
    window: float = 120.0


PATIENCE = Patience()


class TransferError(Exception):
    """An address did not give the file; the message says why."""


class _Again(Exception):
    """What may go better at the next try."""

    def __init__(self, reason: str, *, wait: float | None = None, connected: bool = True) -> None:
        super().__init__(reason)
        self.wait = wait
        self.connected = connected


def user_agent() -> str:
    """What this package calls itself to servers."""
    return f"cdn-sc/{version('cdn-sc')}"


def transfer(
    url: str, part: Path, *, size: int | None = None, limit: int | None = None, label: str | None = None
) -> None:
    """Fetch an address into a file, going on with what the file already holds.

    Parameters
    ----------
    url
        The address.
    part
        File to fill. What it holds is kept where the server can go on from there.
    size
        Number of bytes, where known.
    limit
        Largest number of bytes where the size is not known.
    label
        Name on the progress bar; None for none.

    Raises
    ------
    TransferError
        If the address does not give the file. What came stays in `part`, for the next address or call.
    OSError
        If `part` cannot be written.
    """
    reached, tries = _length(part), 0
    worth_a_try = PATIENCE.least_speed * PATIENCE.window
    with progress_bar(
        label is not None and settings.show_progress,
        total=size,
        desc=label,
        unit="B",
        unit_scale=True,
        unit_divisor=1024,
    ) as bar:
        while True:
            try:
                return _attempt(url, part, size, limit, bar)
            except _Again as failure:
                length, tries = _length(part), tries + 1
                if length > reached + worth_a_try:
                    reached, tries = length, 1
                most = PATIENCE.attempts if failure.connected else PATIENCE.connection_attempts
                if tries >= most:
                    raise TransferError(f"{failure} (tried {tries} times)") from failure
                wait = PATIENCE.back_off * 2 ** (tries - 1) if failure.wait is None else failure.wait
                wait = min(wait, PATIENCE.longest_wait)
                logger.info("%s: %s; trying again in %.3g s", url, failure, wait)
                time.sleep(wait)


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _attempt(url: str, part: Path, size: int | None, limit: int | None, bar: Any) -> None:
    """Ask once, and keep what comes."""
    import requests
    from urllib3.exceptions import HTTPError

    start = _length(part)
    if size is not None and start > size:
        part.unlink()
        start = 0
    if size is not None and start == size > 0:
        return
    # compressed on the way, lengths and places in the file would not be those of the file
    headers = {"User-Agent": user_agent(), "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    try:
        with requests.get(
            url,
            headers=headers,
            stream=True,
            timeout=(PATIENCE.connect, PATIENCE.read),
            hooks={"response": _refuse_downgrade},
        ) as response:
            start = _first_byte(response, part, start)
            _keep(response, part, start, size, limit, bar)
    except (requests.exceptions.ConnectTimeout, requests.exceptions.ProxyError) as error:
        raise _Again(f"no connection ({_root(error)})", connected=False) from error
    except requests.exceptions.SSLError as error:
        raise TransferError(f"no safe connection ({_root(error)})") from error
    except requests.exceptions.Timeout as error:
        raise _Again(f"no answer within {PATIENCE.read:g} s") from error
    except requests.exceptions.ConnectionError as error:
        raise _Again(f"no connection ({_root(error)})", connected=_was_connected(error)) from error
    except (requests.exceptions.ChunkedEncodingError, HTTPError) as error:
        raise _Again(f"the transfer broke off at {_length(part):,} bytes ({_root(error)})") from error
    except requests.exceptions.RequestException as error:  # an address that is none, endless redirects
        raise TransferError(str(error)) from error


def _refuse_downgrade(response: Response, **_: Any) -> None:
    """Stop before a redirect that leaves https: whoever is on the way could answer there."""
    if response.is_redirect and urlsplit(response.url).scheme == "https":
        target = urljoin(response.url, response.headers["location"])
        if urlsplit(target).scheme != "https":
            raise TransferError(f"redirects from https to {printable(target)[:200]}, which is not followed")


def _root(error: BaseException) -> str:
    """Say the innermost cause: the outer ones repeat it in many more words."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _was_connected(error: BaseException) -> bool:
    """Whether the server hung up, rather than never having answered."""
    from urllib3.exceptions import NewConnectionError

    cause = getattr(error.args[0], "reason", None) if error.args else None
    return not isinstance(cause, NewConnectionError)


def _first_byte(response: Response, part: Path, asked: int) -> int:
    """Place in the file where the answer starts; anything but the file is turned away."""
    code, said = (
        response.status_code,
        f"answered {response.status_code} {printable(response.reason or '')}".rstrip(),
    )
    if code in _PASSING or code >= 500:
        raise _Again(said, wait=_retry_after(response.headers.get("Retry-After")))
    if code == 416:  # what lies here is no beginning of the file
        part.unlink(missing_ok=True)
        raise _Again(said, wait=0)
    if code >= 400:
        raise TransferError(said)
    if code not in (200, 206):
        raise _Again(f"{said} in place of the file")
    if response.headers.get("Content-Type", "").lower().startswith("text/html"):
        raise TransferError("answered with a web page in place of the file")
    if code == 200:
        return 0
    if not asked or not response.headers.get("Content-Range", "").startswith(f"bytes {asked}-"):
        part.unlink(missing_ok=True)
        raise _Again("answered with another part of the file than was asked for", wait=0)
    return asked


def _retry_after(text: str | None) -> float | None:
    """Seconds to wait, from a number or a date."""
    if not text:
        return None
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError):
        return None


def _keep(response: Response, part: Path, start: int, size: int | None, limit: int | None, bar: Any) -> None:
    """Write what comes, and make sure that it is all."""
    announced = response.headers.get("Content-Length", "")
    end = start + int(announced) if announced.isdigit() else None
    if end == 0 and size != 0:
        raise _Again(_EMPTY)
    if size is not None and end not in (None, size):
        raise TransferError(f"has {end:,} bytes, where {size:,} are right")
    end = size if end is None else end
    bar.n = start
    bar.refresh()
    length = start
    with part.open("r+b" if start else "wb") as file:
        file.seek(start)
        for chunk in _chunks(response):
            if not length and chunk[:256].lstrip().lower().startswith(_PAGE_STARTS):
                raise TransferError("answered with a web page in place of the file")
            length += len(chunk)
            if size is None and limit is not None and length > limit:
                raise TransferError(f"sends more than {limit:,} bytes")
            if end is not None and length > end:
                raise TransferError(f"sends more than the {end:,} bytes that are right")
            file.write(chunk)
            bar.update(len(chunk))
        file.flush()
        os.fsync(file.fileno())
    if not length and size != 0:
        raise _Again(_EMPTY)
    if end is not None and length < end:
        raise _Again(f"the transfer broke off at {length:,} of {end:,} bytes")


def _chunks(response: Response) -> Iterator[bytes]:
    """Pieces of the answer as they come in, unless they come too slowly to ever be done."""
    since, received = time.monotonic(), 0
    while chunk := response.raw.read1(_CHUNK):
        yield chunk
        received += len(chunk)
        elapsed = time.monotonic() - since
        if elapsed >= PATIENCE.window:
            if received < PATIENCE.least_speed * elapsed:
                raise _Again(f"only {received:,} bytes came in {elapsed:.3g} s")
            since, received = time.monotonic(), 0
