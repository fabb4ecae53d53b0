"""What the network reads about one arm: sample, estimate, tokens in one call."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cdn_sc._logging import logger
from cdn_sc.graphs.estimate import estimate
from cdn_sc.graphs.sample import Sample, sample_arm
from cdn_sc.graphs.tokens import edge_tokens


@dataclass(frozen=True)
class ArmInputs:
    """Inputs of the network for one arm: T subsets, K ordered gene pairs, N genes."""

    tokens: NDArray[np.int8]
    """Edge tokens, shape (T, K), 0 where a subset does not hold the pair."""
    pairs: NDArray[np.int64]
    """Ordered gene pairs, 1-based, sorted, shape (K, 2)."""
    correlation: NDArray[np.float32]
    """Pearson correlation of all genes, shape (N, N), 0 where undefined."""
    mean_variance: NDArray[np.float32]
    """Mean and population variance of each gene, shape (N, 2)."""


def arm_inputs(
    values: ArrayLike,
    *,
    n_subsets: int = 50,
    rng: np.random.Generator,
    estimator: str = "fci",
    test: str = "fisherz",
    alpha: float = 0.05,
) -> ArmInputs:
    """Sample gene subsets of one arm, estimate their local causal graphs, and write both for the network.

    A gene that does not vary in the cells of a subset has no edges there. Subsets whose graph cannot be
    estimated (singular correlations, as with duplicated genes, or fewer than 6 cells) are dropped; should
    that leave none, the first subset stays with no edges, so that the network can still go by the
    statistics, and a warning is logged.

    Parameters
    ----------
    values
        Expression of the arm's cells, cells x genes, finite, at least 2 of each; used as float32.
    n_subsets
        Number of gene subsets T, at least 1.
    rng
        Source of all randomness: the same state gives the same inputs.
    estimator, test, alpha
        As in :func:`cdn_sc.graphs.estimate.estimate`.

    Raises
    ------
    ValueError
        On bad shapes, values that are not finite, ``n_subsets < 1``, an unknown estimator or test.
    """
    sample = sample_arm(values, n_subsets, rng)
    graphs, succeeded = estimate(
        sample.subset_values(values),
        correlations=sample.correlations,
        n_samples=sample.n_samples,
        estimator=estimator,
        test=test,
        alpha=alpha,
        rng=rng,
    )
    return inputs_from_graphs(sample, graphs, succeeded)


def inputs_from_graphs(
    sample: Sample, graphs: NDArray[np.integer], succeeded: NDArray[np.bool_]
) -> ArmInputs:
    """Put a sample and the graphs of its subsets together, dropping the subsets that failed.

    If all failed, the first subset stays with no edges and a warning is logged.
    """
    if not succeeded.any():
        logger.warning(
            "none of the %d gene subsets has a causal graph (singular correlations or too few cells); "
            "going on without edges",
            len(succeeded),
        )
        graphs = np.zeros_like(graphs)
        succeeded = np.arange(len(succeeded)) == 0
    tokens, pairs = edge_tokens(sample.genes, graphs, succeeded)
    return ArmInputs(tokens, pairs, sample.correlation, sample.mean_variance)
