"""Statistics of the control arm against their definitions."""

import numpy as np
import pytest
from arms import correlated_values
from scipy import stats

from cdn_sc._contrasts import within_conditions
from cdn_sc.features.control import (
    correlation_matrix,
    moments,
    shrunken_precision,
    standardise,
    summarize_control,
)


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
    found = moments(values)
    correlation = correlation_matrix(values, found.mean, found.variance)
    varying = [0, 1, 2, 4, 5, 6]
    expected = np.corrcoef(values[:, varying], rowvar=False)
    np.testing.assert_allclose(correlation[np.ix_(varying, varying)], expected, atol=1e-5)
    np.testing.assert_array_equal(correlation[3], np.arange(7) == 3)


@pytest.mark.parametrize(("n_cells", "expected"), [(7000, 0.1002), (14, 0.2), (7, 0.3), (2, 0.3)])
def test_shrinkage_grows_with_genes_per_cell(values, n_cells, expected):
    found = moments(values)
    correlation = correlation_matrix(values, found.mean, found.variance)
    precision = shrunken_precision(correlation, n_cells, 0.1)
    direct = np.linalg.inv((1 - expected) * correlation + expected * np.eye(7))
    np.testing.assert_allclose(precision.matrix, direct, atol=1e-5)
    np.testing.assert_allclose(precision.regression, direct / np.diag(direct), atol=1e-5)
    np.testing.assert_allclose(np.diag(precision.regression), 1, atol=1e-6)


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
    correlation = correlation_matrix(values, found.mean, found.variance)
    precision = shrunken_precision(correlation, len(values), 0.1)
    left = (standardised @ precision.regression).var(axis=0, ddof=1)
    shrinkage = 0.1 + 0.2 * 7 / 300
    varies = found.variance > 0
    for gene in np.flatnonzero(varies):
        of_varying = correlation[np.ix_(varies, varies)]
        degrees = degrees_of_freedom(of_varying, varies[:gene].sum(), shrinkage)
        expected = left[gene] / (1 - degrees / 300) ** 2
        assert precision.residual_variance[gene] == pytest.approx(expected, rel=1e-4)
    # the chain explains part of every gene
    assert (precision.residual_variance[varies] < 0.98).all()


def test_residual_variance_in_fresh_cells():
    rng = np.random.default_rng(0)
    z = rng.standard_normal((4100, 60)).astype(np.float32)
    z[:, 1:] += 0.8 * z[:, :-1]
    seen, fresh = z[:100], z[100:]
    mean, variance, *_ = moments(seen)
    precision = shrunken_precision(correlation_matrix(seen, mean, variance), 100, 0.02)
    scaled = standardise(fresh, mean, variance)
    found = (scaled @ precision.regression).var(axis=0)
    assert np.log(found / precision.residual_variance).mean() == pytest.approx(0, abs=0.07)
    in_sample = (standardise(seen, mean, variance) @ precision.regression).var(axis=0)
    assert np.log(found / in_sample).mean() > 0.4  # what it would be without the correction


def test_residual_variance_is_judged_by_control_cells_alone(values):
    rng = np.random.default_rng(2)
    contrasts = within_conditions([rng.standard_normal((60, 7)).astype(np.float32)])
    summary = summarize_control(values, contrasts)
    standardised = standardise(values, summary.mean, summary.variance)
    for precision, shrinkage in zip(summary.precisions, (0.02, 0.1, 0.35), strict=True):
        left = (standardised @ precision.regression).var(axis=0, ddof=1)
        s = shrinkage + 0.2 * 7 / 359
        for gene in range(7):
            degrees = degrees_of_freedom(summary.correlation, gene, s)
            expected = left[gene] / (1 - degrees / 359) ** 2
            assert precision.residual_variance[gene] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("constant", [False, True])
def test_precision_from_few_cells_is_the_same(constant):
    values = correlated_values(np.random.default_rng(3), 12, 40)
    if constant:
        values[:, 7] = 1.0
    mean, variance, *_ = moments(values)
    standardised = standardise(values, mean, variance)
    correlation = correlation_matrix(values, mean, variance)
    expected = shrunken_precision(correlation, 12, 0.35)
    found = shrunken_precision(correlation, 12, 0.35, standardised)
    np.testing.assert_allclose(found.matrix, expected.matrix, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.residual_variance, expected.residual_variance, rtol=1e-4)


def test_residuals_are_those_of_ridge_regression(values):
    """Column j of `regression` solves the ridge problem of gene j on the others."""
    found = moments(values)
    correlation = correlation_matrix(values, found.mean, found.variance).astype(float)
    precision = shrunken_precision(correlation, 10**9, 0.1)
    others = [0, 1, 3, 4, 5, 6]
    penalised = 0.9 * correlation[np.ix_(others, others)] + 0.1 * np.eye(6)
    slopes = np.linalg.solve(penalised, 0.9 * correlation[others, 2])
    np.testing.assert_allclose(precision.regression[others, 2], -slopes, atol=1e-5)


def test_partial_correlation_of_three_genes():
    r = np.array([[1, 0.6, 0.5], [0.6, 1, 0.4], [0.5, 0.4, 1]])
    partial = shrunken_precision(r, 10**12, 0.0).partial_correlation()
    expected = (0.6 - 0.5 * 0.4) / np.sqrt((1 - 0.25) * (1 - 0.16))
    assert partial[0, 1] == pytest.approx(expected, abs=1e-6)
    np.testing.assert_allclose(partial, partial.T, atol=1e-6)
    np.testing.assert_array_equal(np.diag(partial), 0)


def test_summary(values):
    summary = summarize_control(values)
    assert summary.n_cells == 300
    assert (np.diff(summary.sorted_values, axis=1) >= 0).all()
    np.testing.assert_array_equal(np.diag(summary.strength), 0)
    # neighbours in the chain come first
    assert summary.strength[3].argmax() in (2, 4)


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


def test_no_cells_of_other_conditions(values):
    np.testing.assert_array_equal(
        summarize_control(values, values[:0]).partial, summarize_control(values).partial
    )


def test_deviations_of_other_genes(values):
    with pytest.raises(ValueError, match=r"contrasts have shape \(5, 6\); contrasts x 7 genes"):
        summarize_control(values, np.zeros((5, 6), dtype=np.float32))


@pytest.mark.parametrize("shape", [(1, 4), (0, 4), (5, 0), (4,), (2, 2, 2)])
def test_unusable_shapes(shape):
    with pytest.raises(ValueError, match="control values have shape"):
        summarize_control(np.zeros(shape, dtype=np.float32))
