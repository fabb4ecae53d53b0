"""What is computed once from the control cells and shared by all groups compared with them.

Correlations come from more cells than these where there are others: a gene that is hit in one condition has
much the same relations to the others in the rest, and in a screen most cells are not control cells. At most
four genes x genes matrices are held at once: the correlations, two inverses, and the sparse correlations.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from cdn_sc.features._device_statistics import ControlOnDevice
from cdn_sc.features._products import add_products, complete, inverse
from cdn_sc.features._rank_tests import sort_genes, tie_sums
from cdn_sc.features._relations import (
    Programmes,
    about_unit,
    largest_singular_value,
    leading_programmes,
    row_blocks,
    row_squares,
    sparse_correlation,
    strongest,
)
from cdn_sc.features.local_regression import LocalRegression, fit_local_regression, over_genes

# Shrinkage of the correlation matrix towards the identity before it is inverted. Little shrinkage
# separates a gene from its correlated neighbours, much is robust to noise; the network weighs them.
SHRINKAGES = (0.02, 0.15)
# Genes of which each gene sees what is known of the pair
N_NEIGHBOURS = 16
# Of these the strongest, with their squares, as regressors
N_SQUARED = 8
# Regressions on more genes than cells leave at least this share of the cells free
LEAST_LEFT = 0.05
# Up to this many genes inverses are made in double precision
MOST_GENES_IN_DOUBLE = 2048


@dataclass(frozen=True)
class Precision:
    """Regularised inverse of a correlation matrix, and the regressions that it stands for.

    Parameters
    ----------
    matrix
        Inverse M of (1 - s) C + s I, genes x genes, float32.
    diagonal
        Its diagonal. Column j of M, divided by it, turns standardised values into the residual of gene j
        after (ridge) regression on all other genes.
    residual_variance
        Variance of those residuals to be expected in cells that C did not come from, per gene.
    """

    matrix: Tensor
    diagonal: Tensor
    residual_variance: Tensor

    def partial_rows(self, rows: slice) -> Tensor:
        """Partial correlations of some genes with all, given all others; zero diagonal."""
        scale = self.diagonal.rsqrt()
        partial = self.matrix[rows] * (-scale[rows, None]) * scale
        partial[:, rows].fill_diagonal_(0.0)
        return partial


class RowScales(NamedTuple):
    """What scales the rows of each matrix of weights to about unit length, per gene."""

    correlation: Tensor
    squared_correlation: Tensor
    partial: Tensor
    squared_partial: Tensor
    programme_free: Tensor


@dataclass(frozen=True)
class ControlSummary:
    """Statistics of the control arm, see :func:`summarize_control`; tensors are on the device asked for.

    Parameters
    ----------
    n_cells
        Number of control cells.
    n_relation_cells
        Number of cells behind the correlations: the control cells and those given to sharpen them.
    sorted_values, ties
        Genes x cells, float32, ascending along cells, and :func:`cdn_sc.features._rank_tests.tie_sums`.
    mean, variance, excess_kurtosis, detection
        Per gene, float64, see :class:`Moments`.
    correlation
        Pearson correlations within conditions, genes x genes, float32; ones on the diagonal.
    precisions
        Regularised inverses of `correlation`, one for each of ``SHRINKAGES``.
    neighbours
        Genes x neighbours, int64: genes of largest absolute correlation or partial correlation (the second
        shrinkage), at most ``N_NEIGHBOURS``, ascending; -1 behind them where there are fewer, see
        :func:`cdn_sc.features._relations.strongest`.
    edges
        Genes x neighbours x 4, float32: partial correlation, correlation, coefficient of the neighbour in the
        regression of the gene on all others, and of the gene in that of the neighbour.
    quadratic, linear
        Regressions of each gene on its strongest neighbours and their squares, and on all its neighbours.
    row_scales
        Of the weights through which changes are projected.
    correlation_strength, partial_strength
        Sums of squared correlations and partial correlations with the other genes, per gene.
    sparse, sparse_norm
        Correlations beyond the noise, with their largest singular value.
    programmes
        Leading directions of the correlations.
    """

    n_cells: int
    n_relation_cells: int
    sorted_values: np.ndarray
    ties: np.ndarray
    mean: np.ndarray
    variance: np.ndarray
    excess_kurtosis: np.ndarray
    detection: np.ndarray
    correlation: Tensor
    precisions: tuple[Precision, ...]
    neighbours: Tensor
    edges: Tensor
    quadratic: LocalRegression
    linear: LocalRegression
    row_scales: RowScales
    correlation_strength: Tensor
    partial_strength: Tensor
    sparse: Tensor
    sparse_norm: float
    programmes: Programmes

    @property
    def n_genes(self) -> int:
        """Number of genes."""
        return self.mean.size

    @property
    def device(self) -> torch.device:
        """Where the matrices are."""
        return self.correlation.device

    @cached_property
    def on_device(self) -> ControlOnDevice:
        """What the statistics of groups need, on that device."""
        return ControlOnDevice(self, inverse_deviation(self.variance))


class Moments(NamedTuple):
    """Per gene: mean, unbiased variance, excess kurtosis and share of non-zero values."""

    mean: np.ndarray
    variance: np.ndarray
    excess_kurtosis: np.ndarray
    detection: np.ndarray


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
    return (values - mean.astype(np.float32)) * inverse_deviation(variance)


def inverse_deviation(variance: np.ndarray) -> np.ndarray:
    """What scales genes of given variances to 1, float32; 0 for genes of no variance."""
    scale = np.divide(1.0, np.sqrt(variance), out=np.zeros_like(variance), where=variance > 0)
    return scale.astype(np.float32)


def summarize_control(
    values: np.ndarray,
    contrasts: np.ndarray | Iterable[np.ndarray] | None = None,
    *,
    device: torch.device | str = "cpu",
) -> ControlSummary:
    """Summarise the control cells: moments, sorted values, correlations and their inverses.

    Parameters
    ----------
    values
        Control cells x genes, float32, finite, at least 2 cells.
    contrasts
        How cells of other conditions vary within these, contrasts x the same genes, float32, in one array or
        one after another: of m cells of a condition, m - 1 orthonormal combinations without its mean. They
        sharpen the correlations, and nothing else.
    device
        Where products and inverses are computed, and their results stay.

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
    n_cells, n_genes = values.shape
    mean, variance, kurtosis, detection = moments(values)
    standardised = standardise(values, mean, variance)
    cells = [torch.from_numpy(standardised).to(device)]
    few = [cells[0]]
    products = add_products(None, cells[0])
    n_relation_cells = n_cells
    nothing = np.zeros_like(mean)
    for part in _as_parts(contrasts):
        if part.ndim != 2 or part.shape[1] != n_genes:
            raise ValueError(f"the contrasts have shape {part.shape}; contrasts x {n_genes} genes are needed")
        more = torch.from_numpy(standardise(part, nothing, variance)).to(device)
        add_products(products, more)
        n_relation_cells += len(part)
        # kept as long as the inverse would come from the cells
        few = [*few, more] if 2 * n_relation_cells < n_genes else []
    complete(products)
    scale = products.diagonal().sqrt()
    scale = torch.where(scale > 0, 1.0 / scale, 0.0)
    correlation = products.mul_(scale[:, None]).mul_(scale).clamp_(-1.0, 1.0)
    correlation.fill_diagonal_(1.0)
    relation_cells = torch.cat(few) * scale if 2 * n_relation_cells < n_genes else None

    precisions = tuple(
        shrunken_precision(correlation, n_relation_cells, s, relation_cells) for s in SHRINKAGES
    )
    neighbours, regressors, best = _neighbours(correlation, precisions[1], n_relation_cells)
    by_gene = np.ascontiguousarray(standardised.T)
    ascending = np.concatenate(over_genes(lambda some: sort_genes(values[:, some]), n_genes))
    programmes = leading_programmes(correlation)
    scales, correlation_strength, partial_strength = _row_scales(correlation, precisions[1], programmes)
    sparse = sparse_correlation(correlation, n_relation_cells)
    return ControlSummary(
        n_cells=n_cells,
        n_relation_cells=n_relation_cells,
        sorted_values=ascending,
        ties=tie_sums(ascending),
        mean=mean,
        variance=variance,
        excess_kurtosis=kurtosis,
        detection=detection,
        correlation=correlation,
        precisions=precisions,
        neighbours=neighbours,
        edges=_edges(correlation, precisions[1], neighbours),
        quadratic=fit_local_regression(by_gene, best, squares=True),
        linear=fit_local_regression(by_gene, regressors, squares=False),
        row_scales=scales,
        correlation_strength=correlation_strength,
        partial_strength=partial_strength,
        sparse=sparse,
        sparse_norm=largest_singular_value(sparse),
        programmes=programmes,
    )


def shrunken_precision(
    correlation: Tensor, n_cells: int, shrinkage: float, cells: Tensor | None = None
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
    cells
        Cells x genes whose sums of products are `correlation`: where they are few, the inverse costs less
        with them (Woodbury's identity).
    """
    n_genes = len(correlation)
    shrinkage = min(0.9, shrinkage + 0.2 * min(1.0, n_genes / max(n_cells, 1)))
    if cells is not None and 2 * len(cells) < n_genes:
        matrix = _inverse_from_cells(cells, shrinkage)
    else:
        matrix = _inverse(correlation, shrinkage)
    diagonal = matrix.diagonal().clone()
    squares = row_squares(matrix)
    # diag(M C M) with (1 - s) C = M^-1 - s I
    variance = (diagonal - shrinkage * squares) / (1.0 - shrinkage) / diagonal**2
    degrees = _degrees_of_freedom(correlation, matrix.trace() - squares / diagonal, shrinkage)
    # what they took from their own cells (generalised cross-validation: Golub, Heath and Wahba 1979)
    variance = variance / (1.0 - degrees / n_cells).clamp_min(LEAST_LEFT) ** 2
    return Precision(matrix, diagonal, variance.clamp_min(1e-4))


def _inverse(correlation: Tensor, shrinkage: float) -> Tensor:
    shrunk = correlation * (1.0 - shrinkage)
    shrunk.fill_diagonal_(1.0)
    if len(shrunk) <= MOST_GENES_IN_DOUBLE and shrunk.device.type != "mps":
        shrunk = shrunk.double()
    return inverse(shrunk).float()


def _inverse_from_cells(cells: Tensor, shrinkage: float) -> Tensor:
    """Inverse of (1 - s) C with ones on the diagonal, by few cells: it is D + W'W with a diagonal D."""
    weights = cells * float(np.sqrt(1.0 - shrinkage))
    diagonal = 1.0 - (weights**2).sum(dim=0)
    scaled = weights / diagonal
    small = scaled @ weights.T
    small.diagonal().add_(1.0)
    inverse = scaled.T @ torch.cholesky_solve(-scaled, torch.linalg.cholesky(small))
    inverse.diagonal().add_(1.0 / diagonal)
    return inverse


def _degrees_of_freedom(correlation: Tensor, trace: Tensor, shrinkage: float) -> Tensor:
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
    alone = (row_squares(correlation) <= 1.0).float()
    return (len(alone) - 1) - shrinkage * trace - (1.0 - shrinkage) * (alone.sum() - alone)


def _as_parts(contrasts: np.ndarray | Iterable[np.ndarray] | None) -> Iterable[np.ndarray]:
    if contrasts is None:
        return ()
    if not isinstance(contrasts, np.ndarray):
        return contrasts
    return (contrasts,) if len(contrasts) else ()


def _neighbours(
    correlation: Tensor, precision: Precision, n_cells: int
) -> tuple[Tensor, np.ndarray, np.ndarray]:
    """Each gene's neighbours, those of them that are no chance finding, and the strongest of these."""
    # what chance alone makes of so many genes counts as no relation
    chance = float(np.sqrt(2.0 * np.log(max(len(correlation), 2)) / n_cells))
    found: list[tuple[Tensor, ...]] = []
    for rows in row_blocks(len(correlation)):
        strength = torch.maximum(correlation[rows].abs(), precision.partial_rows(rows).abs())
        found.append(
            (
                strongest(strength, N_NEIGHBOURS, first=rows.start),
                strongest(strength, N_NEIGHBOURS, beyond=chance, first=rows.start),
                strongest(strength, N_SQUARED, beyond=chance, first=rows.start),
            )
        )
    neighbours, regressors, best = (torch.cat(parts) for parts in zip(*found, strict=True))
    return neighbours, regressors.cpu().numpy(), best.cpu().numpy()


def _edges(correlation: Tensor, precision: Precision, neighbours: Tensor) -> Tensor:
    rows = torch.arange(len(neighbours), device=neighbours.device)[:, None]
    there = neighbours.clamp_min(0)
    matrix, diagonal = precision.matrix[rows, there], precision.diagonal
    scale = diagonal.rsqrt()
    edges = torch.stack(
        [
            -matrix * scale[:, None] * scale[there],
            correlation[rows, there],
            -matrix / diagonal[:, None],
            -matrix / diagonal[there],
        ],
        dim=-1,
    )
    return torch.where(neighbours[..., None] >= 0, edges, 0.0)


def _row_scales(
    correlation: Tensor, precision: Precision, programmes: Programmes
) -> tuple[RowScales, Tensor, Tensor]:
    """Scales of the rows, and the sums of squares of the correlations and of the partial correlations."""
    sums = []
    for rows in row_blocks(len(correlation)):
        others = correlation[rows] ** 2
        others[:, rows].fill_diagonal_(0.0)
        partial = precision.partial_rows(rows) ** 2
        sums.append(
            torch.stack([others.sum(dim=1), row_squares(others), partial.sum(dim=1), row_squares(partial)])
        )
    of_correlation, of_square, of_partial, of_squared_partial = torch.cat(sums, dim=1)
    # of the correlations without the leading directions, C - V B V', and without its diagonal
    value = torch.where(programmes.share > 0, programmes.beyond / programmes.share.clamp_min(1e-9), 0.0)
    loadings = programmes.directions**2
    taken = loadings @ (programmes.beyond * (2.0 * value - programmes.beyond))
    left = 1.0 + of_correlation - taken - (1.0 - loadings @ programmes.beyond) ** 2
    squares = (of_correlation, of_square, of_partial, of_squared_partial, left)
    return RowScales(*map(about_unit, squares)), of_correlation, of_partial
