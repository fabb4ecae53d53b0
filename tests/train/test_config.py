"""Configurations: what ships, and what is refused."""

import inspect
from dataclasses import asdict

import pytest
import torch
from runs import CDN, GENE_TRANSFORMER, SCM, tiny_config

from cdn_sc.models import build_network
from cdn_sc.simulate import scm_pair, screen_pairs
from cdn_sc.train import read_config
from cdn_sc.train.config import SOURCE_OPTIONS, TrainConfig, config_from_dict, shipped_configs
from cdn_sc.train.data import draw_batch


@pytest.mark.parametrize("name", shipped_configs())
def test_shipped_configurations(name):
    config = read_config(name)
    assert config.name == name
    assert config.recommended_for
    with torch.random.fork_rng(devices=[]):
        build_network(config.network)


def test_the_default_model_ships():
    assert "gene-transformer" in shipped_configs()


def test_names_of_options_are_those_of_the_simulators():
    own = {
        "scm": {"genes", "gene_choices"},
        "screen": {
            "genes",
            "selected",
            "groups",
            "control_cells",
            "values",
            "large",
            "large_genes",
            "large_values",
        },
    }
    for source, simulator in (("scm", scm_pair), ("screen", screen_pairs)):
        taken = inspect.signature(simulator).parameters
        assert set(SOURCE_OPTIONS[source]) - own[source] <= set(taken)


def test_file(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text(
        'name = "own"\nlearning_rate = 1\nn_subsets = [4, 8]\n[network]\narchitecture = "cdn"\n'
        '[[sources]]\ntype = "scm"\nweight = 2\noptions = { genes = [6, 8] }\n'
    )
    config = read_config(path, {"steps": 7})
    assert (config.name, config.steps, config.learning_rate, config.n_subsets) == ("own", 7, 1.0, (4, 8))
    assert isinstance(config.learning_rate, float)
    assert config.sources[0].weight == 2
    assert read_config(str(path)).steps == TrainConfig("", {}, ()).steps
    # a configuration that was written down reads back as it was
    assert config_from_dict(asdict(config)) == config


def test_missing_file_lists_what_ships():
    with pytest.raises(FileNotFoundError, match=r"'gene-transformr'; shipped .*: .*'gene-transformer'"):
        read_config("gene-transformr")


def test_binary_file_is_named(tmp_path):
    path = tmp_path / "weights.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"weights.toml' is no text file"):
        read_config(path)


def test_broken_file(tmp_path):
    (tmp_path / "broken.toml").write_text("name = ")
    with pytest.raises(ValueError, match=r"broken\.toml' is no TOML file"):
        read_config(tmp_path / "broken.toml")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learn_rate": 1e-3}, r"unknown field\(s\) \['learn_rate'\]"),
        ({"steps": "100"}, "steps = '100' .* expected an integer of at least 1"),
        ({"steps": True}, "steps = True"),
        ({"validate_every": 0}, "validate_every = 0 .* at least 1"),
        ({"learning_rate": "fast"}, "learning_rate = 'fast' .* expected a number"),
        ({"kind_told": 1.5}, "kind_told = 1.5 .* expected a number between 0 and 1"),
        ({"kind_wrong": -0.1}, "kind_wrong = -0.1 .* expected a number between 0 and 1"),
        ({"network": CDN, "kind_wrong": 0.1}, "kind_wrong is for the architecture 'gene_transformer'"),
        ({"seed": 1.5}, "seed = 1.5 .* expected an integer of at least 0"),
        ({"seed": -1}, "seed = -1 .* at least 0"),
        ({"clip": -1.0}, r"clip = -1.0 .* a number above 0"),
        ({"clip": 0}, "clip = 0 .* a number above 0"),
        ({"weight_decay": -1.0}, "weight_decay = -1.0 .* at least 0"),
        ({"graph_weight": float("inf")}, "graph_weight = inf"),
        ({"warmup_steps": -5}, "warmup_steps = -5"),
        ({"average_decay": 2.0}, "average_decay = 2.0 .* between 0 and 1"),
        ({"n_subsets": [-5, -1]}, r"n_subsets = \[-5, -1\] .* at least 2"),
        ({"name": 3}, "name = 3 .* expected str"),
        ({"name": "a/b"}, "name = 'a/b' .* letters, digits"),
        ({"name": ".."}, r"name = '\.\.' "),
        ({"name": ""}, "name = '' "),
        ({"n_subsets": [50, 10]}, r"n_subsets = \[50, 10\] .* the smaller one first"),
        ({"n_subsets": 50}, "n_subsets = 50 .* expected two integers"),
        ({"n_subsets": [10, 20, 30]}, "n_subsets = .* expected two integers"),
        ({"network": "cdn"}, "network = 'cdn' .* expected a table"),
        ({"network": {}}, "network lacks its architecture"),
        ({"sources": "scm"}, "sources = 'scm' .* expected a list of tables"),
        ({"sources": ["scm"]}, "expected a list of tables"),
        ({"sources": []}, "needs a source of positive weight"),
        ({"sources": [{"type": "scm", "weight": 0}]}, "needs a source of positive weight"),
        ({"sources": [{"type": "scm", "weight": -1}]}, "a number of at least 0"),
        ({"sources": [{"weight": 1}]}, "lacks 'type'"),
        ({"sources": [{"type": "scm", "genes": [5, 9]}]}, r"unknown field\(s\) \['genes'\]"),
        ({"sources": [{"type": "scm", "weight": "a"}]}, "needs a number as weight"),
        ({"sources": [{"type": "cells"}]}, "unknown type of source 'cells'; known: scm, screen"),
        (
            {"sources": [{"type": "scm", "options": {"n_cells": 5}}]},
            "unknown option 'n_cells' of a source 'scm'; known: genes, .*n_control",
        ),
        (
            {"sources": [{"type": "screen", "options": {"gene_choices": [5]}}]},
            "unknown option 'gene_choices'",
        ),
    ],
)
def test_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        tiny_config(**changes)


@pytest.mark.parametrize(
    ("source", "name", "value", "expected"),
    [
        ("scm", "genes", [20, 6], "a range of two integers, the smaller one first and at least 2"),
        ("scm", "genes", "x", "a range of two integers"),
        ("scm", "genes", [1, 6], "at least 2"),
        ("scm", "genes", [6.5, 8], "two integers"),
        ("scm", "genes", [6], "a range of two"),
        ("scm", "gene_choices", [], "a list of integers"),
        ("scm", "edges_per_gene", [2.0, 1.0], "a range of two numbers, the smaller one first"),
        ("scm", "mechanisms", "linear", "a list of names"),
        ("scm", "mechanisms", ["quadratic"], "a list of names among linear"),
        ("scm", "n_targets", [0, 1], "at least 1"),
        ("screen", "genes", [600, 24], "the smaller one first"),
        ("screen", "control_cells", 50, "a range of two integers"),
        ("screen", "selected", 1.5, "a share between 0 and 1"),
        ("screen", "large", -0.1, "a share between 0 and 1"),
        ("screen", "large_genes", [4000, 1000], "the smaller one first"),
        ("screen", "large_values", 0, "an integer of at least 1"),
        ("screen", "groups", 0, "an integer of at least 1"),
        ("screen", "values", 1e5, "an integer"),
        ("screen", "kinds", ["knockdown"], "a table of kinds"),
        ("screen", "kinds", {"knockdown": 0}, "a table of kinds"),
        ("screen", "kinds", {"drug": 1.0}, "a table of kinds, among knockdown"),
        ("screen", "genes", [2, 3], "at least 5"),
        ("screen", "n_targets", [-1.0, 2.0], "a list of relative frequencies"),
        ("screen", "strength", float("nan"), "a number of at least 0"),
    ],
)
def test_values_of_options(source, name, value, expected):
    with pytest.raises(ValueError, match=f"option {name} = .* of a source '{source}'; expected .*{expected}"):
        tiny_config(sources=[{"type": source, "options": {name: value}}])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"validation_pairs": 10**9}, "validation_pairs = 1000000000 .* at most 100,000"),
        ({"genes_per_batch": 10**9}, "genes_per_batch = .* at most 1,000,000"),
        ({"max_pairs_per_batch": 10**9}, "max_pairs_per_batch = .* at most 10,000"),
        ({"steps": 10**12}, "steps = .* at most 1,000,000,000"),
        ({"n_subsets": [2, 10**9]}, "n_subsets = .* at most 10,000"),
    ],
)
def test_sizes_of_a_run(changes, message):
    with pytest.raises(ValueError, match=message):
        tiny_config(**changes)


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("scm", {"genes": [10, 10**9]}, "option genes = .* at most 5,000"),
        ("scm", {"gene_choices": [10**9]}, "option gene_choices = .* at most 5,000"),
        ("scm", {"gene_choices": [5] * 2000}, "option gene_choices"),
        ("scm", {"n_control": [10, 10**9]}, "option n_control = .* at most 1,000,000"),
        ("scm", {"edges_per_gene": [1, 10**9]}, "option edges_per_gene = .* at most 1,000"),
        ("scm", {"genes": [10, 1000], "n_perturbed": [10, 10**6]}, "asks for 1,000,000 cells of 1,000 genes"),
        ("screen", {"genes": [10, 10**9]}, "option genes = .* at most 5,000"),
        ("screen", {"large_genes": [10, 10**9]}, "option large_genes = .* at most 5,000"),
        ("screen", {"large_values": 10**12}, "option large_values = .* at most 100,000,000"),
        ("screen", {"large_genes": [10, 4000], "n_perturbed": [10, 10**5]}, "100,000 cells of 4,000 genes"),
        ("screen", {"groups": 10**9}, "option groups = .* at most 1,000"),
        ("screen", {"values": 10**12}, "option values = .* at most 100,000,000"),
        ("screen", {"genes": [10, 1000], "control_cells": [10**6, 10**6]}, "asks for 1,000,000 cells"),
    ],
)
def test_sizes_of_sources(source, options, message):
    with pytest.raises(ValueError, match=message):
        tiny_config(sources=[{"type": source, "options": options}])


@pytest.mark.parametrize(
    "text",
    ["a" + ".a" * 100_000 + " = 1", "a = " + "[" * 5000, "a = " + "9" * 5000, "a = " + "{a=" * 4000],
    ids=["dots", "lists", "number", "tables"],
)
def test_files_that_would_take_for_ever(tmp_path, text):
    (tmp_path / "a.toml").write_text(text)
    with pytest.raises(ValueError, match=r"a\.toml' (is no TOML file|has 2.* bytes; a TOML file)"):
        read_config(tmp_path / "a.toml")


@pytest.mark.parametrize("missing", ["name", "network", "sources"])
def test_missing_fields(missing):
    values = {"name": "a", "network": GENE_TRANSFORMER, "sources": [SCM]}
    del values[missing]
    with pytest.raises(ValueError, match=rf"lacks \['{missing}'\]"):
        config_from_dict(values)


def test_gene_choices():
    config = tiny_config(sources=[{"type": "scm", "options": SCM["options"] | {"gene_choices": [5, 11]}}])
    assert {pair.control.shape[1] for step in range(12) for pair in draw_batch(config, step)} == {5, 11}
    assert CDN["num_vars"] >= 11
