"""Fixtures: an empty cache, and a server in the place of figshare; for any conftest."""

import hashlib
from dataclasses import replace

import pytest
from imitation_archive import imitation_archive
from imitation_server import ImitationServer

from cdn_sc import settings
from cdn_sc.datasets import _figshare, _splits, _transfer


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty data set folder."""
    folder = tmp_path / "cache"
    monkeypatch.setattr(settings, "_dataset_dir", folder)
    monkeypatch.delenv("CDN_SC_MIRROR", raising=False)
    return folder


@pytest.fixture
def server(monkeypatch):
    """A running server that takes the place of figshare and of the split files' host."""
    monkeypatch.setattr(
        _transfer,
        "PATIENCE",
        replace(_transfer.PATIENCE, connect=5, read=10, back_off=0.01, longest_wait=0.5, window=5),
    )
    with ImitationServer() as running:
        monkeypatch.setattr(_figshare, "API", f"{running.url}/v2")
        monkeypatch.setattr(_figshare, "DOWNLOADS", f"{running.url}/files")
        monkeypatch.setattr(_splits, "RAW", f"{running.url}/raw")
        yield running


@pytest.fixture
def impatient(monkeypatch, server):
    """Wait for slow answers only for moments."""
    monkeypatch.setattr(_transfer, "PATIENCE", replace(_transfer.PATIENCE, read=0.3, window=0.4))


@pytest.fixture(scope="session")
def archive(tmp_path_factory):
    """The published layout, unpacked, with its split files."""
    return imitation_archive(tmp_path_factory.mktemp("imitation"))


@pytest.fixture
def with_splits(server, cache, archive, monkeypatch):
    """A server with the imitation's split files, whose checksums are in the registry."""
    for name, content in archive.splits.items():
        server.serve(f"/raw/{name}", content)
        monkeypatch.setitem(_splits.REGISTRY, name, f"sha256:{hashlib.sha256(content).hexdigest()}")
    return server


@pytest.fixture
def published(with_splits, archive):
    """A server with the split files and, as one zip archive, the data."""
    article = _figshare.DATA_ARTICLE
    with_splits.add_file(article, 1, "readme.txt", b"read me")
    with_splits.add_file(article, _figshare.DATA_FILE, "single_cell.zip", archive.packed("zip"))
    return with_splits
