"""Files that are whole or absent, locks of folders, full disks."""

import os
import resource
import stat
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from cdn_sc import _files
from cdn_sc._run_lock import folder_lock, only_run
from cdn_sc.errors import WriteError

KILLS = Path(__file__).with_name("killed_at_every_line.py")


@contextmanager
def small_disk(size=20_000):
    """Let files of this process grow to so many bytes only."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_permissions(tmp_path):
    before = os.umask(0o027)
    try:
        _files.write_text(tmp_path / "new", "1")
        (tmp_path / "old").write_text("1")
        (tmp_path / "old").chmod(0o604)
        _files.write_text(tmp_path / "old", "2")
    finally:
        os.umask(before)
    assert mode(tmp_path / "new") == 0o640
    assert mode(tmp_path / "old") == 0o604
    assert (tmp_path / "old").read_text() == "2"


def test_links_stay_links(tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "link").symlink_to(Path("store") / "file")
    for content in ("1", "2"):  # the file is not there at first
        _files.write_text(tmp_path / "link", content)
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "store" / "file").read_text() == content
    assert [path.name for path in (tmp_path / "store").iterdir()] == ["file"]


def test_several_files_appear_together(tmp_path):
    (tmp_path / "a").write_text("old")

    def write(*contents):
        with _files.replacing(tmp_path / "a", tmp_path / "b") as parts:
            for part, content in zip(parts, contents, strict=False):
                part.write_text(str(1 / content))

    with pytest.raises(ZeroDivisionError):
        write(1, 0)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a": "old"}
    with pytest.raises(WriteError):  # one is missing at the end
        write(1)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a": "old"}
    write(1, 2)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a": "1.0", "b": "0.5"}


@pytest.mark.parametrize(
    ("work", "states"),
    [
        ("File", "['old', 'new'] True"),
        ("Folder", "[['old'], ['new'], 'absent'] True"),
        ("Records", "[1, 2] True"),
        ("Log", "[3, 2] True"),
    ],
)
def test_killed_before_every_line(tmp_path, work, states):
    ended = subprocess.run(
        [sys.executable, KILLS, work, tmp_path], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.strip() == states


def test_strays_of_others_stay_while_they_write(tmp_path):
    with _files.replacing(tmp_path / "a") as (part,):
        part.write_text("1")
        _files.write_text(tmp_path / "b", "2")
        fresh = tmp_path / ".cdn-sc-fresh.tmp"  # just being made: no lock as yet
        fresh.mkdir()
        _files.write_text(tmp_path / "b", "3")
        assert fresh.exists()
        os.utime(fresh, (time.time() - 3600,) * 2)
        _files.write_text(tmp_path / "b", "4")
        assert not fresh.exists()
    assert (tmp_path / "a").read_text() == "1"
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b"}


def test_long_names(tmp_path):
    longest = tmp_path / ("n" * 251 + ".txt")
    _files.check_writable(longest)
    _files.write_text(longest, "1")
    assert longest.read_text() == "1"
    with pytest.raises(WriteError, match="File name too long"):
        _files.check_writable(tmp_path / ("n" * 252 + ".txt"))
    with pytest.raises(WriteError, match="File name too long"):
        _files.make_folder(tmp_path / ("n" * 256))


def test_places_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("1")
    os.mkfifo(tmp_path / "pipe")
    for path, said in {
        tmp_path / "none" / "a": "there is no folder",
        tmp_path / "file" / "a": "there is no folder",
        tmp_path / "pipe": "neither a file nor a folder",
    }.items():
        with pytest.raises(WriteError, match=said):
            _files.check_writable(path)
    with pytest.raises(WriteError, match="is a file; the results need a folder"):
        _files.make_folder(tmp_path / "file")
    with pytest.raises(WriteError, match="cannot make the folder"):
        _files.make_folder(tmp_path / "file" / "a")


def test_full_disk(tmp_path):
    (tmp_path / "a").write_text("old")
    with small_disk(), pytest.raises(WriteError, match=r"cannot write .*a': File too large"):
        _files.write_bytes(tmp_path / "a", bytes(30_000))
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a": "old"}


def test_one_run_in_a_folder(tmp_path):
    lock = folder_lock(tmp_path)
    with only_run(tmp_path, lock), pytest.raises(WriteError, match="another run"), only_run(tmp_path, lock):
        pytest.fail("two at once")
    # the lock of a process that was killed
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from cdn_sc._run_lock import folder_lock, only_run\n"
        "folder = Path(sys.argv[1])\n"
        "with only_run(folder, folder_lock(folder)): os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code, tmp_path], check=False).returncode == -9
    assert folder_lock(tmp_path).exists()
    with only_run(tmp_path, folder_lock(tmp_path)):
        pass


def test_a_folder_that_a_kill_left_aside_comes_back(tmp_path, monkeypatch):
    store = tmp_path / "a.zarr"
    store.mkdir()
    (store / "old").write_text("old")
    child = os.fork()
    if not child:  # between the two moves
        moves = []

        def replace(source, target):
            if moves:
                os._exit(9)
            moves.append(os.rename(source, target))

        _files.os.replace = replace
        with _files.replacing(store) as (part,):
            part.mkdir()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 9
    assert not store.exists()
    # the lock of a child that ends without a word is let go with it
    _files.write_text(tmp_path / "other.csv", "x")
    assert [path.name for path in store.iterdir()] == ["old"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zarr", "other.csv"]


def test_a_file_in_place_of_a_folder_is_told_before_the_work(tmp_path):
    (tmp_path / "a.safetensors").mkdir()
    with pytest.raises(WriteError, match="it is a folder"):
        _files.check_file(tmp_path / "a.safetensors")
    with pytest.raises(WriteError, match="too long"):
        _files.check_file(tmp_path / ("a" * 300))
    _files.check_file(tmp_path / "b.safetensors")
