"""Inputs of the gene transformer: each gene's change, what the others say of it, and its neighbours."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cdn_sc._known_relations import KnownRelations
from cdn_sc.features._deconvolution import DECONVOLUTION_FEATURES, deconvolution_features
from cdn_sc.features._known import (
    KNOWN_EDGE_FEATURES,
    KNOWN_FEATURES,
    KnownWeights,
    known_edges,
    known_features,
    no_known_features,
    weigh_relations,
)
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
]

CONTEXT_FEATURES = (
    "log_control_cells", "log_all_control_cells", "log_perturbed_cells", "log_genes", "overall_change",
    "has_zeros",
)  # fmt: skip
# What a gene's own values say comes first: a part of the network reads that alone.
FEATURES = OWN_FEATURES + CONTEXT_FEATURES + OTHERS_FEATURES + DECONVOLUTION_FEATURES + KNOWN_FEATURES
N_OWN_FEATURES = len(OWN_FEATURES + CONTEXT_FEATURES)
EDGE_FEATURES = (
    "partial", "correlation", "regression_on", "regression_of", "correlation_change", "regression_change",
    "reverse_change", "neighbour_change", "neighbour_residual", *KNOWN_EDGE_FEATURES,
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
    known
        Genes x genes, sparse: weights of known relations, see :class:`KnownWeights`; None where there are
        none.
    """

    features: Tensor
    neighbours: Tensor
    edges: Tensor
    known: KnownWeights | None = None


def gene_inputs(
    control: ControlSummary, *groups: np.ndarray, relations: KnownRelations | None = None
) -> GeneInputs:
    """Compare groups of perturbed cells with the control arm, gene by gene and through correlations of genes.

    Parameters
    ----------
    control
        From :func:`cdn_sc.features.summarize_control`, same genes in the same order.
    groups
        Perturbed cells x genes of each group, float32, finite, at least 2 cells.
    relations
        What is known beforehand of which gene regulates which.

    Raises
    ------
    ValueError
        If there are fewer than 2 perturbed cells, or other genes than in the control arm.
    """
    known = None if relations is None else weigh_relations(relations, control.correlation)
    return inputs_of_groups(control, [group_statistics(control, values) for values in groups], known)


def inputs_of_groups(
    control: ControlSummary, groups: Sequence[GroupStatistics], known: KnownWeights | None = None
) -> GeneInputs:
    """The inputs of groups from their statistics: matrix products for all of them at a time."""
    comparison = compare(control, groups)
    own, change = own_features(comparison)
    others, relations = others_features(comparison, change)
    columns = own | others | _context_features(comparison, change)
    columns |= deconvolution_features(comparison, change)
    if known is None:
        columns |= no_known_features(change.shape, change.device)
    else:
        columns |= known_features(control, known, change, relations.residual[1])
    features = torch.stack([columns[name] for name in FEATURES], dim=-1)
    edges = _edges(comparison, relations, change, known)
    return GeneInputs(features.clamp_(-LIMIT, LIMIT), control.neighbours, edges.clamp_(-LIMIT, LIMIT), known)


def without_relations(values: Tensor, *, of_pairs: bool = False) -> Tensor:
    """The same inputs of genes, or of pairs of neighbours, where no relations are known beforehand.

    Parameters
    ----------
    values
        (..., ``len(FEATURES)``) or (..., ``len(EDGE_FEATURES)``), of :class:`GeneInputs`; not changed.
    of_pairs
        Which of both.
    """
    n_known = len(KNOWN_EDGE_FEATURES if of_pairs else KNOWN_FEATURES)
    left = values.clone()
    left[..., -n_known:] = 0.0
    return left


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
    }
    return {
        name: torch.as_tensor(value, dtype=torch.float32, device=change.device).expand(change.shape)
        for name, value in context.items()
    }


def _edges(
    comparison: Comparison, relations: Relations, change: Tensor, known: KnownWeights | None
) -> Tensor:
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
            known_edges(known, control.neighbours).expand(len(change), -1, -1, -1),
        ],
        dim=-1,
    )
    return edges * (control.neighbours >= 0)[..., None]
