"""Transformations that bring statistics of any size into a range that a network reads well."""

from collections.abc import Mapping

import numpy as np
from scipy.stats import rankdata


def squash(z: np.ndarray) -> np.ndarray:
    """Compress statistics of any size: sign(z) log(1 + |z|)."""
    return np.sign(z) * np.log1p(np.abs(z))


def rank_features(magnitudes: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Descending ranks among the genes as -log2(rank) / 4: 0 for the first, about -2.5 for the 1000th.

    Equal values share their mean rank, so that the order of genes does not matter. All at once, since most of
    the time of one goes into the call.
    """
    ranks = rankdata(-np.stack(list(magnitudes.values())), axis=1)
    return dict(zip(magnitudes, -np.log2(ranks) / 4.0, strict=True))
