"""Predicted targets as a table."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

import cdn_sc
from cdn_sc.get import predicted_targets_df
from cdn_sc.tl import to_rank_genes_groups


@pytest.fixture
def adata():
    table = pd.DataFrame(
        {
            "group": pd.Categorical(["a", "a", "a", "b", "b"]),
            "gene": pd.Categorical(["x", "z", "y", "z", "x"]),
            "rank": np.array([1, 2, 3, 1, 2], np.int32),
            "score": np.array([0.9, 0.5, 0.1, 0.4, 0.2], np.float32),
            "logfoldchange": np.array([-1, 0, 0.5, 2, 0], np.float32),
        }
    )
    skipped = pd.DataFrame({"group": ["c"], "reason": ["3 cells, min_cells=10"]})
    result = {"params": {}, "table": table, "skipped": skipped}
    return ad.AnnData(np.zeros((2, 3), np.float32), uns={"cdn_targets": result})


def test_results_of_version_1_of_the_model(adata):
    """They say which choice of genes each group had, and each group has genes of its own."""
    adata.uns["cdn_targets"]["params"] = {
        "groupby": "perturbation", "control": "control", "groups": "all", "model": "gene-transformer",
        "model_version": "1.2", "model_sha256": "", "kind": "", "layer": "", "use_raw": False, "mask_var": "",
        "n_genes": 1000, "genes": "per_group", "n_subsets": -1, "estimator": "", "test": "",
        "correlations": "screen", "precision": "float32", "min_cells": 10, "seed": 0, "version": "0.1.0",
    }  # fmt: skip
    table = adata.uns["cdn_targets"]["table"]
    assert list(predicted_targets_df(adata, "b")["gene"]) == ["z", "x"]
    assert len(predicted_targets_df(adata)) == len(table) == 5
    to_rank_genes_groups(adata, ["a"])
    assert adata.uns["rank_genes_groups"]["params"]["groupby"] == "perturbation"
    axis = cdn_sc.pl.predicted_targets(adata, "a", show=False)
    assert [label.get_text() for label in axis.get_yticklabels()]
    cdn_sc.pl.target_heatmap(adata, n_genes=2, show=False)
    plt.close("all")


def test_one_group_has_no_group_column(adata):
    table = predicted_targets_df(adata, "b")
    assert list(table.columns) == ["gene", "rank", "score", "logfoldchange"]
    assert list(table["gene"]) == ["z", "x"]
    assert list(table["gene"].cat.categories) == ["x", "z"]
    assert list(table.index) == [0, 1]


def test_all_groups(adata):
    pd.testing.assert_frame_equal(predicted_targets_df(adata), adata.uns["cdn_targets"]["table"])


def test_groups_come_in_the_order_asked_for(adata):
    table = predicted_targets_df(adata, ["b", "a"])
    assert list(table["group"]) == ["b", "b", "a", "a", "a"]
    assert list(table["rank"]) == [1, 2, 1, 2, 3]
    assert list(predicted_targets_df(adata, ["b"])["group"]) == ["b", "b"]


def test_best_genes_and_least_score(adata):
    assert list(predicted_targets_df(adata, n_genes=1)["gene"]) == ["x", "z"]
    assert list(predicted_targets_df(adata, min_score=0.4)["gene"]) == ["x", "z", "z"]
    assert list(predicted_targets_df(adata, "a", n_genes=2, min_score=0.6)["gene"]) == ["x"]


def test_the_result_is_not_shared(adata):
    table = predicted_targets_df(adata)
    table["score"] = 0
    assert adata.uns["cdn_targets"]["table"]["score"].iloc[0] > 0


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"group": "A"}, KeyError, r"no group 'A'\. Did you mean 'a'\?"),
        ({"group": ["a", "c"]}, KeyError, r"'c' was not scored: 3 cells, min_cells=10\."),
        ({"group": []}, ValueError, "empty list"),
        ({"key": "cdn"}, KeyError, r"under 'cdn'\. Results are under 'cdn_targets': pass key="),
        ({"group": [["a"]]}, ValueError, r"group holds \['a'\], a list"),
        ({"n_genes": 0}, ValueError, "n_genes"),
        ({"n_genes": "3"}, ValueError, "n_genes is a whole number of at least 1, not '3'"),
        ({"n_genes": 1.5}, ValueError, "n_genes"),
        ({"n_genes": True}, ValueError, "n_genes"),
        ({"min_score": "0.5"}, ValueError, "min_score is a number"),
    ],
)
def test_bad_input(adata, options, error, match):
    with pytest.raises(error, match=match):
        predicted_targets_df(adata, **options)


def test_before_there_is_a_result(adata):
    adata.uns.clear()
    with pytest.raises(KeyError, match=r"Run cdn_sc.tl.predict_targets"):
        predicted_targets_df(adata)
