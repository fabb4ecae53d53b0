"""Every fault of a server ends in the whole file, or in one error that says where to put it by hand."""

import errno
import hashlib
import os
import shutil
import socket
import subprocess
import sys
import time
from email.utils import formatdate
from importlib.metadata import version
from pathlib import Path

import pytest
from imitation_server import Answer, wait_until

from cdn_sc import settings
from cdn_sc.datasets import _download, _transfer
from cdn_sc.datasets._download import RemoteFile, fetch
from cdn_sc.errors import CdnScError, DownloadError

BODY = os.urandom(200_000)
PAGE = b"\n<!DOCTYPE html><html><body>Please wait while we check your browser</body></html>"


def remote(server, body=BODY, *, addresses=("/a",), size=True):
    return RemoteFile(
        "some/file.bin",
        tuple(server.url + path for path in addresses),
        f"sha256:{hashlib.sha256(body).hexdigest()}",
        "https://example.org/page",
        len(body) if size else None,
    )


def visible(cache):
    """Files of the cache that a user would see."""
    return sorted(path.name for path in cache.rglob("*") if path.is_file() and not path.name.startswith("."))


def refused(file, cache, *words):
    """The fetch fails with one clear error, and leaves no file in the cache."""
    with pytest.raises(DownloadError) as caught:
        fetch(file)
    message = str(caught.value)
    assert isinstance(caught.value, CdnScError)
    for word in (*words, "https://example.org/page", f"put it at {cache / 'some' / 'file.bin'}"):
        assert word in message
    assert "\n" not in message
    assert visible(cache) == []
    return message


def test_a_file_is_fetched_once(server, cache):
    server.serve("/a", BODY)
    path = fetch(remote(server))
    assert path == cache / "some" / "file.bin"
    assert path.read_bytes() == BODY
    assert fetch(remote(server)) == path
    assert server.asked() == ["/a"]
    assert server.requests[0].headers["User-Agent"] == f"cdn-sc/{version('cdn-sc')}"
    assert visible(cache) == ["file.bin"]


def test_unknown_length_and_size(server, cache):
    server.serve("/a", Answer(BODY, announce=False))
    assert fetch(remote(server, size=False)).read_bytes() == BODY


# --- what may be over at the next try --------------------------------------------------------------------


@pytest.fixture
def served(server, request):
    """What the server answers first, with a client that does not wait long for slow answers."""
    answer = request.param[0] if isinstance(request.param, tuple) else request.param
    if answer.pause or answer.drip or answer.hang_after is not None:
        request.getfixturevalue("impatient")
    return request.param


PASSING = {
    "202 with an empty body": Answer(b"", 202),
    "202 with a body": Answer(b"accepted", 202),
    "200 with an empty body": Answer(b""),
    "204": Answer(b"", 204),
    "408": Answer(b"", 408),
    "429": Answer(b"", 429),
    "500": Answer(b"oh", 500),
    "503": Answer(PAGE, 503, {"Content-Type": "text/html"}),
    "truncated": Answer(BODY, stop_after=70_000),
    "truncated, no ranges": Answer(BODY, stop_after=70_000, ranges=False),
    "hangs in the middle": Answer(BODY, hang_after=70_000),
    "does not answer": Answer(BODY, pause=0.6),
    "drips": Answer(BODY, drip=0.02),
}


@pytest.mark.parametrize("served", PASSING.values(), ids=PASSING, indirect=True)
def test_passing_faults_then_success(server, cache, served):
    server.serve("/a", served, BODY)
    assert fetch(remote(server)).read_bytes() == BODY
    assert server.asked() == ["/a"] * 2


PERSISTENT = {
    "202 with an empty body": (
        Answer(b"", 202),
        "answered 202 Accepted in place of the file (tried 5 times)",
    ),
    "200 with an empty body": (Answer(b""), "empty body (tried 5 times)"),
    "web page": (Answer(PAGE, headers={"Content-Type": "text/html; charset=utf-8"}), "web page"),
    "web page in disguise": (Answer(PAGE, announce=False), "web page"),
    "403": (Answer(b"no", 403), "403 Forbidden"),
    "404": (Answer(b"no", 404), "404 Not Found"),
    "410": (Answer(b"no", 410), "410 Gone"),
    "429": (Answer(b"", 429), "429 Too Many Requests (tried 5 times)"),
    "500": (Answer(b"", 500), "500 Internal Server Error (tried 5 times)"),
    "truncated, no ranges": (Answer(BODY, stop_after=70_000, ranges=False), "broke off at 70,000"),
    "does not answer": (Answer(BODY, pause=30), "no answer within 0.3 s (tried 5 times)"),
    "drips": (Answer(BODY, drip=0.02, ranges=False), "bytes came in"),
    "hangs": (Answer(BODY, hang_after=0), "tried 5 times"),
    "wrong checksum": (Answer(BODY[::-1]), "another checksum"),
    "other size": (Answer(BODY[:-1]), "has 199,999 bytes, where 200,000 are right"),
    "endless": (Answer(BODY + BODY, announce=False), "more than the 200,000 bytes"),
}


@pytest.mark.parametrize("served", PERSISTENT.values(), ids=PERSISTENT, indirect=True)
def test_persistent_faults_end_in_one_error(server, cache, served):
    answer, reason = served
    server.serve("/a", answer)
    message = refused(remote(server), cache, reason, f"{server.url}/a ")
    assert message.startswith("could not fetch file.bin: ")
    assert len(server.asked()) == (5 if "tried 5" in reason or reason[:5] in ("bytes", "broke") else 1)


@pytest.mark.parametrize("served", PERSISTENT.values(), ids=PERSISTENT, indirect=True)
def test_second_address_helps(server, cache, served):
    server.serve("/a", served[0])
    server.serve("/b", BODY)
    assert fetch(remote(server, addresses=("/a", "/b"))).read_bytes() == BODY


def test_retry_after_is_honoured_and_capped(server, cache, monkeypatch):
    waits = []
    monkeypatch.setattr(_transfer.time, "sleep", waits.append)
    in_a_while = formatdate(time.time() + 3600, usegmt=True)
    answers = [Answer(b"", 429, {"Retry-After": text}) for text in ("0.25", in_a_while, "7200", "soon")]
    server.serve("/a", *answers, BODY)
    fetch(remote(server))
    assert waits == [0.25, 0.5, 0.5, pytest.approx(0.01 * 2**3)]


def test_waits_grow(server, cache, monkeypatch):
    waits = []
    monkeypatch.setattr(_transfer.time, "sleep", waits.append)
    server.serve("/a", Answer(b"", 500))
    refused(remote(server), cache)
    assert waits == [0.01, 0.02, 0.04, 0.08]


# --- going on where it was broken off --------------------------------------------------------------------


def test_resumes_where_it_was_broken_off(server, cache):
    server.serve("/a", Answer(BODY, stop_after=70_000), Answer(BODY, stop_after=50_000), BODY)
    assert fetch(remote(server)).read_bytes() == BODY
    assert [request.headers.get("Range") for request in server.requests] == [
        None,
        "bytes=70000-",
        "bytes=120000-",
    ]


def test_many_breaks_with_progress_are_borne(server, cache):
    server.serve("/a", *[Answer(BODY, stop_after=10_000)] * 19, BODY)
    assert fetch(remote(server)).read_bytes() == BODY
    assert len(server.asked()) == 20


def test_resumes_what_an_earlier_call_began(server, cache):
    server.serve("/a", Answer(BODY, stop_after=70_000), Answer(b"", 404))
    refused(remote(server), cache, "404")
    server.serve("/a", BODY)
    assert fetch(remote(server)).read_bytes() == BODY
    assert server.requests[-1].headers["Range"] == "bytes=70000-"


def test_wrong_beginning_is_thrown_away(server, cache):
    """What an earlier call left is not always the beginning of this file: it starts anew, once."""
    file = remote(server)
    file.local.parent.mkdir(parents=True)
    digits = file.checksum.split(":")[1][:12]
    (file.local.parent / f".file.bin.{digits}.part").write_bytes(bytes(70_000))
    server.serve("/a", BODY)
    assert fetch(file).read_bytes() == BODY
    assert [request.headers.get("Range") for request in server.requests] == ["bytes=70000-", None]


def test_too_long_a_beginning(server, cache):
    server.serve("/a", BODY)
    for file in (remote(server), remote(server, size=False)):
        file.local.parent.mkdir(parents=True, exist_ok=True)
        file.local.unlink(missing_ok=True)
        digits = file.checksum.split(":")[1][:12]
        (file.local.parent / f".file.bin.{digits}.part").write_bytes(bytes(300_000))
        assert fetch(file).read_bytes() == BODY


def test_another_part_than_was_asked_for(server, cache):
    odd = Answer(BODY[5:], 206, {"Content-Range": f"bytes 5-{len(BODY) - 1}/{len(BODY)}"})
    server.serve("/a", Answer(BODY, stop_after=70_000), odd, BODY)
    assert fetch(remote(server)).read_bytes() == BODY


# --- connections -----------------------------------------------------------------------------------------


def test_connection_refused(server, cache):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/a"
        file = RemoteFile("some/file.bin", (url,), "md5:0", "https://example.org/page")
        refused(file, cache, "no connection (Connection refused) (tried 2 times)")


def test_no_internet(server, cache):
    file = RemoteFile(
        "some/file.bin", ("http://no-such-host.invalid/a",), "md5:0", "https://example.org/page"
    )
    refused(file, cache, "no connection", "tried 2 times")


def test_address_that_is_none(server, cache):
    file = RemoteFile("some/file.bin", ("figshare.com/a",), "md5:0", "https://example.org/page")
    refused(file, cache, "No scheme supplied")


def test_endless_redirects(server, cache):
    server.serve("/a", Answer(b"", 302, {"Location": "/a"}))
    refused(remote(server), cache, "redirects")


def test_redirect(server, cache):
    server.serve("/a", Answer(b"", 302, {"Location": "/b"}))
    server.serve("/b", BODY)
    assert fetch(remote(server)).read_bytes() == BODY


# --- the mirror ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slash", ["", "/"])
def test_mirror_goes_first(server, cache, monkeypatch, slash):
    monkeypatch.setenv("CDN_SC_MIRROR", f"{server.url}/mirror{slash}")
    server.serve("/mirror/some/file.bin", BODY)
    assert fetch(remote(server)).read_bytes() == BODY
    assert server.asked() == ["/mirror/some/file.bin"]


def test_mirror_that_lacks_the_file_or_lies(server, cache, monkeypatch):
    monkeypatch.setenv("CDN_SC_MIRROR", f"{server.url}/mirror")
    server.serve("/a", BODY)
    assert fetch(remote(server)).read_bytes() == BODY
    (cache / "some" / "file.bin").unlink()
    server.serve("/mirror/some/file.bin", BODY[::-1])
    assert fetch(remote(server)).read_bytes() == BODY


# --- the cache -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", PAGE, BODY[:-1], BODY[::-1]], ids=["empty", "page", "cut", "other"])
def test_bad_file_in_the_cache_is_replaced(server, cache, content, caplog):
    server.serve("/a", BODY)
    file = remote(server)
    file.local.parent.mkdir(parents=True)
    file.local.write_bytes(content)
    assert fetch(file).read_bytes() == BODY
    assert "is fetched anew" in caplog.text


def test_file_put_there_by_hand(server, cache):
    file = remote(server)
    file.local.parent.mkdir(parents=True)
    file.local.write_bytes(BODY)
    assert fetch(file) == file.local
    assert server.asked() == []


class FullDisk:
    """A file that takes so many bytes and no more."""

    def __init__(self, file, room):
        self.file, self.room = file, room

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def write(self, chunk):
        if self.file.tell() + len(chunk) > self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self.file.write(chunk)

    def __getattr__(self, name):
        return getattr(self.file, name)


def test_disk_that_fills_up(server, cache, monkeypatch):
    server.serve("/a", BODY)
    really_open = Path.open

    def open_with_little_room(path, mode="r", *arguments, **options):
        file = really_open(path, mode, *arguments, **options)
        return FullDisk(file, 10_000) if path.suffix == ".part" and "w" in mode else file

    monkeypatch.setattr(Path, "open", open_with_little_room)
    refused(remote(server), cache, "no space left", "200,000 bytes", "CDN_SC_DATASETDIR")
    assert not list(cache.rglob("*.part")), "what fills the disk is removed"


def test_disk_that_is_too_small(server, cache, monkeypatch):
    usage = shutil.disk_usage(cache.parent)
    monkeypatch.setattr(_download.shutil, "disk_usage", lambda path: usage._replace(free=199_999))
    refused(remote(server), cache, "no space left", "CDN_SC_DATASETDIR")
    assert server.asked() == [], "nothing is fetched that cannot be kept"


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES])
def test_cache_that_cannot_be_written(server, cache, monkeypatch, code):
    """Tests may run as root, whom no rights stop: the system call is made to fail as it would."""
    server.serve("/a", BODY)
    really_open = os.open

    def refuse(path, flags, *arguments, **options):
        if str(path).startswith(str(cache)) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            raise OSError(code, os.strerror(code), str(path))
        return really_open(path, flags, *arguments, **options)

    (cache / "some").mkdir(parents=True)
    monkeypatch.setattr(os, "open", refuse)
    refused(remote(server), cache, "cannot write into", os.strerror(code), "CDN_SC_DATASETDIR")


def test_cache_under_a_file(server, cache):
    cache.parent.mkdir(exist_ok=True)
    cache.write_text("a file")
    with pytest.raises(DownloadError, match=r"cannot write into .*Not a directory.*CDN_SC_DATASETDIR"):
        fetch(remote(server))
    assert cache.read_text() == "a file"


def test_read_only_cache_with_the_file(server, cache, monkeypatch):
    file = remote(server)
    file.local.parent.mkdir(parents=True)
    file.local.write_bytes(BODY)

    def refuse(*_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "open", refuse)
    monkeypatch.setattr(os, "mkdir", refuse)
    assert fetch(file) == file.local


# --- several processes -----------------------------------------------------------------------------------

FETCH = """
import sys
from cdn_sc import settings
from cdn_sc.datasets._download import RemoteFile, fetch
url, checksum, size, folder = sys.argv[1:]
settings.dataset_dir = folder
settings.verbosity = "error"
print(fetch(RemoteFile("some/file.bin", (url,), checksum, "page", int(size))))
"""


def start(server, cache):
    file = remote(server)
    arguments = [file.urls[0], file.checksum, str(file.size), str(cache)]
    return subprocess.Popen([sys.executable, "-c", FETCH, *arguments], stdout=subprocess.PIPE, text=True)


def test_two_processes_fetch_once(server, cache):
    server.serve("/a", Answer(BODY, pause=1.0))
    processes = [start(server, cache) for _ in range(2)]
    assert [process.communicate(timeout=60)[0].strip() for process in processes] == [
        str(cache / "some" / "file.bin")
    ] * 2
    assert (cache / "some" / "file.bin").read_bytes() == BODY
    assert server.asked() == ["/a"]


def test_process_that_was_killed_leaves_no_lock(server, cache):
    server.serve("/a", Answer(BODY, hang_after=70_000), BODY)
    process = start(server, cache)
    parts = lambda: [path for path in cache.rglob("*.part") if path.stat().st_size == 70_000]  # noqa: E731
    wait_until(parts, 60)
    process.kill()
    process.communicate()
    assert visible(cache) == []
    assert fetch(remote(server)).read_bytes() == BODY
    assert server.requests[-1].headers["Range"] == "bytes=70000-"


# --- what is told ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("verbosity", "shown"), [("info", True), ("warning", False)])
def test_progress_follows_verbosity(server, cache, monkeypatch, capsys, verbosity, shown):
    monkeypatch.setattr(settings, "verbosity", verbosity)
    server.serve("/a", BODY)
    fetch(remote(server))
    said = capsys.readouterr()
    assert ("file.bin" in said.err and "195k/195k" in said.err) is shown
    assert said.out == ""


def test_tries_are_told(server, cache, caplog, monkeypatch):
    monkeypatch.setattr(settings, "verbosity", "info")
    server.serve("/a", Answer(b"", 500), BODY)
    fetch(remote(server))
    assert "answered 500 Internal Server Error; trying again in 0.01 s" in caplog.text
