"""Data to try the package on."""

from cdn_sc.datasets._simulated import simulated_screen

__all__ = ["simulated_screen"]


def __dir__() -> list[str]:
    return sorted(__all__)
