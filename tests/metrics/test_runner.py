import json

import numpy as np
import pandas as pd
import pytest

from cdn_sc.metrics import RIVALS, evaluate
from cdn_sc.simulate.scm import scm_dataset


class Oracle:
    """Knows what the truth is, by way of a lookup of the perturbed cells."""

    name, version = "oracle", "7"

    def __init__(self, pairs):
        self.targets = {pair.perturbed.tobytes(): pair.targets for pair in pairs}
        self.kinds = []

    def predict(self, control, perturbed, *, rng, kind=None):
        self.kinds.append(kind)
        scores = np.zeros(control.shape[1])
        scores[self.targets[perturbed.tobytes()]] = 1
        return scores


class Noise:
    def predict(self, control, perturbed, *, rng, kind=None):
        return rng.standard_normal(control.shape[1])


@pytest.fixture(scope="module")
def pairs():
    rng = np.random.default_rng(0)
    return [
        pair
        for mechanism in ("linear", "sigmoid_add")
        for pair in scm_dataset(10, 10, mechanism, "soft_shift", 1100, rng)
    ]


def test_methods_share_pairs(pairs):
    result = evaluate(
        iter(pairs), {"oracle": Oracle(pairs), "noise": Noise()}, by="mechanism", progress=False
    )
    assert set(result.per_group["method"]) == {"oracle", "noise", *RIVALS}
    assert (result.per_group.groupby("method")["pair"].nunique() == 20).all()
    means = result.summarise().query("stratum == 'all' and metric == 'average_precision'").set_index("method")
    assert means.loc["oracle", "mean"] == 1
    assert means.loc["kolmogorov_smirnov", "mean"] > 0.7 > means.loc["random", "mean"]
    assert set(result.summary["mechanism"]) == {"linear", "sigmoid_add"}
    assert result.settings["predictors"]["oracle"] == {"name": "oracle", "version": "7"}


def test_results_do_not_depend_on_company_or_processes(pairs):
    def scores(**options):
        rows = evaluate(pairs, progress=False, **options).per_group
        return rows[rows["method"] == "noise"].drop(columns="seconds").reset_index(drop=True)

    alone = scores(predictors={"noise": Noise()}, rivals=False)
    pd.testing.assert_frame_equal(scores(predictors={"more": Oracle(pairs), "noise": Noise()}), alone)
    pd.testing.assert_frame_equal(scores(predictors={"noise": Noise()}, rivals=False, n_jobs=2), alone)
    assert not scores(predictors={"noise": Noise()}, seed=1).equals(alone)


def test_kind_is_told_only_on_request(pairs):
    known = [type(p)(p.control, p.perturbed, p.targets, {"kind": "knockdown"}) for p in pairs[:2]]
    for tell, expected in ((False, [None, None]), (True, ["knockdown", "knockdown"])):
        oracle = Oracle(known)
        evaluate(known, {"oracle": oracle}, rivals=False, tell_kind=tell, progress=False)
        assert oracle.kinds == expected


def test_written_files(pairs, tmp_path):
    result = evaluate(pairs[:4], progress=False, n_bootstrap=20, description={"suite": "a test"})
    result.write(tmp_path / "new" / "folder")
    folder = tmp_path / "new" / "folder"
    assert len(pd.read_csv(folder / "per_group.csv")) == 4 * len(RIVALS)
    summary = pd.read_csv(folder / "summary.csv")
    assert {"method", "stratum", "metric", "mean", "low", "high", "n_groups"} == set(summary.columns)
    settings = json.loads((folder / "settings.json").read_text())
    assert settings["suite"] == "a test"
    assert settings["n_pairs"] == 4
    text = (folder / "summary.md").read_text()
    assert "## all" in text
    assert "| t_test | 4 |" in text


def test_bad_calls_are_refused(pairs):
    class Wrong:
        def predict(self, control, perturbed, *, rng, kind=None):
            return np.zeros(3)

    with pytest.raises(ValueError, match="nothing to evaluate"):
        evaluate(pairs, rivals=False)
    with pytest.raises(ValueError, match="no pairs"):
        evaluate([], progress=False)
    with pytest.raises(ValueError, match="'w' gave scores of shape"):
        evaluate(pairs, {"w": Wrong()}, progress=False)
    with pytest.raises(ValueError, match="name of a rival"):
        evaluate(pairs, {"t_test": Noise()}, progress=False)
