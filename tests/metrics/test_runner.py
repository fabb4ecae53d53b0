import json

import numpy as np
import pandas as pd
import pytest

from cdn_sc.errors import MissingNameError
from cdn_sc.metrics import RIVALS, EvaluationResult, evaluate, rivals, runner
from cdn_sc.metrics._other_packages import PACKAGES
from cdn_sc.simulate import Pair
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
    assert set(result.per_group["method"]) - {*PACKAGES} == {"oracle", "noise", *RIVALS}
    assert set(result.settings["rival_packages"]) <= set(PACKAGES.values())
    assert (result.per_group.groupby("method")["pair"].nunique() == 20).all()
    means = result.summarise().query("stratum == 'all' and metric == 'average_precision'").set_index("method")
    assert means.loc["oracle", "mean"] == 1
    assert means.loc["kolmogorov_smirnov", "mean"] > 0.7 > means.loc["random", "mean"]
    assert set(result.summary["mechanism"]) == {"linear", "sigmoid_add"}
    assert result.settings["predictors"]["oracle"] == {"name": "oracle", "version": "7"}


def test_read_what_was_written(pairs, tmp_path):
    result = evaluate(pairs[:3], rivals=True, by="mechanism", n_bootstrap=50, progress=False)
    result.write(tmp_path)
    again = EvaluationResult.read(tmp_path)
    pd.testing.assert_frame_equal(again.per_group, result.per_group, check_dtype=False)
    pd.testing.assert_frame_equal(again.summarise(), result.summarise())
    assert again.to_markdown("mechanism") == result.to_markdown("mechanism")
    (tmp_path / "settings.json").unlink()
    with pytest.raises(MissingNameError, match=r"no file .*settings\.json"):
        EvaluationResult.read(tmp_path)


def test_repr_tells_the_means(pairs):
    result = evaluate(pairs[:3], {"oracle": Oracle(pairs)}, n_bootstrap=50, progress=False)
    text = repr(result)
    assert text.startswith(f"EvaluationResult: {len(result.settings['methods'])} methods on 3 pairs")
    (line,) = [line for line in text.splitlines() if line.startswith("oracle")]
    means = result.summary.query("stratum == 'all' and method == 'oracle'")["mean"]
    np.testing.assert_allclose([float(mean) for mean in line.split()[1:]], means, atol=0.001)


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


def test_the_one_sided_rival_is_told_the_kind_on_request(pairs):
    kinds = ({"kind": "activation"}, {"kind": "knockdown"}, {})
    known = [Pair(p.control, p.perturbed, p.targets, kind) for p, kind in zip(pairs[:3], kinds, strict=True)]
    untold = evaluate(known, progress=False, n_bootstrap=5).per_group
    assert "one_sided_t" not in set(untold["method"])
    told = evaluate(known, tell_kind=True, progress=False, n_bootstrap=5).per_group
    rows = told.set_index(["method", "pair"])[["normalised_rank", "average_precision"]]
    assert len(rows.loc["one_sided_t"]) == 3
    for number, (pair, kind) in enumerate(zip(known, ("activation", "knockdown", "unknown"), strict=True)):
        scores = rivals(pair.control, pair.perturbed, kind=kind)["one_sided_t"]
        expected = runner.rank_metrics(runner.score_ranks(scores, np.arange(10))[pair.targets], 10)
        assert rows.loc[("one_sided_t", number), "average_precision"] == expected["average_precision"]
    pd.testing.assert_series_equal(rows.loc[("one_sided_t", 2)], rows.loc[("t_test", 2)], check_names=False)


def test_written_files(pairs, tmp_path):
    result = evaluate(pairs[:4], progress=False, n_bootstrap=20, description={"suite": "a test"})
    result.write(tmp_path / "new" / "folder")
    folder = tmp_path / "new" / "folder"
    methods = pd.read_csv(folder / "per_group.csv")["method"]
    assert methods.isin(RIVALS).sum() == 4 * len(RIVALS)
    summary = pd.read_csv(folder / "summary.csv")
    assert {"method", "stratum", "metric", "mean", "low", "high", "n_groups", "n_units"} == set(
        summary.columns
    )
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


class Counting:
    """Counts how often it meets an array of control cells other than the last one."""

    def __init__(self):
        self.last, self.changes = None, 0

    def predict(self, control, perturbed, *, rng, kind=None):
        if control is not self.last:
            self.last, self.changes = control, self.changes + 1
        return np.full(control.shape[1], float(self.changes))


def test_pairs_of_one_control_go_to_a_process_together(pairs):
    shared = [Pair(pairs[0].control, p.perturbed, p.targets) for p in pairs[:4]] + pairs[10:11]
    from cdn_sc.metrics.runner import _runs_of_one_control

    def numbers(first, most):
        return [[number for number, _ in run] for run in _runs_of_one_control(shared, first, most)]

    assert numbers(0, 9) == [[0, 1, 2, 3], [4]]
    assert numbers(1, 2) == [[1, 2], [3], [4]]
    counting = Counting()
    evaluate(shared, {"counting": counting}, rivals=False, progress=False)
    assert counting.changes == 2


def test_resume(pairs, tmp_path):
    path = tmp_path / "scored.jsonl"
    options = {"rivals": False, "progress": False, "n_bootstrap": 10}
    whole = evaluate(pairs[:6], {"noise": Noise()}, **options)
    evaluate(pairs[:4], {"noise": Noise()}, resume=path, **options)
    resumed = evaluate(pairs[:6], {"noise": Noise()}, resume=path, **options)
    pd.testing.assert_frame_equal(
        resumed.per_group.drop(columns="seconds"), whole.per_group.drop(columns="seconds")
    )
    pd.testing.assert_frame_equal(resumed.summary, whole.summary)
    before = path.read_text()
    with pytest.raises(ValueError, match="holds another evaluation"):
        evaluate(pairs[:6], {"noise": Noise()}, resume=path, tell_kind=True, **options)
    assert path.read_text() == before


def test_limit_decides_no_row(pairs, tmp_path):
    path = tmp_path / "scored.jsonl"
    options = {"rivals": False, "progress": False, "n_bootstrap": 10, "resume": path}
    for limit, lines in ((3, 4), (5, 6), (2, 6)):
        result = evaluate(iter(pairs), {"noise": Noise()}, limit=limit, **options)
        assert result.per_group["pair"].tolist() == list(range(limit))
        assert result.settings["limit"] == limit
        assert len(path.read_text().splitlines()) == lines


def test_nothing_is_written_before_a_pair_is_scored(pairs, tmp_path):
    def broken():
        raise ValueError("no such file")
        yield

    path = tmp_path / "scored.jsonl"
    with pytest.raises(ValueError, match="no such file"):
        evaluate(broken(), progress=False, resume=path)
    with pytest.raises(ValueError, match=r"no attribute \['zz'\] to tell apart by; they have \['mechanism'"):
        evaluate(pairs, {"noise": Noise()}, by=["mechanism", "zz"], progress=False, resume=path)
    assert not path.exists()


def test_table_of_settings_by_method(pairs, tmp_path):
    result = evaluate(pairs[:12], {"noise": Noise()}, progress=False, n_bootstrap=10)
    result.write(tmp_path, by=["mechanism", "intervention"])
    text = (tmp_path / "summary.md").read_text()
    assert "## by mechanism and intervention: average_precision / auroc" in text
    row = next(line for line in text.splitlines() if line.startswith("| sigmoid_add | soft_shift | 2 |"))
    cell = row.split("|")[4]
    chosen = result.per_group.query("method == 'noise' and mechanism == 'sigmoid_add'")
    assert cell.strip() == f"{chosen['average_precision'].mean():.3f} / {chosen['auroc'].mean():.3f}"
    assert set(pd.read_csv(tmp_path / "summary_by.csv")["mechanism"]) == {"linear", "sigmoid_add"}


def test_random_numbers_of_one_purpose_say_nothing_of_another(pairs, monkeypatch):
    """Predictors, the random rival and ties draw from streams of their own, and so does every pair."""
    drawn = {"predictor": [], "rivals": [], "ties": []}

    class Spy(Noise):
        def predict(self, control, perturbed, *, rng, kind=None):
            drawn["predictor"].append(rng.permutation(control.shape[1]).tolist())
            return np.zeros(control.shape[1])

    def rivals(control, perturbed, *, rng):
        drawn["rivals"].append(rng.permutation(control.shape[1]).tolist())
        return {"one": np.zeros(control.shape[1])}

    def ranks(scores, tie_break):
        drawn["ties"].append(tie_break.tolist())
        return score_ranks(scores, tie_break)

    score_ranks = runner.score_ranks
    monkeypatch.setattr(runner, "score_rivals", rivals)
    monkeypatch.setattr(runner, "score_ranks", ranks)
    evaluate(pairs[:3], {"spy": Spy()}, progress=False, n_bootstrap=5)
    assert drawn["ties"][::2] == drawn["ties"][1::2]  # alike for all methods of a pair
    orders = drawn["predictor"] + drawn["rivals"] + drawn["ties"][::2]
    assert len(orders) == len({tuple(order) for order in orders}) == 9
