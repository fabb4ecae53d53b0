"""What the other genes say about a gene: projections of their changes, and relations that broke."""

from dataclasses import dataclass

import numpy as np

from cdn_sc.features._comparison import Comparison
from cdn_sc.features._relations import row_squares, unit_rows, without_diagonal
from cdn_sc.features._scales import rank_features, squash
from cdn_sc.features.control import SHRINKAGES, correlation_of, shrunken_precision, standardise

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


@dataclass(frozen=True)
class Relations:
    """How the other genes bear on each gene, in one comparison.

    Parameters
    ----------
    residual
        For each control precision, per gene: shift that the regression on all other genes leaves
        unexplained, in standard errors.
    residual_variance
        For each control precision, per gene: log ratio of the residuals' variances, in standard errors.
    perturbed_residual
        As `residual`, by the regressions of the perturbed cells.
    correlation_change, partial_change
        Genes x genes, float32: changes of correlations and partial correlations, in units of
        1 / sqrt(perturbed cells).
    matched_partial
        Genes x genes: partial correlations of the control cells, shrunken as those of the perturbed cells.
    """

    residual: list[np.ndarray]
    residual_variance: list[np.ndarray]
    perturbed_residual: np.ndarray
    correlation_change: np.ndarray
    partial_change: np.ndarray
    matched_partial: np.ndarray


def relations(comparison: Comparison, standardised: np.ndarray) -> Relations:
    """Compare the regressions and correlations of the two arms.

    Parameters
    ----------
    comparison
        The two arms.
    standardised
        Perturbed cells x genes, standardised with the control cells' moments.
    """
    control, n1 = comparison.control, comparison.n_perturbed
    error = np.sqrt(comparison.inverse_cells)
    shift = (comparison.shift / comparison.spread).astype(np.float32)
    deviation = standardised - standardised.mean(axis=0)
    residual, residual_variance = [], []
    for precision in control.precisions:
        raw = shift @ precision.regression
        residual.append(np.clip(raw / np.sqrt(precision.residual_variance) / error, -30, 30))
        left = deviation @ precision.regression
        variance = np.einsum("ij,ij->j", left, left) / max(n1 - 1, 1)
        log_ratio = np.log((variance + 1e-3) / (precision.residual_variance + 1e-3))
        residual_variance.append(log_ratio / (np.sqrt(2.0) * error))

    own = standardise(comparison.values, comparison.perturbed.mean, comparison.perturbed.variance)
    correlation = correlation_of(own)
    precision = shrunken_precision(correlation, n1, SHRINKAGES[-1], own)
    perturbed_residual = shift @ precision.regression
    perturbed_residual /= np.sqrt(precision.residual_variance) * error
    # the control partials at matching shrinkage, so that both arms are blurred alike
    matched = control.precisions[-1].partial_correlation()
    root = np.float32(np.sqrt(comparison.capped_perturbed))
    return Relations(
        residual=residual,
        residual_variance=residual_variance,
        perturbed_residual=perturbed_residual,
        correlation_change=(correlation - control.correlation) * root,
        partial_change=(precision.partial_correlation() - matched) * root,
        matched_partial=matched,
    )


def others_features(
    comparison: Comparison, change: np.ndarray
) -> tuple[dict[str, np.ndarray], Relations, np.ndarray]:
    """Features of each gene that come from its relations to the others.

    Parameters
    ----------
    comparison
        The two arms.
    change
        Signed change of each gene in standard errors.

    Returns
    -------
    The features of ``OTHERS_FEATURES``, one value a gene each; the relations and the mixing matrices that
    they came from.
    """
    control = comparison.control
    standardised = standardise(comparison.values, control.mean, control.variance)
    found = relations(comparison, standardised)
    mixing = control.mixing
    features = (
        _projections(comparison, change, found, mixing)
        | _residuals(change, found)
        | _changed_relations(comparison, found)
        | _strengths(comparison, change, mixing)
        | _local_regression(comparison, standardised)
    )
    return features, found, mixing


def _projections(
    comparison: Comparison, change: np.ndarray, found: Relations, mixing: np.ndarray
) -> dict[str, np.ndarray]:
    """Changes of the other genes, weighted by how they relate to this one."""
    by_correlation, by_square, by_partial = mixing
    partial = comparison.control.partial
    projections = {
        "correlation_projection": by_correlation @ change,
        "squared_correlation_projection": by_square @ change,
        "partial_projection": by_partial @ change,
        "effect_projection": unit_rows(partial * np.abs(partial)) @ change,
        "residual_projection": by_partial @ found.residual[1],
        "residual_correlation_projection": by_correlation @ found.residual[0],
    }
    ranked = ("correlation_projection", "partial_projection", "residual_projection")
    ranks = rank_features({f"{name}_rank": np.abs(projections[name]) for name in ranked})
    return {name: squash(value) for name, value in projections.items()} | ranks


def _residuals(change: np.ndarray, found: Relations) -> dict[str, np.ndarray]:
    """What the other genes do not explain, by the regressions of either arm."""
    residual, variance = found.residual, found.residual_variance
    return {
        "residual_0": squash(residual[0]),
        "residual_1": squash(residual[1]),
        "residual_2": squash(residual[2]),
        "residual_variance_0": squash(variance[0]),
        "residual_variance_1": squash(variance[1]),
        "residual_variance_2": squash(variance[2]),
        "predicted_change": squash(change - residual[1]),
        "perturbed_residual": squash(np.clip(found.perturbed_residual, -30, 30)),
    } | rank_features(
        {
            "residual_0_rank": np.abs(residual[0]),
            "residual_1_rank": np.abs(residual[1]),
            "residual_variance_rank": np.abs(variance[0]),
        }
    )


def _changed_relations(comparison: Comparison, found: Relations) -> dict[str, np.ndarray]:
    """How far correlations and partial correlations shrank, and how far they changed at all."""
    partial_kept = _row_slope(found.matched_partial, found.partial_change)
    return {
        "correlation_kept": squash(
            _row_slope(without_diagonal(comparison.control.correlation), found.correlation_change)
        ),
        "partial_kept": squash(partial_kept),
        **rank_features({"partial_kept_rank": -partial_kept}),
        "correlation_changed": np.log1p(row_squares(found.correlation_change) / comparison.n_genes),
        "partial_changed": np.log1p(row_squares(found.partial_change) / comparison.n_genes),
    }


def _strengths(comparison: Comparison, change: np.ndarray, mixing: np.ndarray) -> dict[str, np.ndarray]:
    """How strongly a gene is tied to the others at all, and how much those changed."""
    by_correlation, _, by_partial = mixing
    control, m0, energy = comparison.control, comparison.capped_control, change**2
    return {
        "correlation_strength": np.log1p(
            m0 * np.mean(without_diagonal(comparison.control.correlation) ** 2, axis=1)
        ),
        "partial_strength": np.log1p(m0 * np.mean(control.partial**2, axis=1)),
        "correlation_energy": np.log1p(by_correlation**2 @ energy),
        "partial_energy": np.log1p(by_partial**2 @ energy),
        "predictability": np.log(np.diag(control.precisions[1].matrix)),
    }


def _local_regression(comparison: Comparison, standardised: np.ndarray) -> dict[str, np.ndarray]:
    """Departure from the quadratic regression on few neighbours, in standard errors."""
    fit = comparison.control.local
    error = np.sqrt(comparison.inverse_cells)
    mean, variance = fit.residual_moments(standardised)
    residual = (mean - fit.mean) / np.sqrt(fit.variance) / error
    log_ratio = np.log((variance + 1e-3) / (fit.variance + 1e-3)) / (np.sqrt(2.0) * error)
    return {
        "local_residual": squash(np.clip(residual, -50, 50)),
        "local_variance": squash(log_ratio),
        **rank_features({"local_variance_rank": np.abs(log_ratio)}),
    }


def _row_slope(weights: np.ndarray, difference: np.ndarray) -> np.ndarray:
    """How far each gene's relations shrank (negative) or grew, weighted by their strength in control."""
    return np.einsum("ij,ij->i", weights, difference) / (np.sqrt(row_squares(weights)) + 0.1)
