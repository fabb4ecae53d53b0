"""Rank statistics against scipy."""

import numpy as np
import pytest
from scipy import stats

from cdn_sc.features._rank_tests import rank_tests, sort_genes


def arms(ties, n_control=37, n_perturbed=21, n_genes=5, seed=0):
    rng = np.random.default_rng(seed)
    control, perturbed = rng.normal(0, 1, (n_control, n_genes)), rng.normal(0.4, 1.3, (n_perturbed, n_genes))
    if ties:
        control, perturbed = np.round(np.maximum(control, 0)), np.round(np.maximum(perturbed, 0))
    return control.astype(np.float32), perturbed.astype(np.float32)


@pytest.mark.parametrize("ties", [False, True])
def test_equal_scipy(ties):
    control, perturbed = arms(ties)
    wilcoxon, rise, fall = rank_tests(sort_genes(control), sort_genes(perturbed))
    for gene in range(control.shape[1]):
        x, y = control[:, gene], perturbed[:, gene]
        test = stats.mannwhitneyu(y, x, use_continuity=False, method="asymptotic")
        sign = np.sign(test.statistic - x.size * y.size / 2)
        assert wilcoxon[gene] == pytest.approx(sign * stats.norm.isf(test.pvalue / 2), abs=1e-6)
        # values rose where the perturbed distribution function lies below
        assert rise[gene] == pytest.approx(stats.ks_2samp(x, y, alternative="greater").statistic, abs=1e-12)
        assert fall[gene] == pytest.approx(stats.ks_2samp(x, y, alternative="less").statistic, abs=1e-12)
    assert (wilcoxon != 0).all()


def test_all_tied():
    same = np.full((6, 1), 2.5, dtype=np.float32)
    assert [float(x[0]) for x in rank_tests(sort_genes(same), sort_genes(same[:4]))] == [0, 0, 0]


def test_disjoint_arms():
    low, high = np.zeros((6, 1), dtype=np.float32), np.ones((4, 1), dtype=np.float32)
    z, rise, fall = rank_tests(sort_genes(low), sort_genes(high))
    assert z[0] > 2
    assert (rise[0], fall[0]) == (1, 0)
    z_back, rise, fall = rank_tests(sort_genes(high), sort_genes(low))
    assert z_back[0] == pytest.approx(-z[0])
    assert (rise[0], fall[0]) == (0, 1)


def test_sort_genes_keeps_its_input():
    values = np.array([[3, 1], [1, 2], [2, 0]], dtype=np.float64)
    before = values.copy()
    np.testing.assert_array_equal(sort_genes(values), [[1, 2, 3], [0, 1, 2]])
    np.testing.assert_array_equal(values, before)
