"""Inputs of the gene transformer: what each gene's own values, and what the other genes, say about it."""

from dataclasses import dataclass

import numpy as np

from cdn_sc.features._comparison import Comparison, compare
from cdn_sc.features._deconvolution import DECONVOLUTION_FEATURES, deconvolution_features
from cdn_sc.features._others import OTHERS_FEATURES, Relations, others_features
from cdn_sc.features._own import OWN_FEATURES, own_features
from cdn_sc.features._relations import MIXING_MATRICES
from cdn_sc.features._scales import squash
from cdn_sc.features.control import N_NEIGHBOURS, ControlSummary

__all__ = [
    "EDGE_FEATURES",
    "FEATURES",
    "MIXING_MATRICES",
    "N_NEIGHBOURS",
    "GeneInputs",
    "gene_inputs",
    "withhold_others",
]

CONTEXT_FEATURES = (
    "log_control_cells", "log_all_control_cells", "log_perturbed_cells", "log_genes", "overall_change",
    "has_zeros", "others_known",
)  # fmt: skip
FEATURES = OWN_FEATURES + OTHERS_FEATURES + CONTEXT_FEATURES + DECONVOLUTION_FEATURES
EDGE_FEATURES = (
    "partial", "correlation", "partial_change", "correlation_change", "regression_on", "regression_of",
    "neighbour_change", "neighbour_residual",
)  # fmt: skip
# Correlations of the control cells sharpen with all of them, up to as many as training sees
MAX_RELATION_CELLS = 20000
# Features and edge features are cut off here
LIMIT = 12


@dataclass(frozen=True)
class GeneInputs:
    """What the gene transformer reads of one comparison.

    Parameters
    ----------
    features
        Genes x ``len(FEATURES)``, float32, within [-12, 12].
    neighbours
        Genes x neighbours, int64: indices of the genes with the largest absolute correlation or partial
        correlation in the control cells, at most ``N_NEIGHBOURS``, ascending; -1 behind them where a gene has
        fewer.
    edges
        Genes x neighbours x ``len(EDGE_FEATURES)``, float32: what is known of each such pair.
    mixing
        ``len(MIXING_MATRICES)`` x genes x genes, float32: signed weights through which a gene reads the
        others, each row of about unit length.
    """

    features: np.ndarray
    neighbours: np.ndarray
    edges: np.ndarray
    mixing: np.ndarray


def gene_inputs(control: ControlSummary, perturbed_values: np.ndarray) -> GeneInputs:
    """Compare perturbed cells with the control arm, gene by gene and through the correlations of genes.

    Parameters
    ----------
    control
        From :func:`cdn_sc.features.summarize_control`, same genes in the same order.
    perturbed_values
        Perturbed cells x genes, float32, finite, at least 2 cells.

    Raises
    ------
    ValueError
        If there are fewer than 2 perturbed cells, or other genes than in the control arm.
    """
    comparison = compare(control, perturbed_values)
    own, change = own_features(comparison)
    others, relations, mixing = others_features(comparison, change)
    columns = own | others | _context_features(comparison, change)
    columns |= deconvolution_features(comparison, change)
    features = np.stack([columns[name] for name in FEATURES], axis=1).astype(np.float32)
    neighbours, edges = _neighbourhood(control, relations, change)
    return GeneInputs(np.clip(features, -LIMIT, LIMIT), neighbours, np.clip(edges, -LIMIT, LIMIT), mixing)


def withhold_others(inputs: GeneInputs) -> GeneInputs:
    """The same comparison without what the other genes say about each gene.

    Features from other genes and from relations between genes become 0, as do edges and mixing matrices; the
    feature ``others_known`` says so.

    Parameters
    ----------
    inputs
        From :func:`gene_inputs`; not changed.
    """
    features = inputs.features.copy()
    withheld = (*OTHERS_FEATURES, *DECONVOLUTION_FEATURES, "others_known")
    features[:, [FEATURES.index(name) for name in withheld]] = 0.0
    return GeneInputs(features, inputs.neighbours, np.zeros_like(inputs.edges), np.zeros_like(inputs.mixing))


def _context_features(comparison: Comparison, change: np.ndarray) -> dict[str, np.ndarray]:
    """What is the same for all genes of a comparison."""
    context = {
        "log_control_cells": np.log10(comparison.capped_control) - 3.0,
        "log_all_control_cells": np.log10(min(comparison.n_relation_cells, MAX_RELATION_CELLS)) - 3.0,
        "log_perturbed_cells": np.log10(comparison.capped_perturbed) - 2.0,
        "log_genes": np.log10(comparison.n_genes) - 2.0,
        "overall_change": np.log1p(np.mean(change**2)),
        "has_zeros": float(np.mean(comparison.control.detection) < 0.999),
        "others_known": 1.0,
    }
    return {name: np.full(comparison.n_genes, value) for name, value in context.items()}


def _neighbourhood(
    control: ControlSummary, relations: Relations, change: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Each gene's strongest (partial) correlations in the control arm, and what is known of those pairs."""
    neighbours = control.neighbours
    rows = np.arange(change.size)[:, None]
    regression = control.precisions[1].regression
    edges = np.stack(
        [
            4.0 * control.partial[rows, neighbours],
            2.0 * control.correlation[rows, neighbours],
            squash(relations.partial_change[rows, neighbours]),
            squash(relations.correlation_change[rows, neighbours]),
            -2.0 * regression[neighbours, rows],
            -2.0 * regression[rows, neighbours],
            squash(change[neighbours]),
            squash(relations.residual[1][neighbours]),
        ],
        axis=2,
    )
    return neighbours, np.where(neighbours[..., None] >= 0, edges, 0.0).astype(np.float32)
