"""Weights: names, files, loading.

`load` gives a network by name or path, `save` writes one, `available` lists the names, `build_network` makes
one with fresh weights.
"""

from cdn_sc.models.errors import WeightsDownloadError, WeightsError
from cdn_sc.models.files import build_network, save
from cdn_sc.models.loading import load
from cdn_sc.models.registry import available

__all__ = ["WeightsDownloadError", "WeightsError", "available", "build_network", "load", "save"]


def __dir__() -> list[str]:
    return sorted(__all__)
