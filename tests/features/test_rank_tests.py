"""Rank statistics against scipy."""

import numpy as np
import pytest
from scipy import stats

from cdn_sc.features._rank_tests import rank_tests, sort_genes, tie_sums


def arms(case, n_control=37, n_perturbed=21, n_genes=5, seed=0):
    rng = np.random.default_rng(seed)
    control, perturbed = rng.normal(0, 1, (n_control, n_genes)), rng.normal(0.4, 1.3, (n_perturbed, n_genes))
    if case == "ties":
        control, perturbed = np.round(np.maximum(control, 0)), np.round(np.maximum(perturbed, 0))
    elif case == "mostly ties":
        control[1:30], perturbed[2:] = 0.0, 0.0
    elif case == "ties, negative values":
        control, perturbed = np.round(control) - 2, np.round(perturbed) - 2
    elif case == "some of both beyond the other":
        control[:5], perturbed[:5] = control[:5] - 50, perturbed[:5] + 50
        control[5:9] += 100
    return control.astype(np.float32), perturbed.astype(np.float32)


CASES = ("no ties", "ties", "mostly ties", "ties, negative values", "some of both beyond the other")
SIZES = ((37, 21), (21, 37), (300, 4), (2, 90))


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("case", CASES)
def test_equal_scipy(case, sizes):
    control, perturbed = arms(case, *sizes)
    wilcoxon, rise, fall = rank_tests(sort_genes(control), sort_genes(perturbed))
    for gene in range(control.shape[1]):
        x, y = control[:, gene], perturbed[:, gene]
        test = stats.mannwhitneyu(y, x, use_continuity=False, method="asymptotic")
        sign = np.sign(test.statistic - x.size * y.size / 2)
        assert wilcoxon[gene] == pytest.approx(sign * stats.norm.isf(test.pvalue / 2), rel=1e-5, abs=1e-6)
        # values rose where the perturbed distribution function lies below
        assert rise[gene] == pytest.approx(stats.ks_2samp(x, y, alternative="greater").statistic, abs=1e-6)
        assert fall[gene] == pytest.approx(stats.ks_2samp(x, y, alternative="less").statistic, abs=1e-6)
    assert (wilcoxon != 0).any()


@pytest.mark.parametrize("case", CASES)
def test_ties_of_the_control_cells_may_be_given(case):
    control, perturbed = map(sort_genes, arms(case))
    ties = tie_sums(control)
    counts = [np.unique(row, return_counts=True)[1].astype(float) for row in control]
    np.testing.assert_array_equal(ties, [np.sum(t**3 - t) for t in counts])
    for one, other in zip(rank_tests(control, perturbed, ties), rank_tests(control, perturbed), strict=True):
        np.testing.assert_array_equal(one, other)


def test_many_cells_do_not_overflow():
    """The cubes of runs of ties are beyond whole numbers of 32 bits, and beyond single precision."""
    control, perturbed = np.zeros((60000, 1), dtype=np.float32), np.zeros((3000, 1), dtype=np.float32)
    control[:500], perturbed[:80] = 1, 1
    z, rise, fall = rank_tests(sort_genes(control), sort_genes(perturbed))
    test = stats.mannwhitneyu(perturbed[:, 0], control[:, 0], use_continuity=False, method="asymptotic")
    assert z[0] == pytest.approx(stats.norm.isf(test.pvalue / 2), rel=1e-4)
    assert (rise[0], fall[0]) == (pytest.approx(80 / 3000 - 500 / 60000), 0)


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
