"""Regression of each gene on a few neighbours, to see whether its mechanism still holds.

A gene that was not hit keeps its relation to the genes around it, however much those changed; one that was
hit departs from it. On few neighbours a regression costs the same whatever the number of genes, and with
their squares it follows relations that are not linear.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import numpy as np
import torch

from cdn_sc._compile import compiled

RIDGE = 0.02
# the fit needs no more cells than this; the rest would only cost time
MAX_FIT_CELLS = 4000
# regressors beyond this many standard deviations count as this far out: squares must not explode
MAX_DEVIATION = 5.0
# a fit to few cells leaves at least this share of them free
LEAST_LEFT = 0.1
# Fewer genes are not worth a thread of their own
FEWEST_OF_A_THREAD = 256

Found = TypeVar("Found")


@compiled
def _fill_design(by_gene, neighbours, squares, design):  # type: ignore[no-untyped-def]
    """Rows of the design: ones, each neighbour, each neighbour's square less its mean of 1; 0 for none."""
    k = neighbours.size
    for j in range(k):
        if neighbours[j] < 0:
            for cell in range(design.shape[1]):
                design[1 + j, cell] = 0.0
                if squares:
                    design[1 + k + j, cell] = 0.0
            continue
        source = by_gene[neighbours[j]]
        for cell in range(source.size):
            z = min(max(source[cell], -MAX_DEVIATION), MAX_DEVIATION)
            design[1 + j, cell] = z
            if squares:
                design[1 + k + j, cell] = z * z - np.float32(1.0)


# Arrays are filled value by value in what follows: numba needs seconds to compile an assignment of arrays.
@compiled
def _normal_equations(by_gene, targets, regressors, squares):  # type: ignore[no-untyped-def]
    n_genes, n_cells = targets.shape
    width = 1 + (2 if squares else 1) * regressors.shape[1]
    gram = np.empty((n_genes, width, width))
    moment = np.empty((n_genes, width))
    design = np.ones((width, n_cells), dtype=np.float32)
    for gene in range(n_genes):
        _fill_design(by_gene, regressors[gene], squares, design)
        products = np.dot(design, design.T)
        moments = np.dot(design, targets[gene])
        for i in range(width):
            moment[gene, i] = moments[i]
            for j in range(width):
                gram[gene, i, j] = products[i, j]
    return gram, moment


@compiled
def _residuals(by_gene, targets, regressors, squares, coefficients):  # type: ignore[no-untyped-def]
    n_genes, n_cells = targets.shape
    residuals = np.empty((n_genes, n_cells), dtype=np.float32)
    width = coefficients.shape[1]
    design = np.ones((width, n_cells), dtype=np.float32)
    for gene in range(n_genes):
        _fill_design(by_gene, regressors[gene], squares, design)
        fitted = np.dot(coefficients[gene], design)
        for cell in range(n_cells):
            residuals[gene, cell] = targets[gene, cell] - fitted[cell]
    return residuals


@dataclass(frozen=True)
class LocalRegression:
    """Regression of each gene on its neighbours, fitted to the control cells.

    Parameters
    ----------
    regressors
        Genes x neighbours, indices, -1 where a gene has fewer.
    squares
        Whether the neighbours' squares are regressors too.
    coefficients
        Genes x (1 + neighbours, or twice as many with squares): intercept, linear and quadratic terms, for
        standardised values.
    mean, variance
        Of the residuals, per gene: the mean in the control cells, and the variance to be expected in control
        cells that the fit has not seen.
    fitted_variance
        Of the fitted values in the control cells, per gene: how much of a gene its neighbours tell.
    """

    regressors: np.ndarray
    squares: bool
    coefficients: np.ndarray
    mean: np.ndarray
    variance: np.ndarray
    fitted_variance: np.ndarray

    def residuals(self, by_gene: np.ndarray) -> np.ndarray:
        """What the fit leaves over in other cells, genes x cells, float32.

        Parameters
        ----------
        by_gene
            Genes x cells, float32, contiguous, centred and scaled with the control cells' mean and variance.
        """
        return np.asarray(_residuals(by_gene, by_gene, self.regressors, self.squares, self.coefficients))


def fit_local_regression(by_gene: np.ndarray, regressors: np.ndarray, *, squares: bool) -> LocalRegression:
    """Fit the regressions.

    Parameters
    ----------
    by_gene
        Genes x control cells, float32, contiguous, mean 0 and variance 1.
    regressors
        Genes x neighbours, see :func:`cdn_sc.features._relations.strongest`. Those that chance alone makes of
        so many genes should be none of them: they would be chosen for how well they happen to fit these
        cells, and the residuals would look too small.
    squares
        Whether the neighbours' squares are regressors too.
    """
    by_gene = _cells_to_fit(by_gene)
    parts = over_genes(lambda some: _fit(by_gene, some, regressors, squares), len(by_gene))
    coefficients, mean, variance, fitted = (np.concatenate(of_all) for of_all in zip(*parts, strict=True))
    return LocalRegression(regressors, squares, coefficients, mean, np.maximum(variance, 1e-4), fitted)


def over_genes(function: Callable[[slice], Found], n_genes: int) -> list[Found]:
    """Do something for all genes, some of them in each of as many threads as torch has here.

    Parameters
    ----------
    function
        Takes the positions of some genes; lets go of the interpreter's lock while it works.
    n_genes
        Number of genes.
    """
    n_threads = min(torch.get_num_threads(), max(1, n_genes // FEWEST_OF_A_THREAD))
    bounds = np.linspace(0, n_genes, n_threads + 1).astype(int)
    some = [slice(int(start), int(stop)) for start, stop in pairwise(bounds)]
    if n_threads == 1:
        return [function(some[0])]
    with ThreadPoolExecutor(n_threads) as executor:
        return list(executor.map(function, some))


def _fit(
    by_gene: np.ndarray, some: slice, regressors: np.ndarray, squares: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Coefficients of some genes, mean and variance of what they leave over, variance of what they fit."""
    of_some = by_gene[some]
    gram, moment = _normal_equations(by_gene, of_some, regressors[some], squares)
    used = by_gene.shape[1]
    width = gram.shape[1]
    # with few cells the terms of many neighbours would fit noise
    penalty = np.full(width, (RIDGE + 2.0 * width / used) * used)
    penalty[0] = 1e-6 * used
    penalised = gram + np.diag(penalty)
    inverse = np.linalg.inv(penalised)
    coefficients = (inverse @ moment[..., None])[..., 0].astype(np.float32)
    residuals = _residuals(by_gene, of_some, regressors[some], squares, coefficients)
    # what the fit took from its own cells (generalised cross-validation: Golub, Heath and Wahba 1979)
    degrees = np.einsum("nij,nji->n", inverse, gram)
    variance = residuals.var(axis=1, dtype=np.float64) / np.maximum(1.0 - degrees / used, LEAST_LEFT) ** 2
    fitted = (of_some - residuals).var(axis=1, dtype=np.float64)
    return coefficients, residuals.mean(axis=1, dtype=np.float64), variance, fitted


def _cells_to_fit(by_gene: np.ndarray) -> np.ndarray:
    """All cells, or every so many of them in the order of their sums: theirs in the array plays no part."""
    step = by_gene.shape[1] // MAX_FIT_CELLS
    if step < 2:
        return by_gene
    order = np.argsort(by_gene.sum(axis=0, dtype=np.float64), kind="stable")
    return np.ascontiguousarray(by_gene[:, np.sort(order[::step])])
