"""Quadratic regression of each gene on a few neighbours, to see whether its mechanism still holds.

A gene that was not hit keeps its relation to the genes around it, however much those changed; one that was
hit departs from it. The linear regressions on all genes miss relations that are not linear.
"""

from dataclasses import dataclass

import numpy as np

from cdn_sc._compile import compiled, compiled_sums
from cdn_sc.features._relations import strongest

N_REGRESSORS = 8
RIDGE = 0.02
# the fit needs no more cells than this; the rest would only cost time
MAX_FIT_CELLS = 4000
# regressors beyond this many standard deviations count as this far out: squares must not explode
MAX_DEVIATION = 5.0
# a fit to few cells leaves at least this share of them free
LEAST_LEFT = 0.1


@compiled
def _fill_design(by_gene: np.ndarray, neighbours: np.ndarray, design: np.ndarray) -> None:
    """Rows of the design: ones, each neighbour, each neighbour's square less its mean of 1; 0 for none."""
    k = neighbours.size
    for j in range(k):
        if neighbours[j] < 0:
            for cell in range(design.shape[1]):
                design[1 + j, cell] = 0.0
                design[1 + k + j, cell] = 0.0
            continue
        source = by_gene[neighbours[j]]
        for cell in range(source.size):
            z = min(max(source[cell], -MAX_DEVIATION), MAX_DEVIATION)
            design[1 + j, cell] = z
            design[1 + k + j, cell] = z * z - np.float32(1.0)


# Arrays are filled value by value in what follows: numba needs seconds to compile an assignment of arrays.
@compiled
def _normal_equations(by_gene: np.ndarray, regressors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    n_genes, n_cells = by_gene.shape
    width = 1 + 2 * regressors.shape[1]
    gram = np.empty((n_genes, width, width))
    moment = np.empty((n_genes, width))
    design = np.ones((width, n_cells), dtype=np.float32)
    for gene in range(n_genes):
        _fill_design(by_gene, regressors[gene], design)
        products = np.dot(design, design.T)
        moments = np.dot(design, by_gene[gene])
        for i in range(width):
            moment[gene, i] = moments[i]
            for j in range(width):
                gram[gene, i, j] = products[i, j]
    return gram, moment


@compiled
def _residual_moments(
    by_gene: np.ndarray, regressors: np.ndarray, coefficients: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    n_genes, n_cells = by_gene.shape
    mean, variance = np.empty(n_genes), np.empty(n_genes)
    design = np.ones((1 + 2 * regressors.shape[1], n_cells), dtype=np.float32)
    for gene in range(n_genes):
        _fill_design(by_gene, regressors[gene], design)
        fitted = np.dot(coefficients[gene], design)
        mean[gene], variance[gene] = _moments(by_gene[gene], fitted)
    return mean, variance


@compiled_sums
def _moments(values, fitted):  # type: ignore[no-untyped-def]
    """Mean and population variance of what a fit leaves over."""
    total = 0.0
    for cell in range(len(values)):
        total += values[cell] - fitted[cell]
    mean = total / len(values)
    squares = 0.0
    for cell in range(len(values)):
        deviation = np.float64(values[cell] - fitted[cell]) - mean
        squares += deviation * deviation
    return mean, squares / len(values)


@dataclass(frozen=True)
class LocalRegression:
    """Regression of each gene on its neighbours and their squares, fitted to the control cells.

    Parameters
    ----------
    regressors
        Genes x neighbours, indices, -1 where a gene has fewer.
    coefficients
        Genes x (1 + 2 neighbours): intercept, linear and quadratic terms, for standardised values.
    mean, variance
        Of the residuals, per gene: the mean in the control cells, and the variance to be expected in control
        cells that the fit has not seen.
    """

    regressors: np.ndarray
    coefficients: np.ndarray
    mean: np.ndarray
    variance: np.ndarray

    def residual_moments(self, standardised: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance of the residuals in other cells, per gene.

        Parameters
        ----------
        standardised
            Cells x genes, float32, centred and scaled with the control cells' mean and variance.
        """
        return _residual_moments(np.ascontiguousarray(standardised.T), self.regressors, self.coefficients)


def fit_local_regression(
    standardised: np.ndarray, strength: np.ndarray, n_relation_cells: int
) -> LocalRegression:
    """Fit the regressions.

    Parameters
    ----------
    standardised
        Control cells x genes, float32, mean 0 and variance 1.
    strength
        Genes x genes: how closely two genes are related; each gene takes its ``N_REGRESSORS`` largest, see
        :func:`cdn_sc.features._relations.strongest`.
    n_relation_cells
        Cells that `strength` came from. What chance alone makes of so many genes counts as no relation: it
        would be chosen for how well it happens to fit these cells, and the residuals would look too small.
    """
    chance = np.sqrt(2.0 * np.log(max(len(strength), 2)) / n_relation_cells)
    regressors = strongest(strength, N_REGRESSORS, beyond=float(chance))
    by_gene = np.ascontiguousarray(_cells_to_fit(standardised).T)
    gram, moment = _normal_equations(by_gene, regressors)
    used = by_gene.shape[1]
    width = gram.shape[1]
    # with few cells the squares of many neighbours would fit noise
    penalty = np.full(width, (RIDGE + 2.0 * width / used) * used)
    penalty[0] = 1e-6 * used
    penalised = gram + np.diag(penalty)
    coefficients = np.linalg.solve(penalised, moment[..., None])[..., 0].astype(np.float32)
    mean, variance = _residual_moments(by_gene, regressors, coefficients)
    # what the fit took from its own cells (generalised cross-validation: Golub, Heath and Wahba 1979)
    degrees = np.trace(np.linalg.solve(penalised, gram), axis1=1, axis2=2)
    variance = variance / np.maximum(1.0 - degrees / used, LEAST_LEFT) ** 2
    return LocalRegression(regressors, coefficients, mean, np.maximum(variance, 1e-4))


def _cells_to_fit(standardised: np.ndarray) -> np.ndarray:
    """All cells, or every so many of them in the order of their sums: theirs in the array plays no part."""
    step = len(standardised) // MAX_FIT_CELLS
    if step < 2:
        return standardised
    order = np.argsort(standardised.sum(axis=1, dtype=np.float64), kind="stable")
    return standardised[np.sort(order[::step])]
