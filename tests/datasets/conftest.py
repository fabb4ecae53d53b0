"""Lets the tests of this folder import its helper modules, and gives them a server in the place of figshare."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

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
        replace(_transfer.PATIENCE, connect=2, read=0.3, back_off=0.01, longest_wait=0.5, window=0.4),
    )
    with ImitationServer() as running:
        monkeypatch.setattr(_figshare, "API", f"{running.url}/v2")
        monkeypatch.setattr(_figshare, "DOWNLOADS", f"{running.url}/files")
        monkeypatch.setattr(_splits, "RAW", f"{running.url}/raw")
        yield running
