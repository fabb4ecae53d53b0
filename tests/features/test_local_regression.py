"""Regressions on neighbours, with and without their squares, against numpy's least squares."""

import numpy as np
import pytest

from cdn_sc.features.local_regression import (
    MAX_DEVIATION,
    MAX_FIT_CELLS,
    RIDGE,
    fit_local_regression,
)

BOTH = pytest.mark.parametrize("squares", [True, False])


def standardised(n_cells, n_genes, seed=0):
    """Genes x cells; the first gene follows the square of the second, and the third."""
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((n_genes, n_cells))
    z[0] = z[1] ** 2 - 0.5 * z[2] + 0.3 * rng.standard_normal(n_cells)
    return ((z - z.mean(axis=1, keepdims=True)) / z.std(axis=1, keepdims=True)).astype(np.float32)


def design(by_gene, regressors, squares):
    z = np.clip(by_gene[regressors].T.astype(float), -MAX_DEVIATION, MAX_DEVIATION)
    return np.hstack([np.ones((len(z), 1)), z, z**2 - 1] if squares else [np.ones((len(z), 1)), z])


def others(n_genes):
    """For each gene all others."""
    return np.array([np.delete(np.arange(n_genes), gene) for gene in range(n_genes)])


def correlated_others(by_gene, number, beyond):
    """Indices of at most so many genes whose correlation exceeds a bound, -1 behind them."""
    strength = np.abs(np.corrcoef(by_gene)) - np.eye(len(by_gene))
    found = np.full((len(by_gene), number), -1)
    for gene, row in enumerate(strength):
        best = [other for other in np.argsort(-row)[:number] if row[other] > beyond]
        found[gene, : len(best)] = np.sort(best)
    return found


@pytest.fixture
def regressors():
    """Five of twelve genes each, at random; one gene with two, one with none."""
    rng = np.random.default_rng(5)
    found = np.array([np.sort(rng.choice(row, 5, replace=False)) for row in others(12)])
    found[3, 2:] = found[7] = -1
    return found


@BOTH
def test_equals_ridge_regression(regressors, squares):
    by_gene = standardised(400, 12)
    fit = fit_local_regression(by_gene, regressors, squares=squares)
    width = 1 + (1 + squares) * 5  # also of a gene that has fewer
    assert fit.coefficients.shape == (12, width)
    for gene, row in enumerate(regressors):
        near = row[row >= 0]
        x, y = design(by_gene, near, squares), by_gene[gene].astype(float)
        penalty = np.full(x.shape[1], (RIDGE + 2 * width / 400) * 400)
        penalty[0] = 1e-6 * 400
        # ridge regression is least squares on data with one more row for each penalty
        rows = np.vstack([x, np.diag(np.sqrt(penalty))])
        coefficients = np.linalg.lstsq(rows, np.append(y, np.zeros(x.shape[1])), rcond=None)[0]
        places = [0, *range(1, 1 + near.size), *(range(6, 6 + near.size) if squares else ())]
        np.testing.assert_allclose(fit.coefficients[gene, places], coefficients, atol=1e-4)
        np.testing.assert_array_equal(np.delete(fit.coefficients[gene], places), 0)
        residual = y - x @ coefficients
        assert fit.mean[gene] == pytest.approx(residual.mean(), abs=1e-4)
        hat = x @ np.linalg.solve(x.T @ x + np.diag(penalty), x.T)
        unseen = residual.var() / (1 - np.trace(hat) / 400) ** 2
        assert fit.variance[gene] == pytest.approx(unseen, rel=1e-3)


@BOTH
def test_chance_is_no_relation(squares):
    """Of unrelated genes some fit a few cells by chance; in others they would not."""
    chance = np.sqrt(2 * np.log(100) / 100)
    excess = {chance: [], 0: []}
    for seed in range(3):
        by_gene = np.random.default_rng(seed).standard_normal((100, 2100)).astype(np.float32)
        mean, scale = by_gene[:, :100].mean(axis=1), by_gene[:, :100].std(axis=1)
        by_gene = (by_gene - mean[:, None]) / scale[:, None]
        seen, fresh = np.ascontiguousarray(by_gene[:, :100]), np.ascontiguousarray(by_gene[:, 100:])
        for beyond, found in excess.items():
            fit = fit_local_regression(seen, correlated_others(seen, 8, beyond), squares=squares)
            found.append(np.log(fit.residuals(fresh).var(axis=1) / fit.variance).mean())
    assert np.mean(excess[chance]) == pytest.approx(0, abs=0.06)
    assert np.mean(excess[0]) > 0.2  # with all that fits by chance


@BOTH
def test_genes_without_relations_are_left_as_they_are(squares):
    by_gene = standardised(200, 12)
    fit = fit_local_regression(by_gene, np.full((12, 8), -1), squares=squares)
    np.testing.assert_allclose(fit.coefficients, 0, atol=1e-6)
    np.testing.assert_allclose(fit.variance, 1, rtol=0.02)
    np.testing.assert_allclose(fit.residuals(by_gene), by_gene, atol=1e-6)


@BOTH
def test_other_cells(regressors, squares):
    by_gene, fresh = standardised(300, 12), 2 * standardised(50, 12, seed=1) + 0.5
    fit = fit_local_regression(by_gene, regressors, squares=squares)
    found = fit.residuals(fresh)
    assert (found.shape, found.dtype) == ((12, 50), np.float32)
    assert np.abs(fresh).max() > MAX_DEVIATION
    for gene, row in enumerate(regressors):
        near = row[row >= 0]
        places = [0, *range(1, 1 + near.size), *(range(6, 6 + near.size) if squares else ())]
        expected = fresh[gene] - design(fresh, near, squares) @ fit.coefficients[gene, places]
        np.testing.assert_allclose(found[gene], expected, atol=1e-4)


def test_finds_a_square():
    by_gene = standardised(500, 9)
    quadratic, linear = (fit_local_regression(by_gene, others(9), squares=x) for x in (True, False))
    assert quadratic.variance[0] < 0.25 < 0.7 < linear.variance[0]
    assert abs(np.corrcoef(by_gene[0], by_gene[1])[0, 1]) < 0.2


def test_values_are_left_alone(regressors):
    by_gene = standardised(50, 12)
    before = by_gene.copy()
    fit_local_regression(by_gene, regressors, squares=True).residuals(by_gene)
    np.testing.assert_array_equal(by_gene, before)


@BOTH
def test_many_cells_are_thinned_by_their_sums_not_their_places(squares):
    by_gene = standardised(2 * MAX_FIT_CELLS, 3)

    def coefficients(values):
        values = np.ascontiguousarray(values)
        return fit_local_regression(values, others(3), squares=squares).coefficients

    found = coefficients(by_gene)
    order = np.random.default_rng(0).permutation(by_gene.shape[1])
    np.testing.assert_allclose(coefficients(by_gene[:, order]), found, atol=1e-5)
    half = np.argsort(by_gene.sum(axis=0, dtype=float))[::2]
    np.testing.assert_allclose(coefficients(by_gene[:, half]), found, atol=1e-5)


@BOTH
@pytest.mark.parametrize("n_genes", [1, 2, 3])
def test_few_genes(n_genes, squares):
    by_gene = standardised(20, 5)[:n_genes]
    fit = fit_local_regression(by_gene, others(n_genes), squares=squares)
    assert fit.coefficients.shape == (n_genes, 1 + (1 + squares) * (n_genes - 1))
    assert np.isfinite(fit.variance).all()
