"""Transformations that bring statistics of any size into a range that a network reads well."""

import numpy as np
from scipy.stats import rankdata


def squash(z: np.ndarray) -> np.ndarray:
    """Compress statistics of any size: sign(z) log(1 + |z|)."""
    return np.sign(z) * np.log1p(np.abs(z))


def rank_feature(magnitude: np.ndarray) -> np.ndarray:
    """Descending rank among the genes as -log2(rank) / 4: 0 for the first, about -2.5 for the 1000th.

    Equal values share their mean rank, so that the order of genes does not matter.
    """
    return -np.log2(rankdata(-magnitude)) / 4.0
