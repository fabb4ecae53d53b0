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
from scipy.linalg import get_blas_funcs

from cdn_sc._compile import compiled, compiled_sums

SUBSET_GENES = 5
SUBSET_CELLS = 500
# A gene draw that rejected this many candidates per gene enumerates the probabilities instead.
_REJECTIONS_PER_GENE = 20
# Correlations, means and variances of all genes come from deviations in double precision up to this number of
# genes, where that costs next to nothing; beyond, in single precision: off by some 1e-7, in half the time.
_GENES_IN_DOUBLE_PRECISION = 256
# Subsets whose members are noted in one number, a bit each; the sign is left alone.
_SUBSETS_A_WORD = 63
# Rows that are transposed together: as many as a vector register of 256 bits holds.
_ROWS_TOGETHER = 8
# Sums of squares about a value beyond which deviations are not left to single precision.
_SMALL_SQUARE, _LARGE_SQUARE = 1e-60, 1e60


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
    if not _all_finite(by_gene.reshape(-1)):
        raise ValueError("values hold NaN or infinity")

    n_random = (n_subsets + 1) // 2
    n_drawn = min(SUBSET_CELLS, n_cells)
    genes = np.zeros((n_subsets, min(SUBSET_GENES, n_genes)), dtype=np.int64)
    cells = np.empty((n_subsets, n_drawn), dtype=np.int64)
    correlations = np.empty((n_subsets, *genes.shape[1:] * 2))
    first = -1 if focus is None else int(focus)
    _draw_subsets(by_gene, n_random, first, rng, genes, cells, correlations)
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
    """Write the transpose of an array, some rows at a time: in half the time of numpy's copy."""
    n_rows, n_columns = values.shape
    whole = n_rows - n_rows % _ROWS_TOGETHER
    for row in range(0, whole, _ROWS_TOGETHER):
        for column in range(n_columns):
            for r in range(_ROWS_TOGETHER):
                result[column, row + r] = values[row + r, column]
    for row in range(whole, n_rows):
        for column in range(n_columns):
            result[column, row] = values[row, column]


@compiled_sums
def _all_finite(line):  # type: ignore[no-untyped-def]
    """Whether no value is NaN or infinite, of which zero times the value is NaN."""
    total = np.float32(0)
    for i in range(len(line)):
        total += np.float32(0) * line[i]
    return total == 0


def _statistics(
    by_gene: NDArray[np.float32], cells: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """As :func:`global_statistics`, of some cells; genes in rows."""
    precision = np.float64 if len(by_gene) <= _GENES_IN_DOUBLE_PRECISION else np.float32
    standardised = np.empty((len(by_gene), len(cells)), dtype=precision)
    mean_variance = np.empty((len(by_gene), 2))
    _standardise_all(by_gene, cells, standardised, mean_variance)
    (products,) = get_blas_funcs(("syrk",), (standardised,))
    correlation = products(1.0, standardised.T, trans=1).T.astype(np.float32, copy=False)  # lower triangle
    _complete(correlation, mean_variance[:, 1] > 0)
    return correlation, mean_variance.astype(np.float32)


@compiled
def _complete(correlation, varies):  # type: ignore[no-untyped-def]
    """Make a matrix of correlations of its lower triangle, which rounding may have brought above 1.

    Mirrored in blocks: in a third of the time of numpy, which does it value by value.
    """
    one = np.float32(1)
    for row in range(0, len(correlation), _ROWS_TOGETHER):
        end = min(row + _ROWS_TOGETHER, len(correlation))
        for r in range(row, end):
            correlation[r, r] = varies[r]
            for column in range(r):
                correlation[r, column] = min(max(correlation[r, column], -one), one)
        for column in range(row):
            if end - row == _ROWS_TOGETHER:
                for r in range(_ROWS_TOGETHER):
                    correlation[column, row + r] = correlation[row + r, column]
            else:
                for r in range(row, end):
                    correlation[column, r] = correlation[r, column]
        for r in range(row, end):
            for column in range(row, r):
                correlation[column, r] = correlation[r, column]


@compiled
def _draw_subsets(by_gene, n_random, first, rng, genes, cells, correlations):  # type: ignore[no-untyped-def]
    """Draw genes and cells of T subsets, the first `n_random` by the random score, and correlate them.

    Writes genes (T, k), cells (T, n) and correlations (T, k, k).
    """
    n_cells, n_drawn = by_gene.shape[1], cells.shape[1]
    marked = np.empty(n_cells, np.bool_)
    score_cells = np.empty(n_drawn, np.int64)
    scratch = np.empty((len(by_gene), n_drawn), np.float32)
    membership = np.zeros((len(by_gene), 1 + len(genes) // _SUBSETS_A_WORD), np.int64)
    for t in range(len(genes)):
        if t >= n_random:
            _draw_cells(n_cells, rng, marked, score_cells)
        _draw_genes(by_gene, score_cells, t >= n_random, membership, rng, scratch, first, genes[t])
        for gene in genes[t]:
            membership[gene, t // _SUBSETS_A_WORD] |= 1 << (t % _SUBSETS_A_WORD)
        _draw_cells(n_cells, rng, marked, cells[t])
        _subset_correlation(by_gene, cells[t], genes[t], correlations[t])


@compiled
def _draw_cells(n_cells, rng, marked, cells):  # type: ignore[no-untyped-def]
    """Draw some of the cells without replacement, in increasing order; `marked` has room for all cells.

    Marks those to draw, or those to leave where they are fewer.
    """
    n_drawn = len(cells)
    leave = 2 * n_drawn > n_cells
    wanted = n_cells - n_drawn if leave else n_drawn
    marked[:] = False
    while wanted > 0:
        cell = int(rng.random() * n_cells)
        wanted -= not marked[cell]
        marked[cell] = True
    cell = place = 0
    while place < n_drawn:  # written at each step and kept at some: a branch would be mispredicted often
        cells[place] = cell
        place += marked[cell] != leave
        cell += 1


@compiled
def _draw_genes(by_gene, cells, by_correlation, membership, rng, scratch, first, genes):  # type: ignore[no-untyped-def]
    """Draw the genes of one subset; the first is given, or drawn if it is -1.

    `scratch` holds standardised genes, `membership` in which earlier subsets a gene was, a bit for each.
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
            if rng.random() * np.sqrt(1.0 + _meetings(membership[i], membership[j])) < score:
                candidate = j
                break
        if candidate < 0:
            candidate = _draw_enumerated(
                genes[:place], drawn, by_gene, cells, by_correlation, membership, rng, scratch, state
            )
        genes[place] = candidate
        drawn[candidate] = True


@compiled
def _meetings(first, second):  # type: ignore[no-untyped-def]
    """How many subsets held both of two genes."""
    count = 0
    for word in range(len(first)):
        shared = first[word] & second[word]
        while shared:
            shared &= shared - 1  # the lowest bit goes
            count += 1
    return count


@compiled
def _draw_enumerated(chosen, drawn, by_gene, cells, by_correlation, membership, rng, scratch, state):  # type: ignore[no-untyped-def]
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
                        weights[j] += score / np.sqrt(1.0 + _meetings(membership[i], membership[j]))
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
    n, precision = len(cells), result.dtype.type
    # about one of the values, which loses nothing where the mean is large against the spread, and gives 0
    # exactly where all are equal
    first = gene_values[cells[0]]
    for c in range(n):
        result[c] = precision(gene_values[cells[c]]) - precision(first)
    total, squares = 0.0, 0.0
    for c in range(n):
        value = np.float64(result[c])
        total += value
        squares += value * value
    if squares == 0:
        return np.float64(first), squares
    if not _SMALL_SQUARE < squares < _LARGE_SQUARE:
        return _standardise_extreme(gene_values, cells, result)
    offset = total / n
    squares -= total * offset
    centre, scale = precision(offset), precision(1 / np.sqrt(squares))
    for c in range(n):
        result[c] = (result[c] - centre) * scale
    return np.float64(first) + offset, squares


@compiled
def _standardise_extreme(gene_values, cells, result):  # type: ignore[no-untyped-def]
    """As `_standardise`, of values so small or large that single precision cannot hold what it needs."""
    n, first = len(cells), np.float64(gene_values[cells[0]])
    total, squares = 0.0, 0.0
    for c in range(n):
        value = np.float64(gene_values[cells[c]]) - first
        total += value
        squares += value * value
    squares -= total * total / n
    for c in range(n):
        result[c] = (np.float64(gene_values[cells[c]]) - first - total / n) / np.sqrt(squares)
    return first + total / n, squares


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
