"""The ablation's variants blank what they say, and a tiny run writes its table and goes on from it."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cdn_sc.features import FEATURES
from cdn_sc.features._own import OWN_FEATURES

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def ablation(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import ablation

    return ablation


def test_variants_blank_their_inputs(ablation, tmp_path):
    config = ablation.study_config(1, seed=0)
    [(_, _, (batch, targets))] = [
        test for test in ablation.test_batches(config, tmp_path, 1) if test[0] == "knockdown"
    ]
    assert len(targets) == len(batch.mask) == 8
    own = [FEATURES.index(name) for name in OWN_FEATURES]
    others = [i for i in range(len(FEATURES)) if i not in own]
    kept = ablation.VARIANTS["all inputs"](batch.inputs)
    for field in dataclasses.fields(kept):
        assert np.array_equal(getattr(kept, field.name), getattr(batch.inputs, field.name))
    without = ablation.VARIANTS["without the gene's own statistics"](batch.inputs).features
    assert not without[..., own].any()
    assert np.array_equal(without[..., others], batch.inputs.features[..., others])
    only = ablation.VARIANTS["own statistics only"](batch.inputs)
    assert np.array_equal(only.features[..., own], batch.inputs.features[..., own])
    assert not only.edge_mask.any()
    assert not only.edges.any()


def test_run(ablation, tmp_path, monkeypatch):
    monkeypatch.setattr(ablation, "VARIANTS", dict(list(ablation.VARIANTS.items())[:2]))
    tests = ("knockdown", "activity, with a table")
    monkeypatch.setattr(ablation, "TESTS", {name: ablation.TESTS[name] for name in tests})
    arguments = [
        "--output",
        str(tmp_path),
        "--cache",
        str(tmp_path / "cache"),
        "--steps",
        "1",
        "--networks",
        "2",
    ]
    ablation.main([*arguments, "--seeds", "1"])
    path = tmp_path / "cache" / "ablation.csv"
    first = pd.read_csv(path)
    assert len(first) == 2 * 2 * 2 * 8 * 2  # variants, tests, networks, groups, told or not
    ablation.main([*arguments, "--seeds", "2"])
    both = pd.read_csv(path)
    pd.testing.assert_frame_equal(both[both["seed"] == 0], first)
    assert len(both) == 2 * len(first)
    text = (tmp_path / "results" / "ablation.md").read_text()
    assert "| without the gene's own statistics |" in text
