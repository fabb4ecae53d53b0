"""Statistics of the two arms that the gene transformer reads (no AnnData).

What is linear in the genes comes from compiled loops over the cells of a group; what relates all genes to all
is products of matrices for many groups at once, on any device.
"""

from cdn_sc.features.control import ControlSummary, summarize_control
from cdn_sc.features.genes import (
    EDGE_FEATURES,
    FEATURES,
    N_OWN_FEATURES,
    GeneInputs,
    gene_inputs,
    inputs_of_groups,
)
from cdn_sc.features.statistics import GroupStatistics, group_statistics

__all__ = [
    "EDGE_FEATURES",
    "FEATURES",
    "N_OWN_FEATURES",
    "ControlSummary",
    "GeneInputs",
    "GroupStatistics",
    "gene_inputs",
    "group_statistics",
    "inputs_of_groups",
    "summarize_control",
]
