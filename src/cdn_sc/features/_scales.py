"""Transformations that bring statistics of any size into a range that a network reads well."""

import numpy as np


def squash(z: np.ndarray) -> np.ndarray:
    """Compress statistics of any size: sign(z) log(1 + |z|)."""
    return np.sign(z) * np.log1p(np.abs(z))


def rank_feature(magnitude: np.ndarray) -> np.ndarray:
    """Descending rank among the genes as -log2(rank) / 4: 0 for the first, about -2.5 for the 1000th."""
    rank = np.empty(magnitude.size)
    rank[np.argsort(-magnitude, kind="stable")] = np.arange(1, magnitude.size + 1)
    return -np.log2(rank) / 4.0
