"""Groups with the same target are not parted by the split, although it is none of the candidates."""

import numpy as np

from cdn_sc.tl._fine_tune import _split
from cdn_sc.tl._screen_pairs import TrainingGroup


def test_targets_that_are_no_candidates_count() -> None:
    rng = np.random.default_rng(0)
    nothing = np.zeros(0, dtype=int)
    groups = [
        TrainingGroup(
            f"g{i}", np.arange(10), np.arange(20), nothing, np.array([25 + i // 2]), rng.normal(size=30)
        )
        for i in range(12)
    ]
    for seed in range(10):
        chosen = _split(groups, 0.3, None, np.random.default_rng(seed))
        np.testing.assert_array_equal(chosen[::2], chosen[1::2])
