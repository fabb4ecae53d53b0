"""Tools: predict perturbation targets, fine-tune models on known ones, and hand the results on."""

from cdn_sc.tl._fine_tune import fine_tune
from cdn_sc.tl._predict_targets import predict_targets
from cdn_sc.tl._relations_from_screen import relations_from_screen
from cdn_sc.tl._to_rank_genes_groups import to_rank_genes_groups

__all__ = ["fine_tune", "predict_targets", "relations_from_screen", "to_rank_genes_groups"]


def __dir__() -> list[str]:
    return sorted(__all__)
