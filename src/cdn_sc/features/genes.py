"""Inputs of the gene transformer: what each gene's own values, and what the other genes, say about it."""

from dataclasses import dataclass

import numpy as np

from cdn_sc.features._rank_tests import rank_tests, sort_genes
from cdn_sc.features.control import (
    ControlSummary,
    correlation_matrix,
    moments,
    shrunken_precision,
    standardise,
)

# Cell numbers enter the statistics only up to these sizes, so that significance does not grow without
# bound and stays in the range seen in training; the estimates themselves use all cells.
MAX_CONTROL_CELLS = 2000
MAX_PERTURBED_CELLS = 500
N_NEIGHBOURS = 16

OWN_FEATURES = (
    "welch_t", "pooled_t", "wilcoxon", "ks_rise", "ks_fall", "log_variance_ratio", "detection_change",
    "effect_size", "log_fold_change", "control_detection", "perturbed_detection", "control_mean",
    "control_variance", "welch_t_rank", "wilcoxon_rank", "ks_rank", "variance_rank", "effect_rank",
)  # fmt: skip
OTHERS_FEATURES = (
    "correlation_projection", "squared_correlation_projection", "partial_projection",
    "effect_projection", "residual_0", "residual_1", "residual_2", "residual_variance_0",
    "residual_variance_1", "residual_variance_2", "residual_projection", "residual_correlation_projection",
    "predicted_change", "perturbed_residual", "correlation_kept", "partial_kept", "correlation_changed",
    "partial_changed", "residual_0_rank", "residual_1_rank", "residual_variance_rank",
    "correlation_projection_rank", "partial_projection_rank", "residual_projection_rank",
    "partial_kept_rank", "correlation_strength", "partial_strength", "correlation_energy",
    "partial_energy", "predictability", "local_residual", "local_variance", "local_variance_rank",
)  # fmt: skip
CONTEXT_FEATURES = ("log_control_cells", "log_perturbed_cells", "log_genes", "overall_change", "has_zeros")
FEATURES = OWN_FEATURES + OTHERS_FEATURES + CONTEXT_FEATURES
EDGE_FEATURES = (
    "partial", "correlation", "partial_change", "correlation_change", "regression_on", "regression_of",
    "neighbour_change", "neighbour_residual",
)  # fmt: skip
MIXING_MATRICES = ("correlation", "squared_correlation", "partial")


@dataclass(frozen=True)
class GeneInputs:
    """What the gene transformer reads of one comparison.

    Parameters
    ----------
    features
        Genes x ``len(FEATURES)``, float32, bounded.
    neighbours
        Genes x neighbours: indices of the genes with the largest absolute correlation or partial
        correlation in the control cells (at most ``N_NEIGHBOURS``, fewer in small panels).
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


def squash(z: np.ndarray) -> np.ndarray:
    """Compress statistics of any size: sign(z) log(1 + |z|)."""
    return np.sign(z) * np.log1p(np.abs(z))


def rank_feature(magnitude: np.ndarray) -> np.ndarray:
    """Descending rank among the genes as -log2(rank) / 4: 0 for the first, about -2.5 for the 1000th."""
    rank = np.empty(magnitude.size)
    rank[np.argsort(-magnitude, kind="stable")] = np.arange(1, magnitude.size + 1)
    return -np.log2(rank) / 4.0


def _unit_rows(weights: np.ndarray) -> np.ndarray:
    """Scale rows to about unit length; rows of next to nothing stay small."""
    length = np.sqrt(np.einsum("ij,ij->i", weights, weights))
    return (weights / (length + 0.03)[:, None]).astype(np.float32)


def gene_inputs(control: ControlSummary, perturbed_values: np.ndarray) -> GeneInputs:
    """Compare perturbed cells with the control arm, gene by gene and through the control correlations.

    Parameters
    ----------
    control
        From :func:`cdn_sc.features.summarize_control`, same genes in the same order.
    perturbed_values
        Perturbed cells x genes, float32, finite, at least 2 cells.
    """
    values = np.ascontiguousarray(perturbed_values, dtype=np.float32)
    n0, n1 = control.n_cells, values.shape[0]
    m0, m1 = min(n0, MAX_CONTROL_CELLS), min(n1, MAX_PERTURBED_CELLS)
    mean, variance, kurtosis, detection = moments(values)
    shift = mean - control.mean
    spread = np.sqrt(np.where(control.variance > 0, control.variance, np.where(variance > 0, variance, 1.0)))

    own, change = _own_features(control, values, (mean, variance, kurtosis, detection), shift, spread, m0, m1)
    others, pairwise, mixing = _others_features(control, values, mean, variance, shift / spread, change, m0, m1)
    context = {
        "log_control_cells": np.log10(m0) - 3.0,
        "log_perturbed_cells": np.log10(m1) - 2.0,
        "log_genes": np.log10(len(shift)) - 2.0,
        "overall_change": np.log1p(np.mean(change**2)),
        "has_zeros": float(np.mean(control.detection) < 0.999),
    }
    columns = own | others | {name: np.full(len(shift), value) for name, value in context.items()}
    features = np.stack([columns[name] for name in FEATURES], axis=1).astype(np.float32)
    neighbours, edges = _neighbourhood(control, pairwise, change)
    return GeneInputs(np.clip(features, -12, 12), neighbours, np.clip(edges, -12, 12), mixing)


def _own_features(
    control: ControlSummary,
    values: np.ndarray,
    perturbed_moments: tuple[np.ndarray, ...],
    shift: np.ndarray,
    spread: np.ndarray,
    m0: int,
    m1: int,
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Two-sample tests of each gene; second result: the signed change z that projections start from."""
    _, variance, kurtosis, detection = perturbed_moments
    n0, n1 = control.n_cells, values.shape[0]
    # a floor on each arm's variance keeps a gene that is silent in one arm from an infinite statistic
    floor = 1e-3 * spread**2 + 1e-12
    v0, v1 = np.maximum(control.variance, floor), np.maximum(variance, floor)
    welch = shift / np.sqrt(v0 / m0 + v1 / m1)
    pooled_variance = (v0 * (n0 - 1) + v1 * (n1 - 1)) / (n0 + n1 - 2)
    pooled = shift / np.sqrt(pooled_variance * (1 / m0 + 1 / m1))
    wilcoxon, rise, fall = rank_tests(control.sorted_values, sort_genes(values))
    clamp = np.sqrt((1 / n0 + 1 / n1) / (1 / m0 + 1 / m1))
    wilcoxon = wilcoxon * clamp
    ks_scale = 1.0 / np.sqrt(1 / m0 + 1 / m1)
    kurtosis = np.clip((control.excess_kurtosis * n0 + kurtosis * n1) / (n0 + n1), -1.5, 30.0)
    log_ratio = np.log(v1 / v0) / np.sqrt((2.0 + kurtosis) * (1 / m0 + 1 / m1))
    rate = (control.detection * n0 + detection * n1) / (n0 + n1)
    detection_error = np.sqrt(np.maximum(rate * (1 - rate), 1e-4) * (1 / m0 + 1 / m1))
    detection_change = (detection - control.detection) / detection_error
    fold = np.log((np.abs(control.mean + shift) + 0.02) / (np.abs(control.mean) + 0.02))
    own = {
        "welch_t": squash(welch),
        "pooled_t": squash(pooled),
        "wilcoxon": squash(wilcoxon),
        "ks_rise": squash(rise * ks_scale),
        "ks_fall": squash(fall * ks_scale),
        "log_variance_ratio": squash(log_ratio),
        "detection_change": squash(detection_change),
        "effect_size": squash(shift / spread),
        "log_fold_change": np.clip(fold, -4, 4),
        "control_detection": control.detection,
        "perturbed_detection": detection,
        "control_mean": squash(control.mean),
        "control_variance": np.clip(np.log(v0), -6, 6) / 3.0,
        "welch_t_rank": rank_feature(np.abs(welch)),
        "wilcoxon_rank": rank_feature(np.abs(wilcoxon)),
        "ks_rank": rank_feature(np.maximum(rise, fall)),
        "variance_rank": rank_feature(np.abs(log_ratio)),
        "effect_rank": rank_feature(np.abs(shift / spread)),
    }
    change = np.clip(0.5 * (pooled + wilcoxon), -30.0, 30.0)
    return own, change


def _others_features(
    control: ControlSummary,
    values: np.ndarray,
    mean: np.ndarray,
    variance: np.ndarray,
    effect: np.ndarray,
    change: np.ndarray,
    m0: int,
    m1: int,
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], np.ndarray]:
    """Signed projections of the other genes' changes; then matrices for pairs, and for mixing."""
    n1 = values.shape[0]
    error = np.sqrt(1 / m0 + 1 / m1)
    off_diagonal = control.correlation - np.eye(len(effect), dtype=np.float32)
    partial = control.partial
    standardised = standardise(values, control.mean, control.variance)
    deviation = standardised - standardised.mean(axis=0)
    standard_shift = effect.astype(np.float32)
    local_mean, local_variance = control.local.residual_moments(standardised)
    local_residual = (local_mean - control.local.mean) / np.sqrt(control.local.variance) / error
    local_ratio = np.log((local_variance + 1e-3) / (control.local.variance + 1e-3)) / (np.sqrt(2.0) * error)

    residual, residual_variance = [], []
    for precision in control.precisions:
        raw = standard_shift @ precision.regression
        residual.append(np.clip(raw / np.sqrt(precision.residual_variance) / error, -30, 30))
        left = deviation @ precision.regression
        spread1 = np.einsum("ij,ij->j", left, left) / max(n1 - 1, 1)
        log_ratio = np.log((spread1 + 1e-3) / (precision.residual_variance + 1e-3))
        residual_variance.append(log_ratio / (np.sqrt(2.0) * error))

    perturbed_correlation = correlation_matrix(values, mean, variance)
    perturbed_precision = shrunken_precision(perturbed_correlation, n1, 0.35)
    perturbed_partial = perturbed_precision.partial_correlation()
    own_residual = standard_shift @ perturbed_precision.regression
    own_residual /= np.sqrt(perturbed_precision.residual_variance) * error
    # the control partials at matching shrinkage, so that both arms are blurred alike
    matched = control.precisions[-1].partial_correlation()
    correlation_change = (perturbed_correlation - control.correlation) * np.float32(np.sqrt(m1))
    partial_change = (perturbed_partial - matched) * np.float32(np.sqrt(m1))

    by_correlation, by_square, by_partial = mixing = np.stack(
        [_unit_rows(off_diagonal), _unit_rows(off_diagonal * np.abs(off_diagonal)), _unit_rows(partial)]
    )
    projections = {
        "correlation_projection": by_correlation @ change,
        "squared_correlation_projection": by_square @ change,
        "partial_projection": by_partial @ change,
        "effect_projection": _unit_rows(partial * np.abs(partial)) @ change,
        "residual_projection": by_partial @ residual[1],
        "residual_correlation_projection": by_correlation @ residual[0],
    }
    energy = change**2
    kept = _row_slope(off_diagonal, correlation_change)
    partial_kept = _row_slope(matched, partial_change)
    n_genes = len(effect)
    others = {name: squash(value) for name, value in projections.items()} | {
        "residual_0": squash(residual[0]),
        "residual_1": squash(residual[1]),
        "residual_2": squash(residual[2]),
        "residual_variance_0": squash(residual_variance[0]),
        "residual_variance_1": squash(residual_variance[1]),
        "residual_variance_2": squash(residual_variance[2]),
        "predicted_change": squash(change - residual[1]),
        "perturbed_residual": squash(np.clip(own_residual, -30, 30)),
        "correlation_kept": squash(kept),
        "partial_kept": squash(partial_kept),
        "correlation_changed": np.log1p(np.einsum("ij,ij->i", correlation_change, correlation_change) / n_genes),
        "partial_changed": np.log1p(np.einsum("ij,ij->i", partial_change, partial_change) / n_genes),
        "residual_0_rank": rank_feature(np.abs(residual[0])),
        "residual_1_rank": rank_feature(np.abs(residual[1])),
        "residual_variance_rank": rank_feature(np.abs(residual_variance[0])),
        "correlation_projection_rank": rank_feature(np.abs(projections["correlation_projection"])),
        "partial_projection_rank": rank_feature(np.abs(projections["partial_projection"])),
        "residual_projection_rank": rank_feature(np.abs(projections["residual_projection"])),
        "partial_kept_rank": rank_feature(-partial_kept),
        "correlation_strength": np.log1p(m0 * np.mean(off_diagonal**2, axis=1)),
        "partial_strength": np.log1p(m0 * np.mean(partial**2, axis=1)),
        "correlation_energy": np.log1p(by_correlation**2 @ energy),
        "partial_energy": np.log1p(by_partial**2 @ energy),
        "local_residual": squash(np.clip(local_residual, -50, 50)),
        "local_variance": squash(local_ratio),
        "local_variance_rank": rank_feature(np.abs(local_ratio)),
        "predictability": np.log(np.diag(control.precisions[1].matrix)),
    }
    pairwise = {
        "partial_change": partial_change,
        "correlation_change": correlation_change,
        "residual": residual[1],
    }
    return others, pairwise, mixing


def _row_slope(weights: np.ndarray, difference: np.ndarray) -> np.ndarray:
    """How far each gene's relations shrank (negative) or grew, weighted by their strength in control."""
    numerator = np.einsum("ij,ij->i", weights, difference)
    return numerator / (np.sqrt(np.einsum("ij,ij->i", weights, weights)) + 0.1)


def _neighbourhood(
    control: ControlSummary, pairwise: dict[str, np.ndarray], change: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Each gene's strongest (partial) correlations in the control arm, and what is known of those pairs."""
    partial = control.partial
    n_genes = partial.shape[0]
    k = min(N_NEIGHBOURS, n_genes - 1)
    neighbours = np.argpartition(-control.strength, k - 1, axis=1)[:, :k]
    rows = np.arange(n_genes)[:, None]
    regression = control.precisions[1].regression
    edges = np.stack(
        [
            4.0 * partial[rows, neighbours],
            2.0 * control.correlation[rows, neighbours],
            squash(pairwise["partial_change"][rows, neighbours]),
            squash(pairwise["correlation_change"][rows, neighbours]),
            -2.0 * regression[neighbours, rows],
            -2.0 * regression[rows, neighbours],
            squash(change[neighbours]),
            squash(pairwise["residual"][neighbours]),
        ],
        axis=2,
    )
    return neighbours.astype(np.int64), edges.astype(np.float32)
