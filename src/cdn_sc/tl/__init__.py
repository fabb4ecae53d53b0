"""Tools: predict perturbation targets, and hand the results on."""

from cdn_sc.tl._predict_targets import predict_targets
from cdn_sc.tl._to_rank_genes_groups import to_rank_genes_groups

__all__ = ["predict_targets", "to_rank_genes_groups"]


def __dir__() -> list[str]:
    return sorted(__all__)
