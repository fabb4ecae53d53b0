"""The command `cdn-sc train`."""

import sys
from functools import partial

import numba
import numpy as np
import pandas as pd
import pytest
import torch

import cdn_sc
from cdn_sc.cli import main

CONFIG = """
name = "small"
steps = 4
genes_per_batch = 40
max_pairs_per_batch = 4
validate_every = 2
checkpoint_every = 2
validation_pairs = 2

[network]
architecture = "gene_transformer"
channels = 16
heads = 2
layers = 1

[[sources]]
type = "scm"
options = { genes = [6, 10], n_control = [50, 80], n_perturbed = [50, 80] }
"""


@pytest.fixture
def config(tmp_path):
    (tmp_path / "small.toml").write_text(CONFIG)
    return tmp_path / "small.toml"


@pytest.fixture(autouse=True)
def keep_settings():
    verbosity, threads = cdn_sc.settings.verbosity, torch.get_num_threads()
    compiled = numba.get_num_threads()
    yield
    numba.set_num_threads(compiled)
    cdn_sc.settings.verbosity = verbosity
    torch.set_num_threads(threads)


def run(*arguments):
    main(["train", "--quiet", "--device", "cpu", *map(str, arguments)])


@pytest.fixture
def fails(fails_in_one_line):
    return partial(fails_in_one_line, run)


def test_train_stop_and_go_on(config, tmp_path, capsys):
    run("--config", config, "-o", tmp_path / "run", "--max-seconds", 0, "--threads", 1)
    network = cdn_sc.models.load(tmp_path / "run" / "small.safetensors")
    assert network.card["training"]["steps"] == 1
    run("--config", config, "-o", tmp_path / "run", "--workers", 1)
    assert "small.safetensors" in capsys.readouterr().out
    network = cdn_sc.models.load(tmp_path / "run" / "small.safetensors")
    assert network.card["training"]["steps"] == 4
    assert network.card["name"] == "small"
    assert pd.read_csv(tmp_path / "run" / "log.csv")["step"].tolist() == [2, 4]


def test_bad_input_is_one_line(config, tmp_path, fails):
    out = ["-o", tmp_path / "out"]
    assert "gene-transformer" in fails(1, "--config", "none", *out)
    for text, expected in {
        "name = ": "is no TOML file",
        'name = "a"': "lacks ['network', 'sources']",
        CONFIG + "\n[colour]\n": "unknown field(s) ['colour']",
        CONFIG.replace('type = "scm"', ""): "type",
        CONFIG.replace("[6, 10]", "[10, 6]"): "option genes = [10, 6]",
        CONFIG.replace('"small"', '"a/b"'): "name = 'a/b'",
        CONFIG.replace("gene_transformer", "transformer"): "no architecture 'transformer'",
    }.items():
        config.write_text(text)
        assert expected in fails(1, "--config", config, *out)
    assert "is a file" in fails(1, "--config", "gene-transformer", "-o", config)
    assert "--config" in fails(2, *out)
    assert "--workers" in fails(2, "--config", config, "--workers", -1, *out)


def test_damaged_checkpoint_is_one_line(config, tmp_path, capsys, fails):
    run("--config", config, "-o", tmp_path / "run", "--max-seconds", 0)
    capsys.readouterr()
    path = tmp_path / "run" / "checkpoint.pt"
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"junk"):
        path.write_bytes(content)
        said = fails(1, "--config", config, "-o", tmp_path / "run")
        assert "checkpoint.pt, which is damaged" in said


def test_threads_stay_as_asked_for(config, tmp_path):
    torch.set_num_threads(2)
    run("--config", config, "-o", tmp_path / "run", "--max-seconds", 0, "--threads", 1)
    assert torch.get_num_threads() == 1
    # scanpy computes with numba, whose first parallel call sets the size of the pool that torch uses too
    import scanpy as sc

    adata = cdn_sc.simulate.screen(24, 1, n_control=20, n_perturbed=10)
    sc.pp.normalize_total(adata)
    assert torch.get_num_threads() == 1


def published_config(folder):
    small = CONFIG.replace('name = "small"', 'name = "small"\nselect_by = "auroc"\npatience = 3')
    small = small[: small.index("[[sources]]")] + '[[sources]]\ntype = "published"\n'
    path = folder / "published.toml"
    path.write_text(small.replace("max_pairs_per_batch = 4", "max_pairs_per_batch = 2"))
    return path


def write_pairs(folder):
    """Eleven pairs in the published layout."""
    rng = np.random.default_rng(0)
    (folder / "data").mkdir()
    rows = []
    for number in range(11):
        pair = cdn_sc.simulate.scm_pair(rng, n_genes=(6, 8), n_control=(30, 40), n_perturbed=(20, 30))
        path = f"data/data_interv-{number}.npy"
        np.save(folder / path, pair.perturbed)
        np.save(folder / path.replace("data_interv", "data"), pair.control)
        rows.append((path, pair.targets[0], "train"))
    table = pd.DataFrame(rows, columns=["fp_data", "label", "split"])
    table.to_csv(folder / "splits.csv", index=False)


def test_published_layout(config, tmp_path, capsys, fails, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    write_pairs(tmp_path)
    published = ["--config", published_config(tmp_path), "-o", tmp_path / "out"]
    where = ["--data", tmp_path, "--splits", tmp_path / "splits.csv"]
    assert "--data and --splits" in fails(1, *published)
    assert "has no source 'published'" in fails(1, "--config", config, "-o", tmp_path / "out", *where)
    assert "no model of that name" in fails(1, *published, *where, "--initial-weights", "none")
    run("--config", config, "-o", tmp_path / "start", "--max-seconds", 0)
    start = tmp_path / "start" / "small.safetensors"
    run(*published, *where, "--initial-weights", start, "--threads", 1)
    capsys.readouterr()
    training = cdn_sc.models.load(tmp_path / "out" / "small.safetensors").card["training"]
    assert training["initial_weights_sha256"] == cdn_sc.models.load(start).card["sha256"]
    assert training["validations"]["step"] == [0, 2, 4]
    assert "needs the package" in fails(
        1, *published, *where, "--initial-weights", start, "--tracker", "wandb"
    )
