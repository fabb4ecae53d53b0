import logging

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from cdn_sc.metrics.ranking import METRICS, is_trivial, rank_metrics, score_ranks, target_metrics


def table(groups: dict[str, list[str]], logfoldchange=None) -> pd.DataFrame:
    """Result table whose genes are listed best first."""
    rows = [
        {"group": group, "gene": gene, "rank": rank, "score": 1 / rank, "logfoldchange": -1.0 * rank}
        for group, genes in groups.items()
        for rank, gene in enumerate(genes, start=1)
    ]
    frame = pd.DataFrame(rows)
    if logfoldchange is not None:
        frame["logfoldchange"] = logfoldchange
    return frame.astype({"group": "category", "gene": "category"})


def test_metrics_agree_with_scikit_learn():
    rng = np.random.default_rng(0)
    for _ in range(20):
        is_target = rng.permutation(np.arange(40) < rng.integers(1, 4))
        scores = rng.standard_normal(40)
        ranks = score_ranks(scores, np.arange(40))
        metrics = rank_metrics(ranks[is_target], 40)
        assert metrics["auroc"] == pytest.approx(roc_auc_score(is_target, scores))
        assert metrics["average_precision"] == pytest.approx(average_precision_score(is_target, scores))


def test_metrics_by_hand():
    metrics = rank_metrics(np.array([7, 2]), 201)
    assert list(metrics) == list(METRICS)
    assert metrics["normalised_rank"] == 1 - 1 / 200
    assert metrics["reciprocal_rank"] == 0.5
    assert metrics["recall_at_1"] == 0
    assert metrics["recall_at_5"] == 0.5
    assert metrics["recall_at_10"] == 1
    assert metrics["recall_at_top_1_percent"] == 0.5  # the first 3 of 201
    assert rank_metrics(np.array([3]), 201)["recall_at_top_1_percent"] == 1  # 2.01, rounded up
    assert rank_metrics(np.array([4]), 201)["recall_at_top_1_percent"] == 0
    assert metrics["average_precision"] == pytest.approx((1 / 2 + 2 / 7) / 2)
    assert metrics["auroc"] == pytest.approx(1 - (1 + 5) / (2 * 199))


def test_missing_targets_rank_last():
    all_missing = rank_metrics(np.array([]), 9, n_missing=1)
    assert all_missing["normalised_rank"] == 0
    assert all_missing["auroc"] == 0
    assert all_missing["reciprocal_rank"] == 0.1
    assert rank_metrics(np.array([]), 57, n_missing=2)["normalised_rank"] == 0
    half = rank_metrics(np.array([1]), 9, n_missing=1)
    assert half["normalised_rank"] == 1
    assert half["recall_at_5"] == 0.5
    assert half["auroc"] == 0.5


@st.composite
def rankings(draw):
    """Number of candidates, ranks of some targets among them, and a number of targets that are missing."""
    n_candidates = draw(st.integers(2, 60))
    ranks = draw(st.sets(st.integers(1, n_candidates), max_size=n_candidates - 1))
    return n_candidates, np.array(sorted(ranks)), draw(st.integers(0 if ranks else 1, 3))


PROPERTY = settings(deadline=None, derandomize=True, database=None)


@PROPERTY
@given(rankings())
def test_metrics_lie_between_0_and_1_and_are_1_for_the_best_ranking(ranking):
    n_candidates, ranks, n_missing = ranking
    metrics = rank_metrics(ranks, n_candidates, n_missing)
    assert all(0 <= value <= 1 for value in metrics.values())
    if not ranks.size:
        assert metrics["normalised_rank"] == metrics["recall_at_1"] == metrics["auroc"] == 0
        return
    best = rank_metrics(np.arange(1, ranks.size + 1), n_candidates)
    for name in ("normalised_rank", "reciprocal_rank", "auroc", "average_precision"):
        assert best[name] == 1


@PROPERTY
@given(rankings(), st.data())
def test_a_target_that_moves_up_makes_no_metric_worse(ranking, data):
    n_candidates, ranks, n_missing = ranking
    if not ranks.size or n_candidates == ranks.size:
        return
    moved = data.draw(st.sampled_from(ranks.tolist()))
    above = [rank for rank in range(1, moved) if rank not in ranks]
    if not above:
        return
    better = np.append(ranks[ranks != moved], data.draw(st.sampled_from(above)))
    before, after = (rank_metrics(r, n_candidates, n_missing) for r in (ranks, better))
    assert all(after[name] >= before[name] - 1e-12 for name in METRICS)


@PROPERTY
@given(st.lists(st.floats(), min_size=1, max_size=30), st.integers(0, 99))
def test_ranks_follow_the_scores(values, seed):
    scores = np.array(values)
    ranks = score_ranks(scores, np.random.default_rng(seed).permutation(scores.size))
    assert sorted(ranks) == list(range(1, scores.size + 1))
    ordered = np.nan_to_num(scores[np.argsort(ranks)], nan=-np.inf, posinf=np.inf, neginf=-np.inf)
    assert (ordered[:-1] >= ordered[1:]).all()


def test_degenerate_rankings():
    only_the_target = rank_metrics(np.array([1]), 1)
    assert np.isnan(only_the_target["normalised_rank"])
    assert np.isnan(only_the_target["auroc"])
    assert only_the_target["average_precision"] == 1
    with pytest.raises(ValueError, match="at least one target"):
        rank_metrics(np.array([]), 5)


def test_ties_follow_the_permutation_and_undefined_scores_rank_last():
    scores = np.array([1.0, np.nan, 3.0, 1.0, -np.inf])
    np.testing.assert_array_equal(score_ranks(scores, np.array([0, 1, 2, 3, 4])), [2, 4, 1, 3, 5])
    np.testing.assert_array_equal(score_ranks(scores, np.array([4, 3, 2, 1, 0])), [3, 5, 1, 2, 4])


def test_a_constant_score_is_worth_no_more_than_chance():
    rng = np.random.default_rng(0)
    ranks = [score_ranks(np.zeros(11), rng.permutation(11))[0] for _ in range(2000)]
    assert np.mean([rank_metrics(np.array([rank]), 11)["auroc"] for rank in ranks]) == pytest.approx(
        0.5, abs=0.02
    )


def test_trivial_means_the_largest_change():
    is_target = np.array([False, True, False])
    assert is_trivial(np.array([1.0, -2.0, 0.5]), is_target)
    assert not is_trivial(np.array([-3.0, -2.0, np.nan]), is_target)
    assert not is_trivial(np.zeros(3), is_target)


def test_table_is_scored_by_group():
    frame = table({"a": ["x", "y", "z"], "b": ["x", "y", "z"], "control-like": ["x", "y", "z"]})
    result = target_metrics(frame, {"a": "z", "b": ["y", "not measured", "y"], "control-like": ""})
    assert list(result["group"]) == ["a", "b"]
    a, b = result.to_dict("records")
    assert a["normalised_rank"] == 0
    assert a["trivial"]  # |log fold change| grows with the rank in this table
    assert (a["n_candidates"], a["n_targets"], a["n_missing"]) == (3, 1, 0)
    assert (b["n_candidates"], b["n_targets"], b["n_missing"]) == (3, 2, 1)
    assert b["reciprocal_rank"] == 0.5
    assert not b["trivial"]


@pytest.mark.parametrize("unknown", [None, np.nan, pd.NA, "", [], [None], ["", np.nan]])
def test_unknown_targets_are_left_out(unknown):
    frame = table({"a": ["x", "y"], "b": ["x", "y"]})
    assert list(target_metrics(frame, {"a": unknown, "b": "x"})["group"]) == ["b"]
    assert list(target_metrics(frame, pd.Series({"a": unknown, "b": "x"}, dtype=object))["group"]) == ["b"]


@pytest.mark.parametrize("wrong", [3, [1.5], [["x"]], {"a": 1}.items()])
def test_truth_that_names_no_genes(wrong):
    with pytest.raises(ValueError, match=r"truth of group 'a' holds .* names of genes are wanted"):
        target_metrics(table({"a": ["x", "y"]}), {"a": wrong})


def test_row_order_does_not_matter():
    frame = table({"a": list("uvwxyz"), "b": list("zyxwvu")})
    shuffled = frame.sample(frac=1, random_state=0)
    truth = {"a": "v", "b": ["z", "w"]}
    expected = target_metrics(frame, truth).set_index("group").sort_index()
    pd.testing.assert_frame_equal(target_metrics(shuffled, truth).set_index("group").sort_index(), expected)


def test_absent_groups_are_named(caplog):
    with caplog.at_level(logging.WARNING, logger="cdn_sc"):
        target_metrics(table({"a": ["x", "y"]}), {"a": "x", "elsewhere": "y"})
    assert "elsewhere" in caplog.text


def test_bad_tables_are_refused():
    frame = table({"a": ["x", "y"]})
    with pytest.raises(ValueError, match=r"lacks the columns \['rank'\]"):
        target_metrics(frame.drop(columns="rank"), {"a": "x"})
    with pytest.raises(ValueError, match="no group of the table"):
        target_metrics(frame, {"b": "x"})
    with pytest.raises(ValueError, match="truth is a list"):
        target_metrics(frame, ["x"])
    with pytest.raises(ValueError, match="a gene or a rank twice"):
        target_metrics(pd.concat([frame, frame]), {"a": "x"})
