"""Transformations that bring statistics of any size into a range that a network reads well."""

from collections.abc import Mapping

import numpy as np

from cdn_sc._compile import compiled

# Magnitudes this close, as a share of their size where that is above 1, are equal but for rounding
TIE = 3e-5


def squash(z: np.ndarray) -> np.ndarray:
    """Compress statistics of any size: sign(z) log(1 + |z|)."""
    return np.sign(z) * np.log1p(np.abs(z))


def rank_features(magnitudes: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Descending ranks among the genes as -log2(rank) / 4: 0 for the first, about -2.5 for the 1000th.

    Values that are equal but for rounding share their mean rank, so that the order of genes does not matter.
    All at once, since most of the time of one goes into the call.
    """
    falling = -np.stack(list(magnitudes.values()), dtype=np.float64)
    ranks = _average_ranks(falling, np.argsort(falling, axis=1), TIE)
    return dict(zip(magnitudes, -np.log2(ranks) / 4.0, strict=True))


@compiled
def _average_ranks(values, order, tie):  # type: ignore[no-untyped-def]
    """Ascending ranks of each row from 1, values within `tie` of the first of a run sharing their mean.

    Takes the order of each row as well, since numba needs seconds to compile a sort of its own.
    """
    ranks = np.empty(values.shape)
    for row in range(values.shape[0]):
        first = 0
        while first < values.shape[1]:
            last = first
            while last + 1 < values.shape[1] and abs(
                values[row, order[row, last + 1]] - values[row, order[row, first]]
            ) <= tie * max(abs(values[row, order[row, first]]), 1.0):
                last += 1
            for place in range(first, last + 1):
                ranks[row, order[row, place]] = 0.5 * (first + last) + 1.0
            first = last + 1
    return ranks
