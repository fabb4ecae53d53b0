"""Compiled functions whose cache is not there, damaged or full: compiled anew, with the same result."""

import importlib.util
import sys

import pytest
from numba.core.caching import IndexDataCacheFile

from cdn_sc import _compile
from cdn_sc._compile import compiled

SOURCE = "def triple(x):\n    return 3 * x\n"


@pytest.fixture
def triple(tmp_path):
    """A function of a file of its own, so that it has a cache of its own, beside it."""
    path = tmp_path / "of_triple.py"
    path.write_text(SOURCE)
    spec = importlib.util.spec_from_file_location("of_triple", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["of_triple"] = module
    spec.loader.exec_module(module)
    yield module.triple
    del sys.modules["of_triple"]


def kept(tmp_path, kind):
    return list((tmp_path / "__pycache__").glob(f"*.{kind}"))


def loads(function):
    """How often it came from the cache in one call."""
    function = compiled(function)
    assert function(2) == 6
    return sum(function.stats.cache_hits.values())


def test_kept_for_the_next_process(triple, tmp_path):
    assert loads(triple) == 0
    assert len(kept(tmp_path, "nbi")) == len(kept(tmp_path, "nbc")) == 1
    assert loads(triple) == 1


@pytest.mark.parametrize("kind", ["nbi", "nbc"])
@pytest.mark.parametrize(
    "damage", [lambda old: b"", lambda old: old[: len(old) // 2], lambda old: b"\x80" * 9]
)
def test_damaged_files_are_made_anew(triple, tmp_path, kind, damage):
    loads(triple)
    (path,) = kept(tmp_path, kind)
    path.write_bytes(damage(path.read_bytes()))
    assert loads(triple) == 0
    assert loads(triple) == 1


def test_full_disk(triple, monkeypatch, tmp_path):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(IndexDataCacheFile, "_save_index", full)
    assert loads(triple) == 0
    assert not kept(tmp_path, "nbi")


@pytest.mark.parametrize("error", [RuntimeError("no locator available"), PermissionError(13, "not yours")])
def test_no_folder_for_the_cache(triple, monkeypatch, error):
    def refuse(*_):
        raise error

    monkeypatch.setattr(_compile._Cache, "__init__", refuse)
    assert loads(triple) == 0
