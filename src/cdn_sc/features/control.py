"""What is computed once from the control cells and shared by all groups compared with them."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from cdn_sc.features._rank_tests import sort_genes
from cdn_sc.features._relations import (
    ProgrammeFree,
    largest_singular_value,
    mixing_matrices,
    programme_free,
    row_squares,
    sparse_correlation,
    strongest,
)
from cdn_sc.features.local_regression import LocalRegression, fit_local_regression

# Shrinkage of the correlation matrix towards the identity before it is inverted. Little shrinkage
# separates a gene from its correlated neighbours, much is robust to noise; the network weighs them.
SHRINKAGES = (0.02, 0.1, 0.35)
# Genes of which each gene sees what is known of the pair
N_NEIGHBOURS = 16
# Regressions on more genes than cells leave at least this share of the cells free
LEAST_LEFT = 0.05


@dataclass(frozen=True)
class Precision:
    """Regularised inverse of a correlation matrix, and the regressions that it stands for.

    Parameters
    ----------
    matrix
        Inverse of (1 - s) C + s I, genes x genes.
    regression
        ``regression[k, j]``: column j turns standardised values into the residual of gene j after
        (ridge) regression on all other genes; ones on the diagonal, genes x genes.
    residual_variance
        Variance of those residuals to be expected in cells that C did not come from, per gene.
    """

    matrix: np.ndarray
    regression: np.ndarray
    residual_variance: np.ndarray

    def partial_correlation(self) -> np.ndarray:
        """Partial correlation of each pair of genes given all others, zero diagonal, genes x genes."""
        scale = 1.0 / np.sqrt(np.diag(self.matrix))
        partial = -self.matrix * scale[:, None] * scale[None, :]
        np.fill_diagonal(partial, 0.0)
        return partial


def shrunken_precision(
    correlation: np.ndarray,
    n_cells: int,
    shrinkage: float,
    standardised: np.ndarray | None = None,
    judged_by: np.ndarray | None = None,
) -> Precision:
    """Invert a correlation matrix after shrinkage towards the identity.

    Parameters
    ----------
    correlation
        Genes x genes.
    n_cells
        Cells that it came from: with few of them per gene it is shrunken more, by up to 0.2.
    shrinkage
        Weight of the identity with many cells, in [0, 0.9).
    standardised
        The cells x genes that the correlations were computed from: where they are few, the inverse costs
        less with them (Woodbury's identity).
    judged_by
        Correlations of those cells, of the ones behind `correlation`, whose residuals count; of all of them
        when None.
    """
    n_genes = correlation.shape[0]
    shrinkage = min(0.9, shrinkage + 0.2 * min(1.0, n_genes / max(n_cells, 1)))
    if standardised is not None and 2 * len(standardised) < n_genes:
        matrix = _inverse_from_cells(standardised, shrinkage)
    else:
        shrunk = (1.0 - shrinkage) * correlation
        shrunk[np.diag_indices(n_genes)] = 1.0
        matrix = np.linalg.inv(shrunk.astype(np.float64))
    diagonal = np.diag(matrix).copy()
    regression = (matrix / diagonal).astype(np.float32)
    squares = row_squares(matrix)
    if judged_by is None:
        # diag(M C M) with (1 - s) C = M^-1 - s I
        variance = (diagonal - shrinkage * squares) / (1.0 - shrinkage) / diagonal**2
    else:
        variance = np.einsum("ij,ij->j", regression, judged_by @ regression)
    degrees = _degrees_of_freedom(correlation, np.trace(matrix) - squares / diagonal, shrinkage)
    # what they took from their own cells (generalised cross-validation: Golub, Heath and Wahba 1979)
    variance = variance / np.maximum(1.0 - degrees / n_cells, LEAST_LEFT) ** 2
    return Precision(matrix.astype(np.float32), regression, np.maximum(variance, 1e-4).astype(np.float32))


def _degrees_of_freedom(correlation: np.ndarray, trace: np.ndarray, shrinkage: float) -> np.ndarray:
    """Effective number of genes that each gene's regression on all others fits.

    Parameters
    ----------
    correlation
        C, genes x genes.
    trace
        Of the inverse of (1 - s) C + s I without the gene, per gene.
    shrinkage
        s.
    """
    # the trace of (1 - s) C times that inverse; a gene that correlates with nothing takes no part
    alone = row_squares(correlation) <= 1.0
    return (alone.size - 1) - shrinkage * trace - (1.0 - shrinkage) * (alone.sum() - alone)


def _inverse_from_cells(standardised: np.ndarray, shrinkage: float) -> np.ndarray:
    """Inverse of (1 - s) C with ones on the diagonal, by few cells: it is D + W'W with a diagonal D."""
    n_cells = len(standardised)
    weights = standardised.astype(np.float64) * np.sqrt((1.0 - shrinkage) / max(n_cells - 1, 1))
    diagonal = 1.0 - np.einsum("ij,ij->j", weights, weights)
    scaled = weights / diagonal
    small = np.eye(n_cells) + scaled @ weights.T
    inverse = -scaled.T @ np.linalg.solve(small, scaled)
    inverse[np.diag_indices(diagonal.size)] += 1.0 / diagonal
    return inverse


class Moments(NamedTuple):
    """Per gene: mean, unbiased variance, excess kurtosis and share of non-zero values."""

    mean: np.ndarray
    variance: np.ndarray
    excess_kurtosis: np.ndarray
    detection: np.ndarray


@dataclass(frozen=True)
class ControlSummary:
    """Statistics of the control arm, see :func:`summarize_control`.

    Parameters
    ----------
    n_cells
        Number of control cells.
    n_relation_cells
        Number of cells behind the correlations: the control cells and those given to sharpen them.
    sorted_values
        Genes x cells, float32, ascending along cells.
    mean, variance, excess_kurtosis, detection
        Per gene, see :class:`Moments`.
    correlation
        Pearson correlations within conditions, genes x genes, float32; ones on the diagonal.
    precisions
        Regularised inverses of `correlation`, one for each of ``SHRINKAGES``; their residual variances are
        those of control cells.
    partial
        Partial correlations at the middle shrinkage, genes x genes, zeros on the diagonal.
    strength
        Larger of the absolute correlation and partial correlation, genes x genes, zeros on the diagonal.
    neighbours
        Genes x neighbours, int64: genes of largest `strength`, at most ``N_NEIGHBOURS``, ascending; -1 behind
        them where there are fewer, see :func:`cdn_sc.features._relations.strongest`.
    local
        Quadratic regression of each gene on its strongest neighbours.
    mixing, sparse, sparse_norm, programme_free
        Weights made of the correlations, see :mod:`cdn_sc.features._relations`: mixing matrices, correlations
        beyond the noise with their largest singular value, and those without leading directions.
    """

    n_cells: int
    n_relation_cells: int
    sorted_values: np.ndarray
    mean: np.ndarray
    variance: np.ndarray
    excess_kurtosis: np.ndarray
    detection: np.ndarray
    correlation: np.ndarray
    precisions: tuple[Precision, ...]
    partial: np.ndarray
    strength: np.ndarray
    neighbours: np.ndarray
    local: LocalRegression
    mixing: np.ndarray
    sparse: np.ndarray
    sparse_norm: float
    programme_free: ProgrammeFree


def moments(values: np.ndarray) -> Moments:
    """Moments of each gene, from cells x genes; a constant gene has variance and excess kurtosis 0."""
    n_cells = values.shape[0]
    mean = values.mean(axis=0, dtype=np.float64)
    centred = values - mean.astype(np.float32)
    squares = centred * centred
    second = squares.mean(axis=0, dtype=np.float64)
    fourth = np.einsum("ij,ij->j", squares, squares, dtype=np.float64) / n_cells
    constant = values.min(axis=0) == values.max(axis=0)
    second[constant] = 0.0
    kurtosis = np.divide(fourth, second**2, out=np.full(second.shape, 3.0), where=second > 0) - 3.0
    detection = np.count_nonzero(values, axis=0) / n_cells
    return Moments(mean, second * n_cells / max(n_cells - 1, 1), kurtosis, detection)


def standardise(values: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Centre and scale genes by given moments, float32; genes of no variance become 0."""
    scale = np.divide(1.0, np.sqrt(variance), out=np.zeros_like(variance), where=variance > 0)
    return (values - mean.astype(np.float32)) * scale.astype(np.float32)


def correlation_matrix(values: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Pearson correlation genes x genes in float32; genes that do not vary correlate with nothing."""
    return correlation_of(standardise(values, mean, variance))


def correlation_of(standardised: np.ndarray) -> np.ndarray:
    """Pearson correlation genes x genes of cells x genes of mean 0 and variance 1, or all 0, per gene."""
    return _as_correlation(standardised.T @ standardised / np.float32(max(len(standardised) - 1, 1)))


def _as_correlation(correlation: np.ndarray) -> np.ndarray:
    np.clip(correlation, -1.0, 1.0, out=correlation)
    np.fill_diagonal(correlation, 1.0)
    return correlation


def _pooled_correlation(standardised: np.ndarray, contrasts: np.ndarray) -> np.ndarray:
    """Correlations within conditions, of control cells and others on the scale of the control cells."""
    products = standardised.T @ standardised + contrasts.T @ contrasts
    length = np.sqrt(np.diag(products))
    scale = np.divide(1.0, length, out=np.zeros_like(length), where=length > 0)
    return _as_correlation(products * scale[:, None] * scale[None, :])


def summarize_control(values: np.ndarray, contrasts: np.ndarray | None = None) -> ControlSummary:
    """Summarise the control cells: moments, sorted values, correlations and their inverses.

    Parameters
    ----------
    values
        Control cells x genes, float32, finite, at least 2 cells.
    contrasts
        How cells of other conditions vary within these, contrasts x the same genes, float32: of m cells of a
        condition, m - 1 orthonormal combinations without its mean. They sharpen the correlations, and nothing
        else: a gene that is hit in one condition has much the same relations to the others in the rest, and
        in a screen most cells are not control cells.

    Raises
    ------
    ValueError
        If `values` has not two dimensions, no gene, or fewer than 2 cells, or `contrasts` other genes.
    """
    values = np.ascontiguousarray(values, dtype=np.float32)
    if values.ndim != 2 or values.shape[0] < 2 or values.shape[1] < 1:
        raise ValueError(
            f"the control values have shape {values.shape}; cells x genes, at least 2 x 1, is needed"
        )
    mean, variance, kurtosis, detection = moments(values)
    standardised, n_relation_cells = standardise(values, mean, variance), values.shape[0]
    correlation = of_control = correlation_of(standardised)
    if contrasts is not None and len(contrasts):
        if contrasts.ndim != 2 or contrasts.shape[1] != values.shape[1]:
            raise ValueError(
                f"the contrasts have shape {contrasts.shape}; contrasts x {values.shape[1]} genes are needed"
            )
        correlation = _pooled_correlation(standardised, standardise(contrasts, np.zeros_like(mean), variance))
        n_relation_cells += len(contrasts)
    judged_by = None if correlation is of_control else of_control
    precisions = tuple(
        shrunken_precision(correlation, n_relation_cells, s, judged_by=judged_by) for s in SHRINKAGES
    )
    partial = precisions[1].partial_correlation()
    strength = np.maximum(np.abs(partial), np.abs(correlation))
    np.fill_diagonal(strength, 0.0)
    sparse = sparse_correlation(correlation, n_relation_cells)
    return ControlSummary(
        n_cells=values.shape[0],
        n_relation_cells=n_relation_cells,
        sorted_values=sort_genes(values),
        mean=mean,
        variance=variance,
        excess_kurtosis=kurtosis,
        detection=detection,
        correlation=correlation,
        precisions=precisions,
        partial=partial,
        strength=strength,
        neighbours=strongest(strength, N_NEIGHBOURS),
        local=fit_local_regression(standardised, strength, n_relation_cells),
        mixing=mixing_matrices(correlation, partial),
        sparse=sparse,
        sparse_norm=largest_singular_value(sparse),
        programme_free=programme_free(correlation),
    )
