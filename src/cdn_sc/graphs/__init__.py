"""Sample and estimate: from the cells of one arm to what the network reads about it."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cdn_sc.graphs.arm import ArmInputs, arm_inputs
    from cdn_sc.graphs.fci import fci_graphs
    from cdn_sc.graphs.sample import Sample, global_statistics, sample_arm
    from cdn_sc.graphs.tokens import edge_tokens

_HOMES = {
    "ArmInputs": "arm",
    "Sample": "sample",
    "arm_inputs": "arm",
    "edge_tokens": "tokens",
    "fci_graphs": "fci",
    "global_statistics": "sample",
    "sample_arm": "sample",
}

__all__ = [
    "ArmInputs",
    "Sample",
    "arm_inputs",
    "edge_tokens",
    "fci_graphs",
    "global_statistics",
    "sample_arm",
]


def __getattr__(name: str) -> Any:
    # numba takes half a second to import; the edge tokens alone do not need it.
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
