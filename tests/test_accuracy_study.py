"""The accuracy study: what its points are, that it goes on where it stopped, and what it writes."""

import importlib
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from cdn_sc.metrics import rivals

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def study(monkeypatch):
    """The scripts by the last part of their names."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    names = ("points", "report", "study")
    yield SimpleNamespace(**{name: importlib.import_module(f"accuracy_{name}") for name in names})
    for name in names:
        del sys.modules[f"accuracy_{name}"]


class Fake:
    """Ranks genes by the difference in means, and remembers what it was told."""

    name, takes_kind = "fake", True

    def __init__(self, sha256):
        self.sha256, self.told = sha256, []

    def predict(self, control, perturbed, *, rng, kind):
        self.told.append(kind)
        return SimpleNamespace(logits=np.abs(perturbed.mean(axis=0) - control.mean(axis=0)))


def test_points_differ_from_the_middle_in_one_property(study):
    middle = study.points.Setting()
    places = study.points.places(list(study.points.AXES))
    assert [axis for axis, _ in places[middle]] == list(study.points.AXES)
    for setting, where in places.items():
        for axis, value in where:
            assert getattr(setting, axis) == value
        changed = [name for name in vars(middle) if getattr(setting, name) != getattr(middle, name)]
        assert len(changed) == (setting != middle)


def test_same_networks_along_an_axis(study):
    small = {"genes": 30, "control_cells": 40, "perturbed_cells": 20}
    first, *others = (
        study.points.simulate(study.points.Setting(**small | change), "knockdown", 2, 0, 0)
        for change in (
            {},
            {"perturbed_cells": 30},
            {"control_cells": 60},
            {"effect": 1.0},
            {"penetrance": 0.2},
        )
    )
    for pairs in others:
        for pair, same in zip(pairs, first, strict=True):
            np.testing.assert_array_equal(pair.graph, same.graph)
            np.testing.assert_array_equal(pair.targets, same.targets)
    edition = study.points.simulate(study.points.Setting(**small), "knockdown", 2, 1, 0)
    assert not np.array_equal(edition[0].graph, first[0].graph)
    assert [len(pair.targets) for pair in study.points.simulate(
        study.points.Setting(**small, targets=2), "activity", 2, 0, 0
    )] == [2, 2]  # fmt: skip


def test_tests_are_the_rivals_of_the_same_name(study):
    (pair,) = study.points.simulate(study.points.Setting(genes=30, control_cells=50), "knockdown", 1, 0, 0)
    expected = rivals(pair.control, pair.perturbed)
    scores = study.points._test_scores(pair, study.points.sort_genes(pair.control))
    varies = np.isfinite(expected["t_test"])
    for (name, _), score in scores.items():
        np.testing.assert_allclose(score[varies], expected[name][varies], rtol=1e-5, atol=1e-6)


def test_interval_resamples_networks(study):
    assert study.points.cluster_interval(np.array([0.5, 0.5, 0.5])) == (0.5, 0.5)
    assert study.points.cluster_interval(np.array([0.0, 1.0])) == (0.0, 1.0)
    low, high = study.points.cluster_interval(np.array([0.2, 0.4, 0.6]))
    assert 0.2 <= low < 0.4 < high <= 0.6


def test_tables_picture_and_going_on(study, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(study.study, "QUICK", study.points.Design(seeds=2, networks=1, groups=1))
    monkeypatch.setitem(study.points.AXES, "genes", (24, 30))
    monkeypatch.setitem(study.points.AXES, "targets", (2,))
    model = Fake("a" * 64)
    monkeypatch.setattr(study.study, "load_predictor", lambda *_, **__: model)

    def run(*axes):
        model.told.clear()
        study.study.main(["--quick", "--output", str(tmp_path), "--axes", *axes])
        return len(model.told)

    # two values, four kinds, two networks of one group, told or not
    assert run("genes") == 2 * 4 * 2 * 2
    assert model.told.count(None) == model.told.count("activity") * 4 == 16
    assert run("genes", "targets") == 1 * 4 * 2 * 2
    rows = pd.read_csv(tmp_path / "results" / "accuracy_study.csv")
    assert list(rows) == list(study.points.COLUMNS)
    assert set(rows["axis"]) == {"genes", "targets"}
    assert set(rows["method"]) == {"fake", *study.points.TESTS}
    point = rows.query("axis == 'genes' and value == 24 and kind == 'knockdown' and method == 'wilcoxon'")
    means = point.set_index("seed")["mean"]
    assert means["all"] == pytest.approx((means["0"] + means["1"]) / 2, abs=1e-4)
    table = (tmp_path / "results" / "study_genes.md").read_text()
    assert "| activity | 30 |" in table
    assert "Model fake, weights aaaaaaaaaaaaaaaa. Each row: 2 networks with\n1 groups each." in table
    assert 5_000 < (tmp_path / "_static" / "accuracy_study.png").stat().st_size < 300_000

    model.sha256 = "b" * 64
    assert run("targets") == 16
    assert len(pd.read_csv(tmp_path / "results" / "accuracy_study.csv")) == len(rows) * 4 // 3
    capsys.readouterr()
