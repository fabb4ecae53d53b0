"""Sample: small gene subsets of one arm, drawn so that every pair is seen and correlated genes meet.

The law is that of the CDN paper (arXiv 2410.03380) and of SEA (*Sample, estimate, aggregate*, Wu et al.
2024): a score matrix S (all ones for the *random* score, absolute correlations for the *correlation*
score), damped by how often two genes have met, P = S / sqrt(1 + V); the first gene of a subset has
probability proportional to the column sums of P, each next one to the summed rows of P of the genes drawn
before. P is never formed: rejection draws from the same law, and needs some 2,000 single correlations.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cdn_sc._compile import compiled, compiled_sums

SUBSET_GENES = 5
SUBSET_CELLS = 500
# A gene draw that rejected this many candidates per gene enumerates the probabilities instead.
_REJECTIONS_PER_GENE = 20
# Correlations of all genes are computed in double precision up to this number of genes, where that costs next
# to nothing; beyond, in single precision: off by some 1e-7, in half the time.
_GENES_IN_DOUBLE_PRECISION = 256
# Cells and genes a side of the squares in which an array is transposed.
_SQUARE = 16


@dataclass(frozen=True)
class Sample:
    """What was sampled from one arm of T subsets, N genes."""

    genes: NDArray[np.int64]
    """Gene columns of each subset, in the order drawn, shape (T, k)."""
    cells: NDArray[np.int64]
    """Cell rows of each subset, increasing, shape (T, min(500, number of cells))."""
    correlations: NDArray[np.float64]
    """Pearson correlations within each subset, shape (T, k, k); NaN for a gene that does not vary."""
    n_samples: NDArray[np.int64]
    """Number of cells behind each correlation matrix, shape (T,)."""
    correlation: NDArray[np.float32]
    """Pearson correlations of all genes, shape (N, N); 0 where a gene does not vary."""
    mean_variance: NDArray[np.float32]
    """Mean and population variance of each gene, shape (N, 2)."""

    def subset_values(self, values: ArrayLike) -> Iterator[NDArray[np.floating]]:
        """Values of each subset, shape (cells of the subset, k), cut out of the sampled array one by one."""
        array = np.asarray(values)
        for cells, genes in zip(self.cells, self.genes, strict=True):
            yield array[np.ix_(cells, genes)]


def sample_arm(
    values: ArrayLike, n_subsets: int, rng: np.random.Generator, *, focus: int | None = None
) -> Sample:
    """Draw the gene subsets of one arm and its global statistics.

    The first half of the subsets (rounded up) is drawn by the random score, the others by the correlation
    score; both count the same earlier meetings. Each subset has min(500, cells) cells of its own, and the
    correlation score is computed on another such draw, made anew for each subset. Where no gene that is
    left correlates with those drawn, the random score draws. Global statistics are those of the cells of
    the last random-score subset.

    Parameters
    ----------
    values
        Expression of one arm, cells x genes, finite; used as float32.
    n_subsets
        Number of subsets T, at least 1.
    rng
        Source of all randomness: the same state gives the same sample.
    focus
        Column of a gene that is the first of every subset; None draws that one too.

    Returns
    -------
    The subsets (of 5 genes, or of all genes where there are fewer) and statistics.

    Raises
    ------
    ValueError
        On fewer than 2 genes or cells, values that are not finite, ``n_subsets < 1``, or a focus that is
        no column.

    References
    ----------
    Wu et al. (2025), arXiv 2410.03380; Wu et al. (2024), "Sample, estimate, aggregate".
    """
    array = np.asarray(values)
    if array.ndim != 2 or array.shape[0] < 2 or array.shape[1] < 2:
        raise ValueError(f"values must be cells x genes with at least 2 of each, got shape {array.shape}")
    if n_subsets < 1:
        raise ValueError(f"n_subsets must be at least 1, got {n_subsets}")
    n_cells, n_genes = array.shape
    if focus is not None and not 0 <= focus < n_genes:
        raise ValueError(f"focus must be a column from 0 to {n_genes - 1}, got {focus}")
    by_gene = _genes_in_rows(array)
    if not np.isfinite(by_gene).all():
        raise ValueError("values hold NaN or infinity")

    n_random = (n_subsets + 1) // 2
    n_drawn = min(SUBSET_CELLS, n_cells)
    genes = np.zeros((n_subsets, min(SUBSET_GENES, n_genes)), dtype=np.int64)
    cells = np.empty((n_subsets, n_drawn), dtype=np.int64)
    correlations = np.empty((n_subsets, *genes.shape[1:] * 2))
    met = np.zeros((n_genes, n_genes), dtype=np.int32)
    scratch = np.empty((n_genes, n_drawn), dtype=np.float32)
    first = -1 if focus is None else int(focus)
    for t in range(n_subsets):
        by_correlation = t >= n_random
        score_cells = _draw_cells(n_cells, rng) if by_correlation else np.empty(0, dtype=np.int64)
        _draw_genes(by_gene, score_cells, by_correlation, met, rng, scratch, first, genes[t])
        cells[t] = _draw_cells(n_cells, rng)
        _subset_correlation(by_gene, cells[t], genes[t], correlations[t])

    correlation, mean_variance = _statistics(by_gene, cells[n_random - 1])
    return Sample(genes, cells, correlations, np.full(n_subsets, n_drawn), correlation, mean_variance)


def global_statistics(values: ArrayLike) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Correlation of all genes, and mean and population variance of each, on the given cells.

    Parameters
    ----------
    values
        Cells x genes, shape (n, N).

    Returns
    -------
    correlation
        Pearson correlation, shape (N, N); 0, the diagonal included, where a gene does not vary.
    mean_variance
        Mean and population variance, shape (N, 2).
    """
    by_gene = _genes_in_rows(np.asarray(values))
    return _statistics(by_gene, np.arange(by_gene.shape[1]))


def _genes_in_rows(array: NDArray) -> NDArray[np.float32]:
    """Values (cells x genes) as float32, genes x cells; in one type, layout and writeability.

    Numba compiles anew for each other combination of these.
    """
    if array.T.flags.c_contiguous:
        return np.require(array.T, dtype=np.float32, requirements=["C", "W"])
    by_gene = np.empty(array.shape[::-1], dtype=np.float32)
    _transpose(np.require(array, dtype=np.float32, requirements=["C", "W"]), by_gene)
    return by_gene


@compiled
def _transpose(values, result):  # type: ignore[no-untyped-def]
    """Write the transpose of an array, square by square: a third faster than numpy's copy."""
    n_rows, n_columns = values.shape
    for row in range(0, n_rows, _SQUARE):
        for column in range(n_columns):
            for r in range(row, min(row + _SQUARE, n_rows)):
                result[column, r] = values[r, column]


def _statistics(
    by_gene: NDArray[np.float32], cells: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """As :func:`global_statistics`, of some cells; genes in rows."""
    precision = np.float64 if len(by_gene) <= _GENES_IN_DOUBLE_PRECISION else np.float32
    standardised = np.empty((len(by_gene), len(cells)), dtype=precision)
    mean_variance = np.empty((len(by_gene), 2))
    _standardise_all(by_gene, cells, standardised, mean_variance)
    correlation = (standardised @ standardised.T).astype(np.float32, copy=False)
    np.clip(correlation, -1, 1, out=correlation)
    np.fill_diagonal(correlation, mean_variance[:, 1] > 0)
    return correlation, mean_variance.astype(np.float32)


def _draw_cells(n_cells: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw min(500, n_cells) cells without replacement, in increasing order."""
    if n_cells <= SUBSET_CELLS:
        return np.arange(n_cells)
    return np.sort(rng.choice(n_cells, SUBSET_CELLS, replace=False, shuffle=False))


@compiled
def _draw_genes(by_gene, cells, by_correlation, met, rng, scratch, first, genes):  # type: ignore[no-untyped-def]
    """Draw the genes of one subset and count their meetings; `scratch` holds standardised genes.

    The first gene is given, or drawn if it is -1.
    """
    n_genes = by_gene.shape[0]
    state = np.zeros(n_genes, np.int8)  # of a gene in `scratch`: 0 not there yet, 1 there, 2 does not vary
    drawn = np.zeros(n_genes, np.bool_)
    for place in range(len(genes)):
        candidate = first if place == 0 else -1
        for _ in range(_REJECTIONS_PER_GENE * n_genes if candidate < 0 else 0):
            j = int(rng.random() * n_genes)
            i = int(rng.random() * n_genes) if place == 0 else genes[int(rng.random() * place)]
            if i == j or drawn[j]:
                continue
            score = _score(i, j, by_gene, cells, by_correlation, scratch, state)
            if rng.random() * np.sqrt(1.0 + met[i, j]) < score:
                candidate = j
                break
        if candidate < 0:
            candidate = _draw_enumerated(
                genes[:place], drawn, by_gene, cells, by_correlation, met, rng, scratch, state
            )
        genes[place] = candidate
        drawn[candidate] = True
    for i in genes:
        for j in genes:
            met[i, j] += 1


@compiled
def _draw_enumerated(chosen, drawn, by_gene, cells, by_correlation, met, rng, scratch, state):  # type: ignore[no-untyped-def]
    """Draw one gene by its enumerated probabilities; by the random score where all of them are 0."""
    n_genes = by_gene.shape[0]
    sources = chosen if len(chosen) else np.arange(n_genes)
    weights = np.zeros(n_genes)
    for use_correlation in (by_correlation, False):
        for j in range(n_genes):
            if not drawn[j]:
                for i in sources:
                    if i != j:
                        score = _score(i, j, by_gene, cells, use_correlation, scratch, state)
                        weights[j] += score / np.sqrt(1.0 + met[i, j])
        if weights.sum() > 0:
            break
    remaining = rng.random() * weights.sum()
    last = 0
    for j in range(n_genes):
        if weights[j] > 0:
            last = j
            remaining -= weights[j]
            if remaining < 0:
                break
    return last


@compiled
def _score(i, j, by_gene, cells, by_correlation, scratch, state):  # type: ignore[no-untyped-def]
    """Return the entry (i, j) of the score matrix: 1, or the absolute correlation on the given cells."""
    if not by_correlation:
        return 1.0
    for gene in (i, j):
        if state[gene] == 0:
            state[gene] = 1 if _standardise(by_gene[gene], cells, scratch[gene])[1] > 0 else 2
        if state[gene] == 2:
            return 0.0
    return min(abs(float(_inner_product(scratch[i], scratch[j], np.float32(0)))), 1.0)


@compiled_sums
def _inner_product(first, second, total):  # type: ignore[no-untyped-def]
    """Add the products of two lines to a total, in its precision."""
    for c in range(len(first)):
        total += first[c] * second[c]
    return total


@compiled
def _standardise_all(by_gene, cells, result, mean_variance):  # type: ignore[no-untyped-def]
    """Standardise every gene on the given cells, 0 where it does not vary; note means and variances."""
    for gene in range(len(by_gene)):
        mean, squares = _standardise(by_gene[gene], cells, result[gene])
        mean_variance[gene, 0], mean_variance[gene, 1] = mean, squares / len(cells)
        if squares == 0:
            result[gene] = 0


@compiled_sums
def _standardise(gene_values, cells, result):  # type: ignore[no-untyped-def]
    """Put the values in the given cells at mean 0 and length 1, unless they are all equal.

    Returns their mean, and the sum of squares about it: exactly 0 only where they are all equal.
    """
    n = len(cells)
    # about one of the values, which loses nothing where the mean is large against the spread, and gives 0
    # exactly where all are equal
    first = np.float64(gene_values[cells[0]])
    total, squares = 0.0, 0.0
    for c in range(n):
        value = np.float64(gene_values[cells[c]]) - first
        result[c] = gene_values[cells[c]]
        total += value
        squares += value * value
    mean = first + total / n
    if squares > 0:
        squares -= total * total / n
        scale = 1 / np.sqrt(squares)
        for c in range(n):
            result[c] = (result[c] - mean) * scale
    return mean, squares


@compiled
def _subset_correlation(by_gene, cells, genes, result):  # type: ignore[no-untyped-def]
    """Pearson correlation of a few genes on the given cells, NaN for a gene that does not vary."""
    k = len(genes)
    standardised = np.empty((k, len(cells)))
    for i in range(k):
        if _standardise(by_gene[genes[i]], cells, standardised[i])[1] == 0:
            standardised[i] = np.nan
        for j in range(i + 1):
            total = _inner_product(standardised[i], standardised[j], 0.0)
            result[i, j] = result[j, i] = min(max(total, -1.0), 1.0) if i != j else total
        if not np.isnan(result[i, i]):
            result[i, i] = 1.0


@compiled
def subset_correlations(by_gene, cells, genes, result):  # type: ignore[no-untyped-def]
    """Pearson correlations within each of T subsets, NaN for a gene that does not vary.

    Takes genes x cells (float32), cells (T, n) and genes (T, k) of the subsets, and writes (T, k, k).
    """
    for t in range(len(genes)):
        _subset_correlation(by_gene, cells[t], genes[t], result[t])
