"""The command `cdn-sc evaluate`."""

import json
from functools import partial
from types import SimpleNamespace

import h5py
import numpy as np
import pandas as pd
import pytest

import cdn_sc
from cdn_sc import predictors
from cdn_sc.cli import main
from cdn_sc.metrics import RIVALS
from cdn_sc.simulate import screen


class Fake:
    """Ranks genes by the difference in means; `calls` counts pairs, and it can stop after some."""

    max_genes = None
    version, sha256 = "1", "0" * 64

    def __init__(self, name):
        self.name, self.kinds, self.stop_after = name, [], None

    def predict(self, control, perturbed, *, rng, kind=None):
        if self.stop_after is not None and len(self.kinds) >= self.stop_after:
            raise KeyboardInterrupt
        self.kinds.append(kind)
        return SimpleNamespace(logits=np.abs(perturbed.mean(0) - control.mean(0)))


@pytest.fixture(autouse=True)
def fakes(monkeypatch):
    made = {}

    def load(model="default", device="cpu", *, columns=True):
        assert not columns  # only logits count here
        if model == "none":
            raise cdn_sc.models.WeightsError("there is no file 'none' and no model of that name.")
        return made.setdefault(model, Fake(model.split("/")[-1]))

    monkeypatch.setattr(predictors, "load_predictor", load)
    verbosity = cdn_sc.settings.verbosity
    yield made
    cdn_sc.settings.verbosity = verbosity


SCM = ["--suite", "scm240", "--genes", 10, "--n-cells", 60]
SCREENS = ["--suite", "screens", "--genes", 30, "--kinds", "knockdown", "--kinds", "activity"]
SCREENS += ["--n-networks", 1, "--n-groups", 2]


def run(*arguments):
    main(["evaluate", "--quiet", "--n-bootstrap", "20", *map(str, arguments)])


@pytest.fixture
def fails(fails_in_one_line):
    return partial(fails_in_one_line, run)


def test_tables_and_settings(tmp_path, capsys):
    run(*SCM, "--limit", 12, "-o", tmp_path / "new")
    said = capsys.readouterr().out
    written = {path.name for path in (tmp_path / "new").iterdir()}
    assert written >= {"per_group.csv", "summary.csv", "summary_by.csv", "summary.md", "settings.json"}
    per_group = pd.read_csv(tmp_path / "new" / "per_group.csv")
    assert set(per_group["method"]) >= {"default", *RIVALS}
    assert per_group["method"].isin(["default", *RIVALS]).sum() == 12 * (1 + len(RIVALS))
    assert said.startswith((tmp_path / "new" / "summary.md").read_text())
    assert "| linear | structural_normal | 10 |" in said
    settings = json.loads((tmp_path / "new" / "settings.json").read_text())
    assert settings["suite"] == "scm240"
    assert settings["options"] == {"genes": 10, "n_cells": 60, "seed": 0}
    assert settings["limit"] == 12
    assert settings["predictors"]["default"]["sha256"] == "0" * 64


def test_models_and_kinds(fakes, tmp_path):
    run(*SCREENS, "--model", "a", "--model", "b/a", "--tell-kind", "-o", tmp_path)
    assert fakes["a"].kinds == ["knockdown"] * 2 + ["activity"] * 2
    per_group = pd.read_csv(tmp_path / "per_group.csv")
    assert {"a", "b/a"} < set(per_group["method"])
    by = pd.read_csv(tmp_path / "summary_by.csv")
    assert set(by["kind"]) == {"knockdown", "activity"}
    # both models are the same, and so is what they are given
    a, b = (per_group[per_group["method"] == name]["average_precision"].tolist() for name in ("a", "b/a"))
    assert a == b


def test_rivals_only(fakes, tmp_path):
    run("--suite", "scm_untrained", "--limit", 2, "--n-cells", 50, "--rivals-only", "-o", tmp_path)
    assert not fakes
    assert set(pd.read_csv(tmp_path / "per_group.csv")["mechanism"]) == {"neural_network"}


def test_a_stopped_run_goes_on(fakes, tmp_path, capsys, fails):
    run(*SCM, "--limit", 5, "-o", tmp_path / "whole")
    fakes["default"].stop_after = 8
    capsys.readouterr()
    assert "stopped" in fails(130, *SCM, "--limit", 5, "-o", tmp_path / "parts")
    # a line that was cut off counts as not written
    with (tmp_path / "parts" / "scored.jsonl").open("a") as file:
        file.write('[{"pair": ')
    fakes["default"].stop_after = None
    fakes["default"].kinds.clear()
    run(*SCM, "--limit", 5, "-o", tmp_path / "parts")
    assert len(fakes["default"].kinds) == 2
    whole, parts = (
        pd.read_csv(tmp_path / name / "per_group.csv").drop(columns="seconds") for name in ("whole", "parts")
    )
    pd.testing.assert_frame_equal(whole, parts)
    capsys.readouterr()
    assert "another evaluation" in fails(1, *SCM, "--limit", 5, "--seed", 1, "-o", tmp_path / "parts")


def write_screen(path, **options):
    adata = screen(30, {"knockdown": 3}, n_control=60, n_perturbed=40, **options)
    adata.uns["known"] = {group: targets[0] for group, targets in adata.uns["targets"].items()}
    del adata.uns["targets"]
    adata.write_h5ad(path)
    return adata


def test_limit_may_change(fakes, tmp_path):
    run(*SCM, "--limit", 5, "-o", tmp_path / "whole")
    fakes["default"].kinds.clear()
    run(*SCM, "--limit", 3, "-o", tmp_path / "parts")
    run(*SCM, "--limit", 5, "-o", tmp_path / "parts")
    assert len(fakes["default"].kinds) == 5  # three, then the other two
    whole, parts = (
        pd.read_csv(tmp_path / name / "per_group.csv").drop(columns="seconds") for name in ("whole", "parts")
    )
    pd.testing.assert_frame_equal(whole, parts)
    run(*SCM, "--limit", 2, "-o", tmp_path / "parts")
    assert pd.read_csv(tmp_path / "parts" / "per_group.csv")["pair"].nunique() == 2
    assert len((tmp_path / "parts" / "scored.jsonl").read_text().splitlines()) == 6
    assert len(fakes["default"].kinds) == 5


def test_call_that_failed_does_not_hinder_the_next(tmp_path, capsys, fails):
    with h5py.File(tmp_path / "foreign.h5ad", "w") as file:
        file["cells"] = np.zeros(3)
    write_screen(tmp_path / "screen.h5ad")
    real = ["--suite", "real", "--truth", "known", "-o", tmp_path / "out", "--path"]
    assert "foreign.h5ad" in fails(1, *real, tmp_path / "foreign.h5ad")
    assert not (tmp_path / "out" / "scored.jsonl").exists()
    run(*real, tmp_path / "screen.h5ad")
    assert (tmp_path / "out" / "summary.csv").exists()
    # another file under the same name is other data
    write_screen(tmp_path / "screen.h5ad", seed=1)
    capsys.readouterr()
    assert "another evaluation" in fails(1, *real, tmp_path / "screen.h5ad")


def test_by_is_checked_before_anything_is_scored(fakes, tmp_path, fails):
    assert "no attribute ['zz']" in fails(1, *SCM, "--limit", 2, "--by", "zz", "-o", tmp_path)
    assert not fakes
    run(*SCM, "--limit", 2, "--by", "regime", "--by", "n_targets", "-o", tmp_path)
    assert {"regime", "n_targets"} < set(pd.read_csv(tmp_path / "summary_by.csv").columns)


def test_real_screen(tmp_path):
    adata = write_screen(tmp_path / "screen.h5ad")
    real = ["--suite", "real", "--path", tmp_path / "screen.h5ad", "--truth", "known"]
    run(*real, "--kind", "knockdown", "-o", tmp_path / "out")
    per_group = pd.read_csv(tmp_path / "out" / "per_group.csv")
    assert set(per_group["group"]) == set(adata.uns["known"])
    assert set(per_group["kind"]) == {"knockdown"}


def test_bad_input_is_one_line(tmp_path, fails):
    out = ["-o", tmp_path / "out"]
    assert "unknown suite 'scm'" in fails(1, "--suite", "scm", *out)
    assert "no option kinds" in fails(1, *SCM, "--kinds", "knockdown", *out)
    assert "needs the option path" in fails(1, "--suite", "real", *out)
    assert "no file" in fails(1, "--suite", "real", "--path", tmp_path / "none.h5ad", *out)
    assert "'none'" in fails(1, *SCM, "--model", "none", *out)
    assert "given twice" in fails(1, *SCM, "--model", "a", "--model", "a", *out)
    assert "unknown kind of perturbation 'knockup'" in fails(
        1, "--suite", "screens", "--kinds", "knockup", *out
    )
    assert "--limit" in fails(2, *SCM, "--limit", 0, *out)
    assert "colour" in fails(1, *SCM, "--limit", 1, "--by", "colour", "-o", tmp_path / "by")
    (tmp_path / "text.h5ad").write_text("no h5ad")
    assert "text.h5ad" in fails(
        1, "--suite", "real", "--path", tmp_path / "text.h5ad", "-o", tmp_path / "text"
    )
    assert "is a file" in fails(1, *SCM, "-o", tmp_path / "text.h5ad")
