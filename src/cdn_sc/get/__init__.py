"""Get results as tidy tables."""

from cdn_sc.get._graph_difference import graph_difference
from cdn_sc.get._predicted_targets_df import predicted_targets_df

__all__ = ["graph_difference", "predicted_targets_df"]


def __dir__() -> list[str]:
    return sorted(__all__)
