"""The same cells and genes in another order, or beside other groups, give the same scores."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import cdn_sc
from cdn_sc.tl import _control_cells
from cdn_sc.tl._randomness import draw_by_name

N_GENES, N_CONTROL, N_PERTURBED = 14, 40, (20, 12, 3)


@pytest.fixture
def screen():
    """Tiny arms, genes that are silent in one arm or both, twins, ties and an extreme gene."""
    rng = np.random.default_rng(4)
    n_cells = N_CONTROL + sum(N_PERTURBED)
    values = np.log1p(rng.poisson(rng.gamma(2, 0.5, N_GENES), (n_cells, N_GENES))).astype(np.float32)
    labels = np.repeat(["control", "A", "B", "C"], [N_CONTROL, *N_PERTURBED])
    values[labels == "control", :2] = 0
    values[labels == "A", 2] = 0
    values[:, 3] = 0.5
    values[:, 5] = values[:, 4]
    values[:, 6] *= 9
    order = rng.permutation(n_cells)
    return ad.AnnData(
        sparse.csr_matrix(values[order]),
        obs=pd.DataFrame({"p": labels[order]}, index=[f"cell {i}" for i in rng.permutation(n_cells)]),
        var=pd.DataFrame(index=[f"G{i}" for i in rng.permutation(N_GENES)]),
    )


def scores(adata, model, **options):
    subsets = {} if model == "default" else {"n_subsets": 4}
    options = {"min_cells": 3, "progress": False, "device": "cpu"} | subsets | options
    cdn_sc.tl.predict_targets(adata, "p", "control", model=model, **options)
    table = adata.uns["cdn_targets"]["table"]
    return table.astype({"group": str, "gene": str}).set_index(["group", "gene"])["score"].sort_index()


MODELS = ["default", "cdn-scm", "cdn-scm-difference"]


@pytest.mark.parametrize("model", MODELS)
def test_genes_and_cells_in_another_order(screen, model):
    rng = np.random.default_rng(1)
    before = scores(screen, model)
    for genes, cells in (
        (rng.permutation(screen.n_vars), np.arange(screen.n_obs)),
        (np.arange(screen.n_vars), rng.permutation(screen.n_obs)),
        (rng.permutation(screen.n_vars), rng.permutation(screen.n_obs)),
    ):
        after = scores(screen[cells][:, genes].copy(), model)
        pd.testing.assert_series_equal(after, before, rtol=0, atol=1e-5)


@pytest.mark.parametrize("model", MODELS)
def test_other_containers_groups_and_threads(screen, model):
    before = scores(screen, model)
    dense = screen.copy()
    dense.X = dense.X.toarray()
    pd.testing.assert_series_equal(scores(dense, model), before, rtol=0, atol=1e-5)
    columns = screen.copy()
    columns.X = columns.X.tocsc()
    pd.testing.assert_series_equal(scores(columns, model, n_jobs=2), before, rtol=0, atol=1e-5)
    some = scores(screen, model, groups=["C", "A"])
    pd.testing.assert_series_equal(some, before.loc[["A", "C"]], rtol=0, atol=1e-5)


@pytest.mark.parametrize("model", ["default", "cdn-scm"])
def test_the_same_call_gives_the_same(screen, model):
    screen.X = sparse.csr_matrix(screen.X.toarray() * (screen.obs["p"] != "control").to_numpy()[:, None])
    before = scores(screen, model)  # all genes silent in the control cells: nothing is related to anything
    for _ in range(2):
        pd.testing.assert_series_equal(scores(screen, model), before, check_exact=True)


def test_cells_that_are_drawn_do_not_depend_on_their_places(screen, monkeypatch):
    monkeypatch.setattr(_control_cells, "MOST_CONTROL_CELLS", 25)
    before = scores(screen, "default")
    order = np.random.default_rng(2).permutation(screen.n_obs)
    pd.testing.assert_series_equal(scores(screen[order].copy(), "default"), before, rtol=0, atol=1e-5)
    assert not np.allclose(scores(screen, "default", rng=1), before, atol=1e-5)


def test_draw_by_name():
    names = pd.Index([f"cell {i}" for i in range(200)])
    drawn = draw_by_name(names, 50, 0, "control")
    assert len(drawn) == len(set(drawn)) == 50
    assert (np.diff(drawn) > 0).all()
    order = np.random.default_rng(0).permutation(200)
    assert set(names[order][draw_by_name(names[order], 50, 0, "control")]) == set(names[drawn])
    for other in (draw_by_name(names, 50, 1, "control"), draw_by_name(names, 50, 0, "screen")):
        assert len(np.intersect1d(other, drawn)) < 30
    np.testing.assert_array_equal(draw_by_name(names, 200, 0, "control"), np.arange(200))
