"""Plots of results."""

from cdn_sc.pl._evaluation import evaluation
from cdn_sc.pl._graph_difference import graph_difference
from cdn_sc.pl._predicted_targets import predicted_targets
from cdn_sc.pl._score_vs_effect import score_vs_effect
from cdn_sc.pl._target_heatmap import target_heatmap

__all__ = [
    "evaluation",
    "graph_difference",
    "predicted_targets",
    "score_vs_effect",
    "target_heatmap",
]


def __dir__() -> list[str]:
    return sorted(__all__)
