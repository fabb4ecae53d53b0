"""Statistics of the two arms that the gene transformer reads (numpy and numba; no torch, no AnnData)."""

from cdn_sc.features.control import ControlSummary, summarize_control
from cdn_sc.features.genes import (
    EDGE_FEATURES,
    FEATURES,
    MIXING_MATRICES,
    GeneInputs,
    gene_inputs,
    withhold_others,
)

__all__ = [
    "EDGE_FEATURES",
    "FEATURES",
    "MIXING_MATRICES",
    "ControlSummary",
    "GeneInputs",
    "gene_inputs",
    "summarize_control",
    "withhold_others",
]
