"""Only the members asked for are unpacked, and never a byte lands outside the folder."""

import errno
import gzip
import io
import lzma
import os
import stat
import tarfile
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from cdn_sc.datasets import _archive
from cdn_sc.datasets._archive import has_random_access, is_archive, unpack
from cdn_sc.errors import ArchiveError

KINDS = {"a.zip": "zip", "a.tar": "w", "a.tar.gz": "w:gz", "a.tar.bz2": "w:bz2", "a.tar.xz": "w:xz"}


def pack(path, members):
    """Write an archive; a member is bytes, or the target of a link (str), in pairs of name and content."""
    kind = KINDS[path.name]
    if kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members:
                info = zipfile.ZipInfo(name)
                if isinstance(content, str):
                    info.external_attr = (stat.S_IFLNK | 0o777) << 16
                archive.writestr(info, content)
    else:
        with tarfile.open(path, kind) as archive:
            for name, content in members:
                info = tarfile.TarInfo(name)
                if isinstance(content, str):
                    info.type, info.linkname = tarfile.SYMTYPE, content
                    archive.addfile(info)
                else:
                    info.size = len(content)
                    archive.addfile(info, io.BytesIO(content))
    return path


def written(folder):
    """Every entry below a folder, links too."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


@pytest.fixture(params=KINDS)
def archive_path(request, tmp_path):
    return tmp_path / request.param


def test_only_what_is_asked_for(archive_path, tmp_path):
    path = pack(archive_path, [("top/x/a.npy", b"a" * 5000), ("top/x/b.npy", b"b"), ("c.npy", b"c")])
    assert is_archive(path)
    assert has_random_access(path) == (path.suffix == ".zip")
    assert unpack(path, tmp_path / "out", ["data/x/a.npy", "data/x/none.npy"]) == ["data/x/none.npy"]
    assert written(tmp_path / "out") == ["data/x/a.npy"]
    assert (tmp_path / "out" / "data" / "x" / "a.npy").read_bytes() == b"a" * 5000


@pytest.mark.parametrize("top", ["", "./", "data/", "anything/data/single_cell/"])
def test_folders_around_it_do_not_matter(archive_path, tmp_path, top):
    path = pack(archive_path, [(f"{top}x/a.npy", b"a")])
    assert unpack(path, tmp_path / "out", ["data/single_cell/x/a.npy"]) == []
    assert written(tmp_path / "out") == ["data/single_cell/x/a.npy"]


def test_the_nearest_of_several(archive_path, tmp_path):
    members = [("other/x/a.npy", b"1"), ("data/cells/x/a.npy", b"2"), ("more/x/a.npy", b"3")]
    unpack(pack(archive_path, members), tmp_path / "out", ["data/cells/x/a.npy"])
    assert (tmp_path / "out/data/cells/x/a.npy").read_bytes() == b"2"


HOSTILE = {
    "above": "../x/a.npy",
    "far above": "../../../../../../tmp/x/a.npy",
    "above on the way": "data/../../x/a.npy",
    "absolute": "/x/a.npy",
    "drive": "C:/x/a.npy",
}


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_names_that_lead_outside_are_no_members(archive_path, tmp_path, name):
    folder = tmp_path / "deep" / "out"
    path = pack(archive_path, [(name, b"evil")])
    before = written(tmp_path)
    assert unpack(path, folder, ["data/x/a.npy"]) == ["data/x/a.npy"]
    assert written(tmp_path) == before
    # a member of an honest name beside it is found all the same
    unpack(pack(archive_path, [("x/a.npy", b"good"), (name, b"evil")]), folder, ["x/a.npy"])
    assert (folder / "x" / "a.npy").read_bytes() == b"good"
    assert written(folder) == ["x/a.npy"]


@pytest.mark.parametrize("name", ["../a.npy", "/tmp/a.npy", "a/../../b.npy", "a\\..\\b.npy", "C:a.npy", ""])
def test_wishes_that_lead_outside_are_refused(tmp_path, name):
    path = pack(tmp_path / "a.zip", [(name or "a", b"evil")])
    with pytest.raises(ArchiveError, match="outside"):
        unpack(path, tmp_path / "out", [name])
    assert not (tmp_path / "out").exists()


def test_links_are_refused(archive_path, tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    path = pack(archive_path, [("x/a.npy", str(secret))])
    with pytest.raises(ArchiveError, match="is a link"):
        unpack(path, tmp_path / "out", ["x/a.npy"])
    assert written(tmp_path) == [path.name, "secret"]


def test_links_are_never_followed(archive_path, tmp_path):
    """A link to a folder outside, then a file in it: the way to write anywhere with careless unpacking."""
    outside = tmp_path / "outside"
    outside.mkdir()
    path = pack(archive_path, [("data/x", str(outside)), ("data/x/a.npy", b"a")])
    unpack(path, tmp_path / "out", ["data/x/a.npy"])
    assert written(outside) == []
    assert (tmp_path / "out" / "data" / "x" / "a.npy").read_bytes() == b"a"
    assert not (tmp_path / "out" / "data" / "x").is_symlink()


def test_devices_and_hard_links(tmp_path):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        for kind, name in ((tarfile.CHRTYPE, "x/device"), (tarfile.LNKTYPE, "x/link")):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
    for name in ("x/device", "x/link"):
        with pytest.raises(ArchiveError, match="is a link or another thing"):
            unpack(path, tmp_path / "out", [name])


def test_cut_archives(archive_path, tmp_path):
    path = pack(archive_path, [("x/a.npy", os.urandom(50_000)), ("x/b.npy", os.urandom(50_000))])
    whole = path.read_bytes()
    for share in (0.0, 0.3, 0.6):
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(ArchiveError, match=r"damaged|no tar or zip|cut off"):
            unpack(path, tmp_path / "out", ["x/a.npy", "x/b.npy"])
    for name in ("a", "b"):
        file = tmp_path / "out" / "x" / f"{name}.npy"
        assert not file.exists() or len(file.read_bytes()) == 50_000


def test_damaged_values(tmp_path):
    path = pack(tmp_path / "a.zip", [("x/a.npy", os.urandom(50_000))])
    content = bytearray(path.read_bytes())
    content[20_000:20_100] = bytes(100)
    path.write_bytes(content)
    with pytest.raises(ArchiveError, match="damaged"):
        unpack(path, tmp_path / "out", ["x/a.npy"])
    assert written(tmp_path / "out") == []


def test_other_files_are_no_archives(tmp_path):
    path = tmp_path / "a.zip"
    path.write_text("<html>")
    assert not is_archive(path)
    assert not is_archive(tmp_path / "none.zip")
    with pytest.raises(ArchiveError, match="no tar or zip archive"):
        unpack(path, tmp_path / "out", ["x/a.npy"])


def test_full_disk_leaves_nothing(archive_path, tmp_path, monkeypatch):
    path = pack(archive_path, [("x/a.npy", b"a" * 5000)])

    def full(source, target, length):
        target.write(source.read(10))
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(_archive.shutil, "copyfileobj", full)
    with pytest.raises(OSError, match="No space left"):
        unpack(path, tmp_path / "out", ["x/a.npy"])
    assert written(tmp_path / "out") == []
    assert Path(path).exists()


def flipped(content, rng):
    spoilt = bytearray(content)
    bit = int(rng.integers(8 * len(content)))
    spoilt[bit // 8] ^= 1 << (bit % 8)
    return bytes(spoilt)


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz", "a.tar.bz2", "a.tar.xz"])
def test_flipped_bits(tmp_path, name):
    """The right values, or an error and nothing."""
    rng = np.random.default_rng(1)
    values = rng.normal(size=(40, 50)).astype(np.float32).tobytes()
    path, folder = tmp_path / name, tmp_path / "out"
    whole = pack(path, [("x/a.npy", values), ("x/b.npy", values[::-1])]).read_bytes()
    refused = 0
    for _ in range(100):
        path.write_bytes(flipped(whole, rng))
        try:
            absent = unpack(path, folder, ["x/a.npy"])
        except ArchiveError:
            refused += 1
            assert written(folder) == []
            continue
        # of a zip archive, the name in the table of contents has no checksum
        assert not absent or name == "a.zip"
        assert absent or (folder / "x" / "a.npy").read_bytes() == values
        (folder / "x" / "a.npy").unlink(missing_ok=True)
    assert refused >= (40 if name == "a.zip" else 90)  # a zip archive's other member is never read


def test_damage_after_the_last_wanted_member(tmp_path):
    """What was read before is not kept: the checksum of a compressed archive stands at its end."""
    path = pack(tmp_path / "a.tar.gz", [("x/a.npy", b"a" * 5000), ("x/b.npy", os.urandom(5000))])
    content = bytearray(path.read_bytes())
    content[-6] ^= 1
    path.write_bytes(content)
    (tmp_path / "out" / "x").mkdir(parents=True)
    (tmp_path / "out" / "x" / "a.npy").write_bytes(b"earlier")
    with pytest.raises(ArchiveError, match="damaged"):
        unpack(path, tmp_path / "out", ["x/a.npy"])
    assert (tmp_path / "out" / "x" / "a.npy").read_bytes() == b"earlier"
    assert written(tmp_path / "out") == ["x/a.npy"]


def header(name, size, kind, **more):
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    for key, value in more.items():
        setattr(info, key, value)
    return info.tobuf(tarfile.GNU_FORMAT)


def repeated(path, opener, start, piece, times):
    """A compressed file of a beginning and a piece that is repeated."""
    with opener(path, "wb") as file:
        file.write(start)
        for _ in range(times):
            file.write(piece)
    return path


def bomb(path, kind):
    """A small archive that would take much memory, time or space."""
    mega = bytes(1 << 20)
    if kind == "long name":
        return repeated(path, gzip.open, header("a", 200 << 20, tarfile.GNUTYPE_LONGNAME), mega, 200)
    if kind == "long header":
        return repeated(path, gzip.open, header("a", 200 << 20, tarfile.XHDTYPE), mega, 200)
    if kind == "global headers":
        return repeated(
            path, gzip.open, b"", header("a", 11, tarfile.XGLTYPE) + b"11 k123=v4\n" + bytes(501), 3000
        )
    if kind == "long numbers":
        text = b"1" * 65536
        return repeated(path, gzip.open, b"", header("a", len(text), tarfile.XHDTYPE) + text, 200)
    if kind == "long numbers in many headers":
        return repeated(path, gzip.open, b"", header("a", 0, tarfile.XHDTYPE), 3000)
    if kind == "zeros":
        return repeated(path, lzma.open, header("x/a.npy", 40 << 20, tarfile.REGTYPE), mega, 40)
    if kind == "many members":
        return repeated(path, gzip.open, b"", header("b", 0, tarfile.REGTYPE), 3000)
    if kind == "sparse":
        with tarfile.open(path, "w") as file:
            info = tarfile.TarInfo("x/a.npy")
            info.pax_headers = {"GNU.sparse.map": "0,0", "GNU.sparse.size": str(1 << 44)}
            file.addfile(info)
        return path
    method = zipfile.ZIP_BZIP2 if kind == "another method" else zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(path, "w", method) as file, file.open("x/a.npy", "w") as member:
        for _ in range(40 if kind == "zeros in zip" else 1):
            member.write(mega)
    return path


BOMBS = (
    "long name", "long header", "global headers", "long numbers", "long numbers in many headers", "zeros",
    "many members", "sparse", "another method", "zeros in zip",
)  # fmt: skip


@pytest.mark.parametrize("kind", BOMBS)
def test_bombs(tmp_path, kind, monkeypatch):
    monkeypatch.setattr(_archive, "_MOST_MEMBERS", 2000)
    monkeypatch.setattr(_archive, "_ALWAYS_UNPACKED", 20 << 20)
    path = bomb(tmp_path / "a", kind)
    assert path.stat().st_size < 1 << 20
    tracemalloc.start()
    try:
        with pytest.raises(ArchiveError):
            unpack(path, tmp_path / "out", ["x/a.npy"])
        assert tracemalloc.get_traced_memory()[1] < 30 << 20
    finally:
        tracemalloc.stop()
    assert written(tmp_path / "out") == []
