"""Data: a simulated screen to try the package on, and the published data sets."""

from cdn_sc.datasets._pairs import PublishedPairs
from cdn_sc.datasets._published import perturbseq, sciplex
from cdn_sc.datasets._simulated import simulated_screen
from cdn_sc.datasets._splits import splits
from cdn_sc.datasets._synthetic import synthetic

__all__ = ["PublishedPairs", "perturbseq", "sciplex", "simulated_screen", "splits", "synthetic"]


def __dir__() -> list[str]:
    return sorted(__all__)
