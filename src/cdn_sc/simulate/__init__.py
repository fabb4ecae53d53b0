"""Simulated data with known targets: structural causal models and single-cell screens."""

from cdn_sc.simulate.pair import Pair
from cdn_sc.simulate.scm import scm240, scm_dataset, scm_pair
from cdn_sc.simulate.screen import screen, screen_pairs

__all__ = ["Pair", "scm240", "scm_dataset", "scm_pair", "screen", "screen_pairs"]


def __dir__() -> list[str]:
    return sorted(__all__)
