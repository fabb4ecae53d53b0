"""The plot of an evaluation."""

import numpy as np
import pandas as pd
import pytest

from cdn_sc.errors import InputError, MissingNameError
from cdn_sc.metrics import EvaluationResult, summarise
from cdn_sc.metrics.ranking import rank_metrics
from cdn_sc.pl import evaluation

N_GENES = 200
RANKS = {
    "ours": [1, 1, 2, 1, 5, 40, 1, 1],
    "wilcoxon": [1, 3, 9, 12, 60, 150, 2, 1],
    "random": [20, 90, 130, 7, 160, 66, 199, 101],
}


@pytest.fixture
def result():
    rows = [
        {"pair": pair, "method": method, "n_candidates": N_GENES, "n_targets": 1, "n_missing": 0}
        | rank_metrics(np.array([rank]), N_GENES)
        | {"trivial": pair in (0, 7)}
        for method, ranks in RANKS.items()
        for pair, rank in enumerate(ranks)
    ]
    per_group = pd.DataFrame(rows)
    settings = {"n_bootstrap": 100, "seed": 0, "predictors": {"ours": {}}}
    return EvaluationResult(per_group, summarise(per_group, "method", n_bootstrap=100), settings)


def curve(axis, method):
    (line,) = [line for line in axis.lines if line.get_label() == method]
    return dict(zip(line.get_xdata().astype(int), line.get_ydata(), strict=True))


def texts(axis):
    return [text.get_text() for text in axis.texts]


def test_curves_are_the_recall_at_k(result):
    axes = evaluation(result, show=False)
    for method, ranks in RANKS.items():
        found = curve(axes[0], method)
        assert found[1] == np.mean(np.array(ranks) <= 1)
        assert found[10] == np.mean(np.array(ranks) <= 10)
        assert found[100] == np.mean(np.array(ranks) <= 100)
    assert axes[0].get_ylabel() == "recall at k"
    means = result.summary.query("stratum == 'all' and metric == 'recall_at_5'").set_index("method")["mean"]
    assert curve(axes[0], "wilcoxon")[5] == means["wilcoxon"]


def test_table_has_the_means_best_method_first(result):
    axis = evaluation(result, show=False)[1]
    written = texts(axis)
    assert [text for text in written if text in RANKS] == ["ours", "wilcoxon", "random"]
    mean = result.summary.query("stratum == 'all' and metric == 'auroc' and method == 'wilcoxon'")["mean"]
    assert f"{mean.item():.2f}" in written
    bold = {text.get_text() for text in axis.texts if text.get_fontweight() == "bold"}
    assert f"{np.mean(np.array(RANKS['ours']) <= 1):.2f}" in bold
    assert f"{np.mean(np.array(RANKS['random']) <= 10):.2f}" not in bold
    assert axis.get_title().startswith("8 groups")


def test_chosen_metrics_and_stratum(result):
    axes = evaluation(result, metrics=["reciprocal_rank"], stratum="not trivial", show=False)
    assert curve(axes[0], "ours")[1] == 0.5
    assert "reciprocal\nrank" in texts(axes[1])
    assert "AUROC" not in texts(axes[1])
    assert axes[1].get_title().startswith("6 groups (not trivial)")


def test_models_and_rivals_differ_in_more_than_colour(result):
    axis = evaluation(result, show=False)[0]
    styles = {line.get_label(): line.get_linestyle() for line in axis.lines}
    assert styles["ours"] == "-"
    assert styles["wilcoxon"] != "-"
    assert len(axis.collections) == 1


def test_several_targets_and_missing_ones(result):
    per_group = result.per_group.assign(n_targets=2)
    chosen = per_group["method"] == "ours"
    metrics = rank_metrics(np.array([]), N_GENES, n_missing=2)
    per_group.loc[chosen & (per_group["pair"] == 0), ["normalised_rank", "n_missing"]] = [
        metrics["normalised_rank"],
        2,
    ]
    axes = evaluation(EvaluationResult(per_group, result.summary, result.settings), show=False)
    assert axes[0].get_ylabel() == "groups with a target among the best k"
    assert curve(axes[0], "ours")[1] == np.mean(np.array(RANKS["ours"]) <= 1) - 1 / 8


def test_from_a_folder(result, tmp_path):
    result.write(tmp_path)
    axes = evaluation(tmp_path, show=False)
    assert curve(axes[0], "ours") == curve(evaluation(result, show=False)[0], "ours")
    assert texts(axes[1]) == texts(evaluation(str(tmp_path), show=False)[1])


def test_given_axes_and_figsize(result, plt):
    given = plt.subplots(1, 2)[1]
    assert evaluation(result, ax=given) == list(given)
    axes = evaluation(result, figsize=(9, 3), show=False)
    assert tuple(axes[0].get_figure().get_size_inches()) == (9, 3)


def test_picture(result, fixed_axes, same_picture):
    axes = fixed_axes((0.08, 0.12, 0.38, 0.8), (0.52, 0.12, 0.45, 0.8), size=(6, 2.6))
    evaluation(result, ax=axes)
    same_picture(axes[0].figure, "evaluation")


def test_bad_input(result, tmp_path, plt):
    with pytest.raises(InputError, match="result is a DataFrame"):
        evaluation(result.per_group, show=False)
    with pytest.raises(MissingNameError, match=r"no file .*per_group\.csv"):
        evaluation(tmp_path, show=False)
    with pytest.raises(MissingNameError, match="Did you mean 'auroc'"):
        evaluation(result, metrics=["AUROC"], show=False)
    with pytest.raises(InputError, match="metrics is empty"):
        evaluation(result, metrics=[], show=False)
    with pytest.raises(MissingNameError, match="stratum 'hard'"):
        evaluation(result, stratum="hard", show=False)
    with pytest.raises(InputError, match="1 axes for two panels"):
        evaluation(result, ax=plt.figure().add_subplot(), show=False)


def test_groups_of_one_network_have_no_intervals(result):
    per_group = result.per_group.assign(network="a")
    one = EvaluationResult(per_group, summarise(per_group, "method", n_bootstrap=100), result.settings)
    curves, table = evaluation(one, show=False)
    assert not any("[" in text for text in texts(table))
    with_intervals = texts(evaluation(result, show=False)[1])
    assert [text for text in texts(table) if text] == [text for text in with_intervals if "[" not in text]
    (band,) = curves.collections
    assert not band.get_paths()
