"""Statistics of the control arm against their definitions."""

import numpy as np
import pytest
import torch
from arms import correlated_values
from scipy import stats

from cdn_sc._contrasts import within_conditions
from cdn_sc.features import _relations, control
from cdn_sc.features._rank_tests import tie_sums
from cdn_sc.features.control import moments, shrunken_precision, standardise, summarize_control


def correlation_of(values):
    """Pearson correlations, float64; genes that do not vary correlate with nothing."""
    varies = np.ptp(values, axis=0) > 0
    correlation = np.eye(values.shape[1])
    correlation[np.ix_(varies, varies)] = np.corrcoef(values[:, varies].astype(float), rowvar=False)
    return correlation


def precision_of(correlation, *arguments):
    """Inverse, regressions (the residual of gene j in column j) and residual variances, as arrays."""
    found = shrunken_precision(torch.from_numpy(np.asarray(correlation, dtype=np.float32)), *arguments)
    matrix = found.matrix.numpy()
    np.testing.assert_array_equal(found.diagonal, np.diag(matrix))
    return matrix, matrix / np.diag(matrix), found.residual_variance.numpy()


@pytest.fixture
def values():
    return correlated_values(np.random.default_rng(1), 300, 7)


def test_moments(values):
    found = moments(values)
    double = values.astype(np.float64)
    np.testing.assert_allclose(found.mean, double.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(found.variance, double.var(axis=0, ddof=1), rtol=1e-5)
    np.testing.assert_allclose(found.excess_kurtosis, stats.kurtosis(double), rtol=1e-4)
    np.testing.assert_allclose(found.detection, (values > 0).mean(axis=0))
    assert (found.detection < 1).all()


def test_constant_gene_has_exactly_no_variance():
    values = np.full((1000, 1), 0.1, dtype=np.float32)  # 0.1 is no float32: its mean is a little off
    found = moments(values)
    assert (found.variance[0], found.excess_kurtosis[0]) == (0, 0)
    np.testing.assert_array_equal(standardise(values, found.mean, found.variance), 0)


def test_correlation(values):
    values[:, 3] = 2.0
    found = summarize_control(values).correlation.numpy()
    np.testing.assert_allclose(found, correlation_of(values), atol=1e-5)
    np.testing.assert_array_equal(found[3], np.arange(7) == 3)
    np.testing.assert_array_equal(np.diag(found), 1)


@pytest.mark.parametrize(("n_cells", "expected"), [(7000, 0.1002), (14, 0.2), (7, 0.3), (2, 0.3)])
def test_shrinkage_grows_with_genes_per_cell(values, n_cells, expected):
    correlation = correlation_of(values)
    matrix, _, _ = precision_of(correlation, n_cells, 0.1)
    direct = np.linalg.inv((1 - expected) * correlation + expected * np.eye(7))
    np.testing.assert_allclose(matrix, direct, atol=1e-5)


def degrees_of_freedom(correlation, gene, shrinkage):
    """Trace of the matrix that takes a gene's values to those that ridge regression on all others fits."""
    others = [other for other in range(len(correlation)) if other != gene]
    within = (1 - shrinkage) * correlation[np.ix_(others, others)].astype(float)
    return np.trace(np.linalg.solve(within + shrinkage * np.eye(len(others)), within))


@pytest.mark.parametrize("silent", [False, True])
def test_residual_variance_is_that_of_cells_not_seen(values, silent):
    if silent:
        values[:, 5] = 0
    found = moments(values)
    standardised = standardise(values, found.mean, found.variance)
    correlation = correlation_of(values)
    _, regression, variance = precision_of(correlation, len(values), 0.1)
    left = (standardised @ regression).var(axis=0, ddof=1)
    shrinkage = 0.1 + 0.2 * 7 / 300
    varies = found.variance > 0
    for gene in np.flatnonzero(varies):
        of_varying = correlation[np.ix_(varies, varies)]
        degrees = degrees_of_freedom(of_varying, varies[:gene].sum(), shrinkage)
        expected = left[gene] / (1 - degrees / 300) ** 2
        assert variance[gene] == pytest.approx(expected, rel=1e-4)
    # the chain explains part of every gene
    assert (variance[varies] < 0.98).all()


def test_residual_variance_in_fresh_cells():
    rng = np.random.default_rng(0)
    z = rng.standard_normal((4100, 60)).astype(np.float32)
    z[:, 1:] += 0.8 * z[:, :-1]
    seen, fresh = z[:100], z[100:]
    mean, variance, *_ = moments(seen)
    _, regression, expected = precision_of(correlation_of(seen), 100, 0.02)
    found = (standardise(fresh, mean, variance) @ regression).var(axis=0)
    assert np.log(found / expected).mean() == pytest.approx(0, abs=0.07)
    in_sample = (standardise(seen, mean, variance) @ regression).var(axis=0)
    assert np.log(found / in_sample).mean() > 0.4  # what it would be without the correction


def test_summary_holds_a_precision_for_each_shrinkage(values):
    """Of the correlations of all cells, those of other conditions among them."""
    contrasts = within_conditions([np.random.default_rng(2).standard_normal((60, 7)).astype(np.float32)])
    summary = summarize_control(values, contrasts)
    correlation = summary.correlation.numpy().astype(float)
    for precision, shrinkage in zip(summary.precisions, (0.02, 0.15), strict=True):
        s = shrinkage + 0.2 * 7 / 359
        matrix = np.linalg.inv((1 - s) * correlation + s * np.eye(7))
        np.testing.assert_allclose(precision.matrix, matrix, rtol=1e-4, atol=1e-5)
        for gene in range(7):
            column = matrix[:, gene] / matrix[gene, gene]
            degrees = degrees_of_freedom(correlation, gene, s)
            expected = column @ correlation @ column / (1 - degrees / 359) ** 2
            assert precision.residual_variance[gene] == pytest.approx(expected, rel=1e-4)


@pytest.fixture
def inverted(monkeypatch):
    """For each inverse whether it came from the cells or from the correlations."""
    roads = []
    for name in ("_inverse", "_inverse_from_cells"):
        road = getattr(control, name)
        monkeypatch.setattr(control, name, lambda *x, f=road, n=name: roads.append(n) or f(*x))
    return roads


@pytest.mark.parametrize("sizes", [(), (4,), (4, 3), (4, 15), (15, 4)])
def test_precision_from_few_cells_is_the_same(inverted, sizes):
    """Through a product of cells x cells where twice the cells are fewer than the genes, others' included."""
    rng = np.random.default_rng(3)
    values = correlated_values(rng, 12, 40)
    values[:, 7] = 1.0
    parts = [within_conditions([correlated_values(rng, size + 1, 40)]) for size in sizes]
    summary = summarize_control(values, iter(parts))
    n_cells = 12 + sum(sizes)
    assert summary.n_relation_cells == n_cells
    assert inverted == 2 * ["_inverse_from_cells" if 2 * n_cells < 40 else "_inverse"]
    for precision, shrinkage in zip(summary.precisions, (0.02, 0.15), strict=True):
        expected = shrunken_precision(summary.correlation, n_cells, shrinkage)
        np.testing.assert_allclose(precision.matrix, expected.matrix, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(precision.residual_variance, expected.residual_variance, rtol=1e-3)


def test_residuals_are_those_of_ridge_regression(values):
    """Column j of the inverse, over its diagonal, solves the ridge problem of gene j on the others."""
    correlation = correlation_of(values)
    _, regression, _ = precision_of(correlation, 10**9, 0.1)
    others = [0, 1, 3, 4, 5, 6]
    penalised = 0.9 * correlation[np.ix_(others, others)] + 0.1 * np.eye(6)
    slopes = np.linalg.solve(penalised, 0.9 * correlation[others, 2])
    np.testing.assert_allclose(regression[others, 2], -slopes, atol=1e-5)


def test_partial_correlation_of_three_genes():
    r = torch.tensor([[1, 0.6, 0.5], [0.6, 1, 0.4], [0.5, 0.4, 1]])
    precision = shrunken_precision(r, 10**12, 0.0)
    partial = precision.partial_rows(slice(0, 3))
    expected = (0.6 - 0.5 * 0.4) / np.sqrt((1 - 0.25) * (1 - 0.16))
    assert partial[0, 1] == pytest.approx(expected, abs=1e-6)
    np.testing.assert_allclose(partial, partial.T, atol=1e-6)
    np.testing.assert_array_equal(np.diag(partial), 0)
    np.testing.assert_array_equal(precision.partial_rows(slice(1, 3)), partial[1:])


def test_summary(values):
    summary = summarize_control(values)
    assert (summary.n_cells, summary.n_genes, summary.device.type) == (300, 7, "cpu")
    assert (np.diff(summary.sorted_values, axis=1) >= 0).all()
    np.testing.assert_array_equal(summary.ties, tie_sums(np.sort(values.T, axis=1)))
    # each gene follows the one before: those beside it are its strongest partial correlations
    partial = np.abs(summary.edges[3, :, 0].numpy())
    assert summary.neighbours[3].tolist() == [0, 1, 2, 4, 5, 6]
    assert sorted(summary.neighbours[3].numpy()[np.argsort(-partial)[:2]]) == [2, 4]


def test_edges_of_the_control_arm(values):
    """Partial correlation, correlation, and the slopes of either gene in the regression on all others."""
    summary = summarize_control(values)
    matrix = summary.precisions[1].matrix.numpy()
    for gene, near in enumerate(summary.neighbours.numpy()):
        for place, other in enumerate(near):
            d, e, both = matrix[gene, gene], matrix[other, other], matrix[gene, other]
            expected = [-both / np.sqrt(d * e), summary.correlation[gene, other], -both / d, -both / e]
            expected = expected if other >= 0 else 4 * [0]
            np.testing.assert_allclose(summary.edges[gene, place], expected, rtol=1e-5, atol=1e-6)


def arrays_of(summary):
    """All arrays and tensors of a summary, whatever they lie in."""
    found = [summary.correlation, summary.neighbours, summary.edges, summary.sparse, *summary.row_scales]
    found += [summary.correlation_strength, summary.partial_strength, summary.programmes.directions]
    for fit in (summary.quadratic, summary.linear):
        found += [fit.regressors, fit.coefficients, fit.mean, fit.variance]
    return [np.asarray(array) for array in found]


@pytest.mark.parametrize("most", [1, 40, 70])
def test_rows_in_blocks_are_those_of_the_whole(monkeypatch, most):
    """Matrices of small panels are one block; those of large ones must not differ for being several."""
    values = correlated_values(np.random.default_rng(5), 60, 20)
    whole = arrays_of(summarize_control(values))
    monkeypatch.setattr(_relations, "_VALUES_AT_ONCE", most)
    assert len(list(_relations.row_blocks(20))) == {1: 20, 40: 10, 70: 7}[most]
    for found, expected in zip(arrays_of(summarize_control(values)), whole, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_cells_of_other_conditions_sharpen_correlations_alone(values):
    rng = np.random.default_rng(2)
    groups = [correlated_values(rng, size, 7) + shift for size, shift in ((50, 3.0), (80, -1.0))]
    contrasts = within_conditions(groups)
    alone, sharper = summarize_control(values), summarize_control(values, contrasts)
    assert (sharper.n_cells, sharper.n_relation_cells) == (300, 428)
    assert (alone.n_cells, alone.n_relation_cells) == (300, 300)
    together = np.concatenate([part - part.mean(axis=0) for part in (values, *groups)])
    expected = together.T @ together
    expected /= np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
    np.testing.assert_allclose(sharper.correlation, expected, atol=1e-5)
    for name in ("sorted_values", "mean", "variance", "excess_kurtosis", "detection"):
        np.testing.assert_array_equal(getattr(sharper, name), getattr(alone, name))


def test_contrasts_may_come_in_parts(values):
    """One after another, each needed no longer than it is looked at."""
    contrasts = within_conditions([correlated_values(np.random.default_rng(2), 90, 7)])
    whole = summarize_control(values, contrasts)
    parts = summarize_control(values, (contrasts[start : start + 31] for start in range(0, 89, 31)))
    assert parts.n_relation_cells == whole.n_relation_cells
    np.testing.assert_allclose(parts.correlation, whole.correlation, atol=1e-6)


@pytest.mark.parametrize("nothing", [np.zeros((0, 7), dtype=np.float32), [], None])
def test_no_cells_of_other_conditions(values, nothing):
    found, expected = summarize_control(values, nothing), summarize_control(values)
    for one, other in zip(arrays_of(found), arrays_of(expected), strict=True):
        np.testing.assert_array_equal(one, other)


def test_deviations_of_other_genes(values):
    with pytest.raises(ValueError, match=r"contrasts have shape \(5, 6\); contrasts x 7 genes"):
        summarize_control(values, np.zeros((5, 6), dtype=np.float32))


@pytest.mark.parametrize("shape", [(1, 4), (0, 4), (5, 0), (4,), (2, 2, 2)])
def test_unusable_shapes(shape):
    with pytest.raises(ValueError, match="control values have shape"):
        summarize_control(np.zeros(shape, dtype=np.float32))
