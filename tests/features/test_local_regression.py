"""Local quadratic regressions against numpy's least squares."""

import numpy as np
import pytest

from cdn_sc.features.local_regression import (
    MAX_DEVIATION,
    MAX_FIT_CELLS,
    N_REGRESSORS,
    RIDGE,
    fit_local_regression,
)

MANY = 10**9  # cells behind the relations: none of them is chance


def standardised(n_cells, n_genes, seed=0):
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((n_cells, n_genes))
    z[:, 0] = z[:, 1] ** 2 - 0.5 * z[:, 2] + 0.3 * rng.standard_normal(n_cells)
    return ((z - z.mean(axis=0)) / z.std(axis=0)).astype(np.float32)


def design(values, regressors):
    z = np.clip(values[:, regressors].astype(float), -MAX_DEVIATION, MAX_DEVIATION)
    return np.hstack([np.ones((len(z), 1)), z, z**2 - 1])


@pytest.fixture
def strength():
    rng = np.random.default_rng(5)
    strength = rng.random((12, 12))
    return strength + strength.T


def test_equals_ridge_regression(strength):
    values = standardised(400, 12)
    fit = fit_local_regression(values, strength, MANY)
    for gene in range(12):
        off_diagonal = np.where(np.arange(12) == gene, -1, strength[gene])
        expected = np.sort(np.argsort(-off_diagonal)[:N_REGRESSORS])
        np.testing.assert_array_equal(fit.regressors[gene], expected)
        x, y = design(values, expected), values[:, gene].astype(float)
        penalty = np.full(x.shape[1], (RIDGE + 2 * x.shape[1] / 400) * 400)
        penalty[0] = 1e-6 * 400
        # ridge regression is least squares on data with one more row for each penalty
        rows = np.vstack([x, np.diag(np.sqrt(penalty))])
        coefficients = np.linalg.lstsq(rows, np.append(y, np.zeros(x.shape[1])), rcond=None)[0]
        np.testing.assert_allclose(fit.coefficients[gene], coefficients, atol=1e-4)
        residual = y - x @ coefficients
        assert fit.mean[gene] == pytest.approx(residual.mean(), abs=1e-4)
        hat = x @ np.linalg.solve(x.T @ x + np.diag(penalty), x.T)
        unseen = residual.var() / (1 - np.trace(hat) / 400) ** 2
        assert fit.variance[gene] == pytest.approx(unseen, rel=1e-3)


def test_chance_is_no_relation():
    """Of unrelated genes some fit a few cells by chance; in others they would not."""
    values = np.random.default_rng(1).standard_normal((4100, 100)).astype(np.float32)
    seen, fresh = values[:100], values[100:]
    strength = np.abs(np.corrcoef(seen, rowvar=False))
    fit = fit_local_regression(seen, strength, 100)
    assert (fit.regressors >= 0).sum() < 30
    _, variance = fit.residual_moments(fresh)
    assert np.log(variance / fit.variance).mean() == pytest.approx(0, abs=0.05)
    taken = fit_local_regression(seen, strength, MANY)
    _, variance = taken.residual_moments(fresh)
    assert np.log(variance / taken.variance).mean() > 0.2  # with all that fits by chance


def test_genes_without_relations_are_left_as_they_are():
    values = standardised(200, 12)
    fit = fit_local_regression(values, np.zeros((12, 12)), 200)
    assert (fit.regressors == -1).all()
    np.testing.assert_allclose(fit.coefficients, 0, atol=1e-6)
    np.testing.assert_allclose(fit.variance, 1, rtol=0.02)


def test_other_cells(strength):
    values, others = standardised(300, 12), 2 * standardised(50, 12, seed=1) + 0.5
    fit = fit_local_regression(values, strength, MANY)
    mean, variance = fit.residual_moments(others)
    for gene in range(12):
        residual = others[:, gene] - design(others, fit.regressors[gene]) @ fit.coefficients[gene]
        assert mean[gene] == pytest.approx(residual.mean(), abs=1e-4)
        assert variance[gene] == pytest.approx(residual.var(), rel=1e-3)


def test_finds_a_square():
    values = standardised(500, 9)
    fit = fit_local_regression(values, np.ones((9, 9)), MANY)
    assert fit.variance[0] < 0.25  # its linear correlation with the gene is next to none
    assert abs(np.corrcoef(values[:, 0], values[:, 1])[0, 1]) < 0.2


def test_strength_is_left_alone(strength):
    before = strength.copy()
    fit_local_regression(standardised(50, 12), strength, MANY)
    np.testing.assert_array_equal(strength, before)


def test_many_cells_are_thinned_by_their_sums_not_their_places():
    values = standardised(2 * MAX_FIT_CELLS, 3)
    fit = fit_local_regression(values, np.ones((3, 3)), MANY)
    order = np.random.default_rng(0).permutation(len(values))
    again = fit_local_regression(values[order], np.ones((3, 3)), MANY)
    np.testing.assert_allclose(again.coefficients, fit.coefficients, atol=1e-5)
    half = values[np.argsort(values.sum(axis=1, dtype=float))[::2]]
    expected = fit_local_regression(half, np.ones((3, 3)), MANY)
    np.testing.assert_allclose(fit.coefficients, expected.coefficients, atol=1e-5)


@pytest.mark.parametrize("n_genes", [1, 2, 3])
def test_few_genes(n_genes):
    fit = fit_local_regression(standardised(20, 5)[:, :n_genes], np.ones((n_genes, n_genes)), MANY)
    assert fit.regressors.shape == (n_genes, n_genes - 1)
    assert np.isfinite(fit.variance).all()
