"""Weights: by name, by path, ours and the authors'; whatever else comes along is refused."""

import argparse
import io
import json
import os
import pickle
import struct
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from cdn_sc import models, settings
from cdn_sc.datasets import _transfer
from cdn_sc.errors import DeviceError, InputError
from cdn_sc.models import WeightsError, registry
from cdn_sc.models.files import _text_sha256
from cdn_sc.models.tensors import tensors_sha256
from cdn_sc.nn import CDN, SEA, GeneTransformer

SIZES = {"num_vars": 12, "max_subsets": 9, "channels": 8, "heads": 2, "blocks": 2, "encoder_ffn": 3}


def small(architecture="cdn", **changes):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return models.build_network({"architecture": architecture, **SIZES, **changes})


def lightning(network, path, **more):
    """Checkpoint as Lightning writes it."""
    arguments = argparse.Namespace(n_heads=SIZES["heads"], dropout=0.1, model="joint")
    content = {
        "epoch": 3,
        "global_step": 600,
        "pytorch-lightning_version": "2.4.0",
        "state_dict": network.state_dict(),
        "hyper_parameters": {"args": arguments},
    }
    torch.save(content | more, path)
    return path


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, tensor in found.items():
        assert torch.equal(tensor, expected[name]), name


# --- ours ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("architecture", "changes"),
    [("cdn", {"form": "concat"}), ("cdn", {"form": "difference"}), ("sea", {}), ("gene_transformer", {})],
)
def test_saved_network_comes_back(tmp_path, architecture, changes):
    if architecture == "gene_transformer":
        network = models.build_network({"architecture": architecture})
    else:
        network = small(architecture, **changes)
    card = {"name": "mine", "version": "2", "training": {"steps": 10}, "recommended_for": "tests"}
    path = models.save(network, tmp_path / "mine.safetensors", card)
    found = models.load(path)
    assert type(found) is type(network)
    assert found.config == network.config
    assert not found.training
    assert_same(found.state_dict(), network.state_dict())
    assert found.card.items() >= (card | {"source": "file", "architecture": architecture}).items()
    assert len(found.card["sha256"]) == 64
    assert [file.name for file in tmp_path.iterdir()] == ["mine.safetensors"]


def test_loading_leaves_the_global_generator_alone(tmp_path):
    path = models.save(small(), tmp_path / "a.safetensors")
    before = torch.get_rng_state()
    models.load(path)
    assert torch.equal(torch.get_rng_state(), before)


def test_card_must_be_json(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        models.save(small(), tmp_path / "a.safetensors", {"when": object()})
    assert not list(tmp_path.iterdir())


def test_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = models.save(small(), tmp_path / "a.safetensors", {"version": "1"})

    def fail(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr("cdn_sc._files.os.fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        models.save(small(), path, {"version": "2"})
    assert models.load(path).card["version"] == "1"
    assert [file.name for file in tmp_path.iterdir()] == ["a.safetensors"]


@pytest.mark.parametrize(
    ("configuration", "message"),
    [
        ({"architecture": "cnd"}, "no architecture 'cnd'.*cdn"),
        ({}, "no architecture None"),
        ({"architecture": "cdn", "form": "sum"}, "form must be"),
        ({"architecture": "cdn", "depth": 3}, "depth"),
        ({"architecture": ["cdn"]}, r"no architecture \['cdn'\]"),
        ({"architecture": "cdn", "heads": True}, "heads must be a positive integer"),
        ({"architecture": "gene_transformer", "heads": True}, "heads must be a positive integer"),
        ({"architecture": "cdn", "blocks": 10**9}, "blocks = 1000000000 is more than 64"),
        ({"architecture": "cdn", "channels": 8 * 10**9}, "channels = 8000000000 is more than 4,096"),
        ({"architecture": "cdn", "num_vars": 10**9}, "num_vars = 1000000000 is more than 100,000"),
        ({"architecture": "cdn", "num_vars": 10**5, "channels": 4096}, "parameters are more than 20,000,000"),
        ({"architecture": "cdn", "comparison_ffn": 10**9}, "comparison_ffn = 1000000000 is more than"),
        ({"architecture": "gene_transformer", "layers": 10**9}, "layers = 1000000000 is more than 64"),
        ({"architecture": "gene_transformer", "members": 60, "layers": 60}, "3600 layers are more than 256"),
        ({"architecture": "gene_transformer", "features": 10**30}, "features = 1.* is more than"),
    ],
)
def test_impossible_networks(configuration, message):
    with pytest.raises(InputError, match=message):
        models.build_network(configuration)


@pytest.fixture
def cautious_umask():
    before = os.umask(0o027)
    yield
    os.umask(before)


def test_rights_of_a_saved_file(tmp_path, cautious_umask, monkeypatch):
    monkeypatch.delattr(os, "umask")  # it belongs to the whole process, other threads included
    path = models.save(small(), tmp_path / "a.safetensors")
    monkeypatch.undo()
    assert path.stat().st_mode & 0o777 == 0o640


# --- the authors' ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["concat", "difference"])
def test_checkpoint_of_a_form(tmp_path, form):
    network = small(form=form, comparison_ffn=5)
    found = models.load(str(lightning(network, tmp_path / "published.ckpt")))
    assert isinstance(found, CDN)
    assert found.config == network.config
    assert found.card["name"] == "published"
    assert_same(found.state_dict(), network.state_dict())


def test_checkpoint_of_sea(tmp_path):
    found = models.load(lightning(small("sea"), tmp_path / "sea.ckpt"))
    assert type(found) is SEA
    assert found.config.architecture == "sea"


def test_published_files(shared_dir):
    parameters = {"cat": 705_544, "diff": 573_448, "sea": 502_151}
    for name, expected in parameters.items():
        network = models.load(shared_dir / "parity" / f"official_{name}.ckpt")
        assert sum(p.numel() for p in network.parameters()) == expected
        assert network.config.num_vars == 1000
        assert network.config.dropout == 0.1


class Malicious:
    """Would make a folder when unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("place", ["top", "arguments", "bare pickle", "whole file"])
def test_code_in_a_checkpoint_is_never_run(tmp_path, place):
    trap, path = tmp_path / "trap", tmp_path / "evil.ckpt"
    if place == "top":
        lightning(small(), path, callbacks=Malicious(trap))
    elif place == "arguments":
        arguments = argparse.Namespace(n_heads=2, callback=Malicious(trap))
        lightning(small(), path, hyper_parameters={"args": arguments})
    elif place == "bare pickle":
        path.write_bytes(pickle.dumps({"state_dict": {}, "hyper_parameters": Malicious(trap)}))
    else:
        torch.save(Malicious(trap), path)
    message = "not a weights file" if place == "bare pickle" else r"refused, and nothing in it was run.*mkdir"
    with pytest.raises(WeightsError, match=message):
        models.load(path)
    assert not trap.exists()
    with path.open("rb") as file:  # the trap is real: without care the file does its work
        if place == "bare pickle":
            pickle.load(file)
        else:
            torch.load(file, weights_only=False)
    assert trap.exists()


# --- what else comes along -------------------------------------------------------------------------------


def png(path):
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(200))


def html(path):
    path.write_bytes(b"\n<!DOCTYPE html><html><body>202 Accepted</body></html>")


def empty(path):
    path.write_bytes(b"")


def truncated_checkpoint(path):
    lightning(small(), path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def other_zip(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")


def other_torch_model(path):
    torch.save(torch.nn.Linear(2, 3).state_dict(), path)


def other_lightning_model(path):
    lightning(torch.nn.Linear(2, 3), path)


def tensor_alone(path):
    torch.save(torch.zeros(3), path)


def state_of_strings(path):
    torch.save({"state_dict": {"a": "b"}}, path)


def numpy_array(path):
    stream = io.BytesIO()
    np.save(stream, np.zeros(3))
    path.write_bytes(stream.getvalue())


def wrong_shape(path):
    network = small()
    state = network.state_dict() | {"encoder.layers.1.linear.bias": torch.zeros(5)}
    lightning(network, path, state_dict=state)


def missing_parameter(path):
    network = small()
    state = network.state_dict()
    del state["encoder.layers.1.linear.bias"]
    lightning(network, path, state_dict=state)


def not_finite(path):
    network = small()
    network.linear_out.bias.data += np.nan
    lightning(network, path)


def damaged_values(path):
    """The checkpoint is whole but for finite values in the middle of its largest tensor."""
    network = small()
    largest = max(network.state_dict().values(), key=torch.numel).numpy().tobytes()
    content = lightning(network, path).read_bytes()
    start = content.index(largest) + len(largest) // 4
    path.write_bytes(content[:start] + bytes(len(largest) // 2) + content[start + len(largest) // 2 :])
    assert path.read_bytes() != content


def values_marked_as_folder(path):
    """One bit in the table of contents, which no checksum covers, hides the values of a tensor."""
    content = bytearray(lightning(small(), path).read_bytes())
    name = content.rindex(b"/data/0PK")
    entry = content.rindex(b"PK\x01\x02", 0, name)
    content[entry + 38] |= 0x10
    path.write_bytes(content)


def compressed(path):
    """A few bytes that unpack to many."""
    network = small(num_vars=10_000)
    network.encoder.embed_nodes.weight.data.zero_()
    with zipfile.ZipFile(lightning(network, path)) as archive:
        members = [(member.filename, archive.read(member)) for member in archive.infolist()]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)


def replaced(path, **changes):
    """Checkpoint with other tensors in the place of its own; dots in the names are written as _."""
    state = small().state_dict()
    state.update(
        (next(key for key in state if key.replace(".", "_") == name), t) for name, t in changes.items()
    )
    assert len(state) == len(small().state_dict())
    lightning(small(), path, state_dict=state)


def repeated_value(path):
    replaced(path, encoder_embed_time_weight=torch.zeros(1, 1).expand(10**12, 8))


def no_values_many_rows(path):
    replaced(path, encoder_embed_time_weight=torch.zeros(10**12, 0))


def sparse(path):
    replaced(path, linear_out_bias=torch.zeros(1).to_sparse())


def sparse_first(path):
    replaced(path, encoder_embed_nodes_weight=torch.zeros(13, 8).to_sparse())


def without_values(path):
    replaced(path, linear_out_bias=torch.zeros(1, device="meta"))


def integers(path):
    replaced(path, linear_out_bias=torch.zeros(1, dtype=torch.int64))


def complex_values(path):
    replaced(path, linear_out_bias=torch.zeros(1, dtype=torch.complex64))


def too_large_for_the_network(path):
    replaced(path, linear_out_bias=torch.full((1,), 1e300, dtype=torch.float64))


def number_for_settings(path):
    lightning(small(), path, hyper_parameters={"args": 3})


def infinitely_many_heads(path):
    lightning(small(), path, hyper_parameters={"args": argparse.Namespace(n_heads=np.inf)})


REFUSED = {
    png: "is not a weights file",
    html: "web page",
    empty: "is empty",
    truncated_checkpoint: "truncated, damaged or no torch checkpoint",
    other_zip: "truncated, damaged or no torch checkpoint",
    other_torch_model: "a dict with weight, bias; a published CDN",
    other_lightning_model: "not of a CDN or SEA network: its parameters are weight, bias",
    tensor_alone: "holds a Tensor",
    state_of_strings: "more than named tensors",
    numpy_array: "is not a weights file",
    wrong_shape: r"linear.bias has shape \(5,\), where \(8,\) would fit",
    missing_parameter: "1 missing .encoder.layers.1.linear.bias",
    not_finite: "linear_out.bias holds NaN or infinity",
    damaged_values: "truncated, damaged or no torch checkpoint",
    values_marked_as_folder: "truncated, damaged or no torch checkpoint",
    compressed: "truncated, damaged or no torch checkpoint",
    repeated_value: "parameters would need",
    no_values_many_rows: "max_subsets = 999999999999 is more than",
    sparse: "linear_out.bias is sparse",
    sparse_first: "embed_nodes.weight is sparse",
    without_values: "linear_out.bias is sparse, nested or without values",
    integers: "linear_out.bias has type torch.int64",
    complex_values: "linear_out.bias has type torch.complex64",
    too_large_for_the_network: "linear_out.bias holds NaN or infinity",
    number_for_settings: "hold a int in place of settings",
    infinitely_many_heads: "not of a CDN or SEA network",
}


@pytest.mark.parametrize(("write", "message"), REFUSED.items(), ids=[write.__name__ for write in REFUSED])
def test_other_files_are_refused(tmp_path, write, message):
    path = tmp_path / "weights.ckpt"
    write(path)
    with pytest.raises(WeightsError, match=message):
        models.load(path)


def test_every_cut_of_a_checkpoint_is_refused(tmp_path):
    whole = lightning(small(), tmp_path / "whole.ckpt").read_bytes()
    path = tmp_path / "cut.ckpt"
    for share in np.linspace(0, 0.99, 12):
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(WeightsError):
            models.load(path)


def edit_configuration(path, change, *, sealed=True):
    """Rewrite the JSON inside a safetensors file, with a checksum that fits if `sealed`."""
    content = path.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + length])
    inside = json.loads(header["__metadata__"]["cdn_sc"])
    change(inside)
    if sealed and "sha256" in inside:
        del inside["sha256"]
        inside["sha256"] = _text_sha256(inside)
    header["__metadata__"]["cdn_sc"] = json.dumps(inside)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["config"].update(architecture="vae"), "'vae'; this version knows .*cdn"),
        (lambda c: c["config"].update(heads=3), "must divide"),
        (lambda c: c["config"].update(colour="red"), r"colour is no size .* comes from another version"),
        (lambda c: c.pop("card"), "cannot be read"),
        (lambda c: c.update(format=99), "has format 99"),
        (lambda c: c["config"].update(channels=16), "shape"),
        (lambda c: c["config"].update(blocks=1), "0 missing, .* unknown"),
    ],
)
def test_odd_configurations_inside_safetensors(tmp_path, change, message):
    path = models.save(small(), tmp_path / "a.safetensors")
    edit_configuration(path, change)
    with pytest.raises(WeightsError, match=message):
        models.load(path)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("layers", 10**12, "layers = 1000000000000 is more than"),
        ("layers", 10**5, "layers are more than"),
        ("members", 10**5, "layers are more than"),
        ("channels", 10**12, "channels = .* is more than"),
        ("channels", 10**5, "shape"),
        ("message_channels", 10**12, "message_channels = .* is more than"),
        ("edges", 10**12, "edges = .* is more than"),
        ("features", 10**12, "features = .* is more than"),
        ("features", 10**30, "features = .* is more than"),
        ("points", 10**4, "shape"),
    ],
)
def test_sizes_that_no_file_could_hold(tmp_path, monkeypatch, field, value, message):
    network = models.build_network({"architecture": "gene_transformer"})
    path = models.save(network, tmp_path / "a.safetensors")
    edit_configuration(path, lambda c: c["config"].update({field: value}))
    build, real = GeneTransformer.__init__, []

    def watched(self, config):
        real.append(torch.get_default_device().type != "meta")
        assert config.layers * config.members < 1000, "would take for ever"
        build(self, config)

    monkeypatch.setattr(GeneTransformer, "__init__", watched)
    with pytest.raises(WeightsError, match=message):
        models.load(path)
    assert not any(real), "memory was taken before the sizes were known to fit"


def rewrite(path, change):
    """Change the tensors inside a safetensors file, and nothing else."""
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    state = load_file(path)
    change(state)
    save_file(state, path, metadata)


def test_damaged_values_in_safetensors(tmp_path):
    path = models.save(small(), tmp_path / "a.safetensors")
    rewrite(path, lambda state: None)
    models.load(path)
    rewrite(path, lambda state: state["linear_out.bias"].add_(1))
    with pytest.raises(WeightsError, match="values are not those that were saved"):
        models.load(path)
    # files of earlier versions have no checksum
    edit_configuration(path, first_format)
    assert_same(models.load(path).state_dict(), load_file(path))
    assert models.load(path).card["checksum"] == "nothing"
    # or one of the values alone
    edit_configuration(
        path, lambda content: content.update(tensors_sha256=tensors_sha256(load_file(path), named=False))
    )
    assert models.load(path).card["checksum"] == "values"
    rewrite(path, lambda state: state["linear_out.bias"].add_(1))
    with pytest.raises(WeightsError, match="values are not those that were saved"):
        models.load(path)


def first_format(content):
    """Make the JSON inside a file what the first versions wrote."""
    del content["sha256"], content["tensors_sha256"]
    content["format"] = 1


@pytest.mark.parametrize("dtype", [torch.int32, torch.complex64])
def test_safetensors_of_other_types(tmp_path, dtype):
    path = models.save(small(), tmp_path / "a.safetensors")
    edit_configuration(path, first_format)
    try:
        rewrite(path, lambda state: state.update({"linear_out.bias": torch.zeros(1, dtype=dtype)}))
    except KeyError:
        pytest.skip("safetensors before 0.7 cannot write complex values")
    with pytest.raises(WeightsError, match=r"linear_out.bias has type"):
        models.load(path)


def test_damaged_and_foreign_safetensors(tmp_path):
    path = models.save(small(), tmp_path / "a.safetensors")
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(WeightsError, match="truncated or damaged"):
        models.load(path)
    save_file({"weight": torch.zeros(2)}, tmp_path / "b.safetensors")
    with pytest.raises(WeightsError, match="without a cdn-sc configuration"):
        models.load(tmp_path / "b.safetensors")


# --- names -----------------------------------------------------------------------------------------------


def test_available():
    table = models.available()
    assert list(table.columns) == [
        "name",
        "architecture",
        "source",
        "recommended_for",
        "bundled",
        "parameters",
    ]
    assert table["name"].is_unique
    published = table[table["source"] == "figshare"].set_index("name")
    assert len(published) == 11
    assert not published["bundled"].any()
    assert published.loc["cdn_finetuned-seen", "recommended_for"] == "genetic perturbations"
    assert published.loc["cdn_synthetic_diff-all", "recommended_for"] == "chemical perturbations"
    assert published.loc["cdn_synthetic-all", "recommended_for"] == "synthetic benchmarks"


def test_bundled_files_and_registry_agree():
    listed = {e.name for e in registry.ENTRIES if e.source == "bundled"}
    assert {path.stem for path in registry.BUNDLED_DIR.glob("*.safetensors")} == listed
    assert registry.DEFAULT is None or registry.DEFAULT in listed
    for entry in registry.ENTRIES:
        if entry.source == "bundled":
            network = models.load(entry.name)
            assert network.card["name"] == entry.name
            assert sum(p.numel() for p in network.parameters()) == entry.parameters


@pytest.fixture
def bundled(tmp_path, monkeypatch):
    """One bundled model, the default."""
    network = small()
    models.save(network, tmp_path / "tiny-1.safetensors", {"version": "1"})
    entry = registry.Entry("tiny-1", "cdn", "bundled", "tests", 7)
    monkeypatch.setattr(registry, "ENTRIES", (entry, *registry.ENTRIES))
    monkeypatch.setattr(registry, "BUNDLED_DIR", tmp_path)
    monkeypatch.setattr(registry, "DEFAULT", "tiny-1")
    return network


def test_bundled_name_and_default(bundled):
    for name in ("tiny-1", "default"):
        network = models.load(name)
        assert_same(network.state_dict(), bundled.state_dict())
        expected = {"name": "tiny-1", "source": "bundled", "recommended_for": "tests", "version": "1"}
        assert network.card.items() >= expected.items()
    assert models.load().card == models.load("tiny-1").card


def test_bundled_file_gone(bundled, tmp_path):
    (tmp_path / "tiny-1.safetensors").unlink()
    with pytest.raises(WeightsError, match="reinstall"):
        models.load("tiny-1")


def test_no_default(monkeypatch):
    monkeypatch.setattr(registry, "DEFAULT", None)
    with pytest.raises(WeightsError, match="no weights are bundled"):
        models.load()


def test_published_name(tmp_path, monkeypatch):
    """Without internet, as all tests are."""
    monkeypatch.setattr(settings, "_dataset_dir", tmp_path)
    monkeypatch.setattr(_transfer, "PATIENCE", replace(_transfer.PATIENCE, back_off=0))
    path = tmp_path / "weights" / "cdn_synthetic-all.ckpt"
    with pytest.raises(WeightsError, match=r"figshare\.29225855") as caught:
        models.load("cdn_synthetic-all")
    assert str(path) in str(caught.value)
    path.parent.mkdir(exist_ok=True)
    lightning(small(), path)
    network = models.load("cdn_synthetic-all")
    expected = {"name": "cdn_synthetic-all", "source": "figshare", "recommended_for": "synthetic benchmarks"}
    assert network.card.items() >= expected.items()


def test_unknown_names(tmp_path):
    with pytest.raises(WeightsError, match=r"Did you mean .*'cdn_finetuned-seen'"):
        models.load("cdn_finetuned_sen")
    with pytest.raises(WeightsError, match=r"no file .* no model of that name.*sea_fci_corr"):
        models.load("zzz")
    with pytest.raises(WeightsError, match="there is no file"):
        models.load(tmp_path / "absent.ckpt")
    with pytest.raises(WeightsError, match="is a folder"):
        models.load(tmp_path)


def test_name_of_a_file_without_suffix(tmp_path, monkeypatch):
    models.save(small(), tmp_path / "weights_of_mine")
    monkeypatch.chdir(tmp_path)
    assert models.load("weights_of_mine").card["path"] == str(Path("weights_of_mine"))


def test_device_that_is_not_there(tmp_path, monkeypatch):
    path = models.save(small(), tmp_path / "a.safetensors")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceError, match="no CUDA"):
        models.load(path, device="cuda")
    assert next(models.load(path, device="auto").parameters()).device.type in ("cpu", "mps")


def test_weights_error_is_an_input_error():
    assert issubclass(WeightsError, InputError)
    assert issubclass(WeightsError, ValueError)
