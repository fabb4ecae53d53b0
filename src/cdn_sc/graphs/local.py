"""The local causal edges of one gene in two arms: how often each was seen, and how often by chance."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cdn_sc.graphs.fci import fci_graphs
from cdn_sc.graphs.sample import SUBSET_CELLS, sample_arm, subset_correlations
from cdn_sc.graphs.tokens import EDGES, NO_EDGE, tokens_of_marks


@dataclass(frozen=True)
class LocalEdges:
    """Edges between one gene and M others, counted over gene subsets."""

    neighbours: NDArray[np.int64]
    """Columns of the other genes that shared at least one subset with the gene, increasing, shape (M,)."""
    subsets: NDArray[np.int64]
    """In how many subsets each of them did, shape (M,)."""
    seen: NDArray[np.int64]
    """How often each edge was seen, shape (2, M, 8): arms (control, perturbed), others, edge tokens.

    The tokens are those of :func:`cdn_sc.graphs.edge_tokens`, with the gene as the first of the pair.
    """
    chance: NDArray[np.float64]
    """Share of the shuffles that gave at least the difference between the arms, shape (M,).

    The difference is that of the shares of subsets with an edge. NaN without shuffles.
    """


@dataclass(frozen=True)
class _Subsets:
    """Subsets of genes with the gene first, shape (T, 5), and how many cells of an arm each is given."""

    genes: NDArray[np.int64]
    n_cells: int
    alpha: float


def local_edges(
    control: ArrayLike,
    perturbed: ArrayLike,
    gene: int,
    *,
    n_subsets: int,
    n_shuffles: int,
    rng: np.random.Generator,
    alpha: float = 0.05,
) -> LocalEdges:
    """Sample gene subsets that hold one gene, and estimate the causal graph of each in both arms by FCI.

    One half of the subsets is drawn by the law of the control arm, the other by that of the perturbed arm,
    see :func:`cdn_sc.graphs.sample_arm`. Each is estimated in both arms, on equally many cells: otherwise
    the arm with more cells would show more edges for that alone. The same is done with shuffled labels of the
    cells, each gene standardised within its arm before, so that a shift of means is no correlation.

    Parameters
    ----------
    control, perturbed
        Values of the two arms, cells x genes, finite, at least 2 of each; used as float32.
    gene
        Column of the gene.
    n_subsets
        Number of subsets, at least 2.
    n_shuffles
        How often to shuffle the labels; 0 for never.
    rng
        Source of all randomness.
    alpha
        Level of the independence tests (Fisher's z).

    Returns
    -------
    The edges of the gene. Subsets whose graph cannot be estimated in both arms do not count.

    Raises
    ------
    ValueError
        On bad shapes, values that are not finite, or fewer than 2 subsets.
    """
    if n_subsets < 2:
        raise ValueError(f"n_subsets must be at least 2, one for each arm, got {n_subsets}")
    arms = [np.asarray(control), np.asarray(perturbed)]
    numbers = (n_subsets - n_subsets // 2, n_subsets // 2)
    genes = [
        sample_arm(arm, number, rng, focus=gene).genes for arm, number in zip(arms, numbers, strict=True)
    ]
    subsets = _Subsets(np.concatenate(genes), min(SUBSET_CELLS, *map(len, arms)), alpha)
    # Standardised, an arm has the same correlations.
    pooled = np.concatenate([_standardised(arm) for arm in arms]).T
    by_gene = np.require(pooled, dtype=np.float32, requirements=["C", "W"])
    order = np.arange(by_gene.shape[1])
    neighbours, together, seen = _count(by_gene, order[: len(arms[0])], order[len(arms[0]) :], subsets, rng)
    difference = np.abs(_difference(seen, together))
    as_large = np.zeros(len(neighbours))
    for _ in range(n_shuffles):
        order = rng.permutation(order)
        found, met, counted = _count(by_gene, order[: len(arms[0])], order[len(arms[0]) :], subsets, rng)
        shuffled = np.zeros(len(neighbours))
        _, here, there = np.intersect1d(neighbours, found, assume_unique=True, return_indices=True)
        shuffled[here] = np.abs(_difference(counted, met))[there]
        as_large += shuffled >= difference
    # The labels as they are count as one of the shuffles: a share of 0 would claim more than was looked at.
    chance = (1 + as_large) / (1 + n_shuffles) if n_shuffles else np.full(len(neighbours), np.nan)
    return LocalEdges(neighbours, together, seen, chance)


def _standardised(values: NDArray) -> NDArray[np.float64]:
    centred = values - values.mean(axis=0, dtype=np.float64)
    centred[:, (values == values[:1]).all(axis=0)] = 0
    deviation = centred.std(axis=0)
    return centred / np.where(deviation > 0, deviation, 1)


def _count(
    by_gene: NDArray[np.float32],
    control: NDArray[np.int64],
    perturbed: NDArray[np.int64],
    subsets: _Subsets,
    rng: np.random.Generator,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Neighbours, in how many subsets each was, and how often each edge was seen in each arm."""
    tokens, succeeded = [], np.ones(len(subsets.genes), dtype=bool)
    for cells in (control, perturbed):
        drawn = _draw_cells(cells, subsets, rng)
        correlations = np.empty((*subsets.genes.shape, subsets.genes.shape[1]))
        subset_correlations(by_gene, drawn, subsets.genes, correlations)
        graphs, worked = fci_graphs(correlations, subsets.n_cells, subsets.alpha, undefined="independent")
        tokens.append(tokens_of_marks(graphs[:, 0, 1:], graphs[:, 1:, 0]))
        succeeded &= worked
    neighbours, place = np.unique(subsets.genes[succeeded, 1:], return_inverse=True)
    seen = np.zeros((2, len(neighbours), len(EDGES)), dtype=np.int64)
    for arm_seen, arm_tokens in zip(seen, tokens, strict=True):
        np.add.at(arm_seen, (place.ravel(), arm_tokens[succeeded].ravel()), 1)
    return neighbours, seen[0].sum(axis=1), seen


def _draw_cells(cells: NDArray[np.int64], subsets: _Subsets, rng: np.random.Generator) -> NDArray[np.int64]:
    """Cells of each subset, shape (T, number of cells)."""
    if len(cells) == subsets.n_cells:
        return np.tile(np.sort(cells), (len(subsets.genes), 1))
    return np.stack([rng.choice(cells, subsets.n_cells, replace=False) for _ in subsets.genes])


def _difference(seen: NDArray[np.int64], subsets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Share of subsets with an edge, perturbed less control."""
    with_edge = seen[:, :, NO_EDGE + 1 :].sum(axis=2)
    return (with_edge[1] - with_edge[0]) / subsets
