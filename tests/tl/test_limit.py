"""The genes that a limit leaves do not depend on columns, rounding or the kind of matrix."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from cdn_sc import tl
from cdn_sc.tl._candidates import Panel, arm_statistics, candidate_genes


def _tied() -> ad.AnnData:
    rng = np.random.default_rng(2)
    values = 0.7 * (rng.random((140, 120)) < 0.3)
    obs = pd.DataFrame({"label": np.repeat(["control", "a", "b"], [60, 40, 40])})
    obs.index = [f"cell_{i}" for i in range(140)]
    return ad.AnnData(
        values.astype(np.float32), obs=obs, var=pd.DataFrame(index=[f"g{i}" for i in range(120)])
    )


@pytest.mark.parametrize("model", ["default", "cdn-scm"])
@pytest.mark.parametrize("change", ["genes", "cells", "csr"])
def test_many_equal_t_statistics(model: str, change: str) -> None:
    adata = _tied()
    options = {"model": model, "n_genes": 40, "n_subsets": 10} if model != "default" else {"n_genes": 40}
    expected = tl.predict_targets(adata, "label", "control", copy=True, progress=False, **options)
    rng = np.random.default_rng(3)
    other = adata.copy()
    if change == "genes":
        other = adata[:, rng.permutation(adata.n_vars)].copy()
    elif change == "cells":
        other = adata[rng.permutation(adata.n_obs)].copy()
    else:
        other.X = sparse.csr_matrix(adata.X)
    found = tl.predict_targets(other, "label", "control", copy=True, progress=False, **options)
    tables = [
        result.uns["cdn_targets"]["table"].astype({"group": str, "gene": str}).set_index(["group", "gene"])
        for result in (expected, found)
    ]
    assert set(tables[0].index) == set(tables[1].index)
    np.testing.assert_allclose(tables[1]["score"].loc[tables[0].index], tables[0]["score"], atol=2e-5)


def test_of_equal_strengths_the_names_decide() -> None:
    values = np.zeros((10, 4), dtype=np.float32)
    values[::2] = 1.0
    control, group = arm_statistics(values), arm_statistics(values + 1.0)
    places = np.array([2, 0, 3, 1])
    chosen = candidate_genes(control, group, n_genes=2, mask=None, places=places)
    np.testing.assert_array_equal(chosen, [1, 3])
    panel = Panel(control, 0.01, places)
    panel.add(group)
    np.testing.assert_array_equal(panel.choose(n_genes=2, mask=None), [1, 3])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sparse_variances_far_from_zero(dtype: type) -> None:
    values = np.random.default_rng(0).normal(1e4, 1.0, (50, 3)).astype(dtype)
    dense, csr = arm_statistics(values), arm_statistics(sparse.csr_matrix(values))
    np.testing.assert_allclose(csr.variance, dense.variance, rtol=1e-5)


def test_names_of_several_types() -> None:
    adata = _tied()
    adata.obs.index = pd.Index([i if i % 2 else str(i) for i in range(adata.n_obs)], dtype=object)
    adata.var.index = pd.Index([*range(60), *map(str, range(60, 120))], dtype=object)
    expected = tl.predict_targets(_tied(), "label", "control", copy=True, progress=False)
    tl.predict_targets(adata, "label", "control", progress=False)
    assert len(adata.uns["cdn_targets"]["table"]) == len(expected.uns["cdn_targets"]["table"])
