"""Which genes were hit? Perturbation targets from single-cell data with causal differential networks.

The public namespaces load when they are first used, so that `import cdn_sc` stays quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

import cdn_sc._fork  # noqa: F401, only what is there before a fork hears of it
from cdn_sc.settings import settings

if TYPE_CHECKING:
    from cdn_sc import datasets, get, metrics, models, pl, simulate, tl

    __version__: str

_NAMESPACES = ("tl", "pl", "get", "datasets", "metrics", "simulate", "models")

__all__ = [
    "__version__",
    "datasets",
    "get",
    "metrics",
    "models",
    "pl",
    "settings",
    "simulate",
    "tl",
]


def __getattr__(name: str) -> Any:
    if name in _NAMESPACES:
        return import_module(f"cdn_sc.{name}")
    if name == "__version__":
        from importlib.metadata import version

        return version("cdn-sc")
    raise AttributeError(f"module 'cdn_sc' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
