"""Published weights by name, from a server that imitates figshare."""

import argparse
import errno
import io
import os
import tarfile
import zipfile

import pytest
import torch
from imitation_server import Answer

from cdn_sc import models, settings
from cdn_sc.cli import main
from cdn_sc.datasets._figshare import WEIGHTS_ARTICLE
from cdn_sc.errors import DownloadError
from cdn_sc.models import WeightsDownloadError, WeightsError, published, registry

SIZES = {"num_vars": 12, "max_subsets": 9, "channels": 8, "heads": 2, "blocks": 2, "encoder_ffn": 3}
NAMES = [entry.name for entry in registry.ENTRIES if entry.source == "figshare"]


def small(name):
    """A network of the kind that has this name, in small, with weights of its own."""
    changes = {"form": "difference"} if "_diff-" in name else {}
    architecture = "sea" if name.startswith("sea") else "cdn"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(len(name))
        return models.build_network({"architecture": architecture, **SIZES, **changes})


def checkpoint(name):
    """The file of a name, as Lightning writes it."""
    content = io.BytesIO()
    arguments = argparse.Namespace(n_heads=SIZES["heads"], dropout=0.1, model="joint")
    torch.save({"state_dict": small(name).state_dict(), "hyper_parameters": {"args": arguments}}, content)
    return content.getvalue()


@pytest.fixture
def article(server, cache):
    """The weights' article, with a file for every name and one more."""
    for number, name in enumerate(NAMES):
        server.add_file(WEIGHTS_ARTICLE, number, f"{name}.ckpt", checkpoint(name))
    server.add_file(WEIGHTS_ARTICLE, len(NAMES), "README.md", b"read me")
    return server


def same(network, name):
    found, expected = network.state_dict(), small(name).state_dict()
    return found.keys() == expected.keys() and all(torch.equal(found[key], expected[key]) for key in found)


def test_every_name(article, cache):
    assert len(NAMES) == 11
    for name in NAMES:
        network = models.load(name)
        assert same(network, name)
        entry = registry.find_entry(name)
        expected = {"name": name, "source": "figshare", "recommended_for": entry.recommended_for}
        assert network.card.items() >= expected.items()
        assert network.card["path"] == str(cache / "weights" / f"{name}.safetensors")
        assert "29225855" in network.card["training"]
    # the API lists ten files with the article, and there are more
    assert len(NAMES) > 10


def test_fetched_and_converted_once(article, cache, monkeypatch):
    first = models.load("cdn_finetuned-seen")
    article.requests.clear()

    def fail(*_):
        raise AssertionError("the checkpoint is read again")

    monkeypatch.setattr("cdn_sc.models.loading.read_checkpoint", fail)
    second = models.load("cdn_finetuned-seen")
    assert article.asked() == []
    assert same(second, "cdn_finetuned-seen")
    assert second.card == first.card
    # the converted file is enough
    (cache / "weights" / "cdn_finetuned-seen.ckpt").unlink()
    assert same(models.load("cdn_finetuned-seen"), "cdn_finetuned-seen")
    assert article.asked() == []


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04", b"cut"])
def test_damaged_conversion_is_made_anew(article, cache, damage):
    models.load("cdn_synthetic-all")
    converted = cache / "weights" / "cdn_synthetic-all.safetensors"
    converted.write_bytes(converted.read_bytes()[:500] if damage == b"cut" else damage)
    assert same(models.load("cdn_synthetic-all"), "cdn_synthetic-all")
    assert same(models.load(converted), "cdn_synthetic-all")


def test_file_put_there_by_hand(server, cache):
    name = "cdn_synthetic_diff-all"
    path = cache / "weights" / f"{name}.ckpt"
    path.parent.mkdir(parents=True)
    path.write_bytes(checkpoint(name))
    assert same(models.load(name), name)
    # another file in its place is another network
    path.write_bytes(checkpoint("cdn_synthetic-all"))
    assert same(models.load(name), "cdn_synthetic-all")
    assert server.asked() == []


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "is empty"), (b"<html>", "web page"), (b"PK\x03\x04abc", "truncated, damaged")],
)
def test_bad_file_put_there_by_hand(server, cache, content, message):
    path = cache / "weights" / "sea_fci_corr.ckpt"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=message):
        models.load("sea_fci_corr")
    assert path.read_bytes() == content
    assert not path.with_suffix(".safetensors").exists()


def test_read_only_cache(server, cache, monkeypatch):
    path = cache / "weights" / "cdn_synthetic-all.ckpt"
    path.parent.mkdir(parents=True)
    path.write_bytes(checkpoint("cdn_synthetic-all"))

    def refuse(*_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(published, "save", refuse)
    network = models.load("cdn_synthetic-all")
    assert same(network, "cdn_synthetic-all")
    assert network.card["path"] == str(path)


@pytest.mark.parametrize("kind", ["zip", "w:gz"])
@pytest.mark.parametrize("folder", ["", "checkpoints/"])
def test_article_of_one_archive(server, cache, kind, folder):
    content = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(content, "w") as archive:
            for name in NAMES:
                archive.writestr(f"{folder}{name}.ckpt", checkpoint(name))
    else:
        with tarfile.open(fileobj=content, mode=kind) as archive:
            for name in NAMES:
                info, body = tarfile.TarInfo(f"{folder}{name}.ckpt"), checkpoint(name)
                info.size = len(body)
                archive.addfile(info, io.BytesIO(body))
    ending = "zip" if kind == "zip" else "tar.gz"
    server.add_file(WEIGHTS_ARTICLE, 5, f"checkpoints.{ending}", content.getvalue())
    for name in ("cdn_finetuned-unseen-no_rpe1", "sea_fci_corr"):
        assert same(models.load(name), name)
    assert len(server.asked("/files")) == 1
    assert sorted(path.name for path in (cache / "weights").glob("*.ckpt")) == [
        "cdn_finetuned-unseen-no_rpe1.ckpt",
        "sea_fci_corr.ckpt",
    ]


def test_what_cannot_be_fetched(article, cache):
    number = NAMES.index("cdn_finetuned-seen")
    for path in (f"/files/{number}", f"/v2/file/download/{number}"):
        article.serve(path, Answer(b"", 202))
    with pytest.raises(WeightsError) as caught:
        models.load("cdn_finetuned-seen")
    assert isinstance(caught.value, WeightsDownloadError)
    assert isinstance(caught.value, DownloadError)
    for word in (
        "cdn_finetuned-seen is not on this machine",
        "202",
        "https://doi.org/10.6084/m9.figshare.29225855",
        str(cache / "weights" / "cdn_finetuned-seen.ckpt"),
    ):
        assert word in str(caught.value)
    assert not list(cache.glob("weights/[!.]*"))


def test_figshare_cannot_be_asked(server, cache):
    server.serve(f"/v2/articles/{WEIGHTS_ARTICLE}", Answer(b"", 403))
    with pytest.raises(
        WeightsDownloadError, match=r"403 Forbidden\. Download sea_fci_corr\.ckpt by hand from"
    ):
        models.load("sea_fci_corr")


def test_article_without_the_name(server, cache):
    server.add_file(WEIGHTS_ARTICLE, 1, "other.ckpt", b"other")
    with pytest.raises(WeightsDownloadError, match=r"has no sea_fci_corr\.ckpt; its files are: other\.ckpt"):
        models.load("sea_fci_corr")


def test_message_of_the_command(server, cache, fails_in_one_line, tmp_path, monkeypatch):
    monkeypatch.setattr(settings, "verbosity", "warning")  # the command sets it
    server.serve(f"/v2/articles/{WEIGHTS_ARTICLE}", Answer(b"", 403))
    command = ["evaluate", "--quiet", "--suite", "scm240", "--genes", "10", "--model", "cdn_finetuned-seen"]
    said = fails_in_one_line(main, 1, [*command, "-o", str(tmp_path / "out")])
    assert "Download cdn_finetuned-seen.ckpt by hand" in said


def test_what_is_recommended_for_what():
    table = models.available().set_index("name")["recommended_for"]
    assert table["cdn_finetuned-seen"] == "genetic perturbations"
    assert table["cdn_synthetic_diff-all"] == "chemical perturbations"
    assert table["cdn_synthetic-all"] == "synthetic benchmarks"
    assert set(NAMES) <= set(table.index)
    assert (table != "").all()
