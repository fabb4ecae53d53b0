"""The gene's own tests in the result table, against scipy and scanpy."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from scipy import stats

from cdn_sc import _gene_tests
from cdn_sc._gene_tests import gene_tests, sort_arm
from cdn_sc.features import group_statistics, summarize_control


def arms(n_control=90, n_perturbed=60, n_genes=6, seed=0):
    """Many zeros, hence many ties; a rise, a fall and a change of spread among them."""
    rng = np.random.default_rng(seed)
    control, perturbed = (np.log1p(rng.poisson(1.0, (n, n_genes))) for n in (n_control, n_perturbed))
    perturbed[:, 0] += 0.5
    perturbed[:, 1] = 0
    perturbed[:, 2] *= 3
    return control.astype(np.float32), perturbed.astype(np.float32)


def from_arms(control, perturbed):
    return gene_tests(sort_arm(control), perturbed)


def from_summary(control, perturbed):
    """With the control cells as the gene transformer has them."""
    return gene_tests(summarize_control(control), perturbed)


def from_statistics(control, perturbed):
    """From what the gene transformer has of both."""
    summary = summarize_control(control)
    return _gene_tests.tests_from_statistics(summary, group_statistics(summary, perturbed))


ROADS = pytest.mark.parametrize("tests", [from_arms, from_summary, from_statistics])


@ROADS
def test_equal_scipy(tests):
    control, perturbed = arms()
    found = tests(control, perturbed)
    assert list(found) == ["t_statistic", "wilcoxon_statistic"]
    assert {values.dtype for values in found.values()} == {np.dtype("float32")}
    wide = perturbed.astype(np.float64), control.astype(np.float64)
    expected = stats.ttest_ind(*wide, equal_var=False).statistic
    np.testing.assert_allclose(found["t_statistic"], expected, rtol=1e-5)
    test = stats.mannwhitneyu(*wide, use_continuity=False, method="asymptotic")
    sign = np.sign(test.statistic - len(control) * len(perturbed) / 2)
    z = sign * stats.norm.isf(test.pvalue / 2)
    np.testing.assert_allclose(found["wilcoxon_statistic"], z, rtol=1e-5)
    assert found["t_statistic"][0] > 3
    assert found["wilcoxon_statistic"][1] < -3


def test_equal_scanpy():
    control, perturbed = arms()
    adata = ad.AnnData(
        np.concatenate([control, perturbed]),
        obs=pd.DataFrame(
            {"arm": pd.Categorical(["control"] * len(control) + ["drug"] * len(perturbed))},
            index=[f"cell{i}" for i in range(len(control) + len(perturbed))],
        ),
        var=pd.DataFrame(index=[f"gene{i}" for i in range(control.shape[1])]),
    )
    found = gene_tests(sort_arm(control), perturbed)
    for method, column in {"t-test": "t_statistic", "wilcoxon": "wilcoxon_statistic"}.items():
        options = {"tie_correct": True} if method == "wilcoxon" else {}
        sc.tl.rank_genes_groups(adata, "arm", reference="control", method=method, **options)
        theirs = sc.get.rank_genes_groups_df(adata, "drug").set_index("names").loc[adata.var_names, "scores"]
        np.testing.assert_allclose(found[column], theirs, rtol=1e-4)


@ROADS
def test_all_cells_count(tests):
    """The features of the gene transformer stop at 2000 and 500 cells; these do not."""
    control, perturbed = arms(5000, 1500, 3)
    found = tests(control, perturbed)
    wide = perturbed.astype(np.float64), control.astype(np.float64)
    expected = stats.ttest_ind(*wide, equal_var=False).statistic
    np.testing.assert_allclose(found["t_statistic"], expected, rtol=1e-4)


@ROADS
def test_constant_genes_have_0(tests):
    control, perturbed = arms()
    control[:, [0, 2]] = 0.7
    perturbed[:, 0] = 0.7
    found = tests(control, perturbed)
    assert found["t_statistic"][0] == found["wilcoxon_statistic"][0] == 0
    # constant in one arm alone is a change like any other
    assert min(abs(values[2]) for values in found.values()) > 1


def test_swapped_arms_change_the_sign():
    control, perturbed = arms()
    there, back = gene_tests(sort_arm(control), perturbed), gene_tests(sort_arm(perturbed), control)
    for name, values in there.items():
        np.testing.assert_allclose(values, -back[name], rtol=1e-6)
        assert (values != 0).all()
