"""Inputs of the gene transformer: each gene's change, what the others say of it, and its neighbours."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cdn_sc.features._deconvolution import DECONVOLUTION_FEATURES, deconvolution_features
from cdn_sc.features._others import OTHERS_FEATURES, Relations, others_features
from cdn_sc.features._own import OWN_FEATURES, own_features
from cdn_sc.features._scales import squash
from cdn_sc.features.control import N_NEIGHBOURS, ControlSummary
from cdn_sc.features.statistics import Comparison, GroupStatistics, compare, group_statistics

__all__ = [
    "EDGE_FEATURES",
    "FEATURES",
    "N_NEIGHBOURS",
    "GeneInputs",
    "gene_inputs",
    "inputs_of_groups",
    "withhold_others",
]

CONTEXT_FEATURES = (
    "log_control_cells", "log_all_control_cells", "log_perturbed_cells", "log_genes", "overall_change",
    "has_zeros", "others_known",
)  # fmt: skip
FEATURES = OWN_FEATURES + OTHERS_FEATURES + CONTEXT_FEATURES + DECONVOLUTION_FEATURES
EDGE_FEATURES = (
    "partial", "correlation", "regression_on", "regression_of", "correlation_change", "regression_change",
    "reverse_change", "neighbour_change", "neighbour_residual",
)  # fmt: skip
# Correlations of the control cells sharpen with all of them, up to as many as training sees
MAX_RELATION_CELLS = 20000
# Features and edge features are cut off here
LIMIT = 12


@dataclass(frozen=True)
class GeneInputs:
    """What the gene transformer reads of some groups, on the control arm's device.

    Parameters
    ----------
    features
        Groups x genes x ``len(FEATURES)``, float32, within [-12, 12].
    neighbours
        Genes x neighbours, int64: indices of the genes with the largest absolute correlation or partial
        correlation, at most ``N_NEIGHBOURS``, ascending; -1 behind them where a gene has fewer.
    edges
        Groups x genes x neighbours x ``len(EDGE_FEATURES)``, float32: what is known of each such pair.
    """

    features: Tensor
    neighbours: Tensor
    edges: Tensor


def gene_inputs(control: ControlSummary, *groups: np.ndarray) -> GeneInputs:
    """Compare groups of perturbed cells with the control arm, gene by gene and through correlations of genes.

    Parameters
    ----------
    control
        From :func:`cdn_sc.features.summarize_control`, same genes in the same order.
    groups
        Perturbed cells x genes of each group, float32, finite, at least 2 cells.

    Raises
    ------
    ValueError
        If there are fewer than 2 perturbed cells, or other genes than in the control arm.
    """
    return inputs_of_groups(control, [group_statistics(control, values) for values in groups])


def inputs_of_groups(control: ControlSummary, groups: Sequence[GroupStatistics]) -> GeneInputs:
    """The inputs of groups from their statistics: matrix products for all of them at a time."""
    comparison = compare(control, groups)
    own, change = own_features(comparison)
    others, relations = others_features(comparison, change)
    columns = own | others | _context_features(comparison, change)
    columns |= deconvolution_features(comparison, change)
    features = torch.stack([columns[name] for name in FEATURES], dim=-1)
    edges = _edges(comparison, relations, change)
    return GeneInputs(features.clamp_(-LIMIT, LIMIT), control.neighbours, edges.clamp_(-LIMIT, LIMIT))


def withhold_others(features: Tensor) -> Tensor:
    """The same features without what the other genes say about each gene: 0, and ``others_known`` says so.

    Parameters
    ----------
    features
        (..., ``len(FEATURES)``), of :class:`GeneInputs`; not changed.
    """
    return features * _OWN_ALONE.to(features.device)


_WITHHELD = {*OTHERS_FEATURES, *DECONVOLUTION_FEATURES, "others_known"}
_OWN_ALONE = torch.tensor(
    [float(name not in _WITHHELD) for name in FEATURES], dtype=torch.float32, device="cpu"
)


def _context_features(comparison: Comparison, change: Tensor) -> dict[str, Tensor]:
    """What is the same for all genes of a comparison."""
    control = comparison.control
    has_zeros = float(np.mean(control.detection) < 0.999)
    context = {
        "log_control_cells": np.log10(comparison.capped_control) - 3.0,
        "log_all_control_cells": np.log10(min(control.n_relation_cells, MAX_RELATION_CELLS)) - 3.0,
        "log_perturbed_cells": torch.log10(comparison.capped_perturbed) - 2.0,
        "log_genes": np.log10(control.n_genes) - 2.0,
        "overall_change": torch.log1p((change**2).mean(dim=1, keepdim=True)),
        "has_zeros": has_zeros,
        "others_known": 1.0,
    }
    return {
        name: torch.as_tensor(value, dtype=torch.float32, device=change.device).expand(change.shape)
        for name, value in context.items()
    }


def _edges(comparison: Comparison, relations: Relations, change: Tensor) -> Tensor:
    """What is known of each gene and its strongest (partial) correlations in the control arm."""
    control = comparison.control
    there = control.neighbours.clamp_min(0)
    scales = torch.tensor([4.0, 2.0, 2.0, 2.0], dtype=torch.float32, device=change.device)
    edges = torch.cat(
        [
            (control.edges * scales).expand(len(change), -1, -1, -1),
            squash(
                torch.stack(
                    [
                        relations.correlation_change,
                        relations.regression_change,
                        relations.reverse_change,
                        change[:, there],
                        relations.residual[1][:, there],
                    ],
                    dim=-1,
                )
            ),
        ],
        dim=-1,
    )
    return edges * (control.neighbours >= 0)[..., None]
