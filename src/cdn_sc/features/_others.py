"""What the other genes say about a gene: projections of their changes, and relations that broke.

The projections are products of genes x genes matrices with the changes of all groups at once; relations are
looked at where they are strong, between each gene and its neighbours.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from cdn_sc.features._relations import row_blocks
from cdn_sc.features._scales import rank_features, squash
from cdn_sc.features.control import SHRINKAGES
from cdn_sc.features.statistics import Comparison

OTHERS_FEATURES = (
    "correlation_projection", "squared_correlation_projection", "partial_projection", "effect_projection",
    "residual_0", "residual_1", "predicted_change", "residual_projection",
    "residual_correlation_projection", "correlation_kept", "correlation_changed", "regression_kept",
    "regression_changed", "reverse_changed", "correlation_strength", "partial_strength",
    "correlation_energy", "partial_energy", "predictability", "quadratic_residual", "quadratic_variance",
    "linear_residual", "linear_variance", "fitted_shift", "fitted_variance", "residual_0_rank",
    "residual_1_rank", "correlation_projection_rank", "partial_projection_rank",
    "residual_projection_rank", "correlation_kept_rank", "regression_kept_rank",
    "quadratic_variance_rank", "linear_variance_rank", "fitted_shift_rank", "fitted_variance_rank",
)  # fmt: skip
# Of what neighbours tell of a gene, shares of its variance far below this say nothing
LEAST_FITTED = 0.03


@dataclass(frozen=True)
class Relations:
    """How the other genes bear on each gene.

    Parameters
    ----------
    residual
        For each control precision, groups x genes: shift that the regression on all other genes leaves
        unexplained, in standard errors.
    correlation_change
        Groups x genes x neighbours: change of the correlation, in units of 1 / sqrt(perturbed cells).
    regression_change, reverse_change
        Groups x genes x neighbours, in standard errors: covariance of the gene's residual with the neighbour
        and of the neighbour's residual with the gene; about 0 where the regression still holds.
    """

    residual: tuple[Tensor, ...]
    correlation_change: Tensor
    regression_change: Tensor
    reverse_change: Tensor


def relations(comparison: Comparison) -> Relations:
    """Compare shifts and relations with what the control arm's correlations lead to expect."""
    control = comparison.control
    error = comparison.inverse_cells.sqrt()
    shift = comparison.shift / comparison.spread
    residual = tuple(
        ((shift @ each.matrix) / each.diagonal / each.residual_variance.sqrt() / error).clamp(-30, 30)
        for each in control.precisions
    )
    root = comparison.capped_perturbed.sqrt()[..., None]
    there = control.neighbours.clamp_min(0)
    variance = torch.from_numpy(control.linear.variance).float().to(control.device)
    # the neighbour's own variance widens its covariance with anything
    of_gene = comparison.variance / comparison.control_variance.clamp_min(1e-12)
    of_gene = torch.where(comparison.control_variance > 0, of_gene, 1.0).clamp(0.05, 20.0)
    exists = control.neighbours >= 0
    forward = comparison.residual_covariance * root / (variance[:, None] * of_gene[:, there]).sqrt()
    backward = comparison.reverse_covariance * root / (variance[there] * of_gene[..., None]).sqrt()
    return Relations(
        residual=residual,
        correlation_change=(comparison.correlation - control.edges[..., 1]) * root * exists,
        regression_change=forward.clamp(-50, 50),
        reverse_change=backward.clamp(-50, 50),
    )


def others_features(comparison: Comparison, change: Tensor) -> tuple[dict[str, Tensor], Relations]:
    """Features of each gene that come from its relations to the others.

    Parameters
    ----------
    comparison
        Some groups and the control arm.
    change
        Signed change of each gene in standard errors, groups x genes.

    Returns
    -------
    The features of ``OTHERS_FEATURES``, groups x genes each, and the relations that they came from.
    """
    found = relations(comparison)
    features = (
        _projections(comparison, change, found)
        | _residuals(change, found)
        | _changed_relations(comparison, found)
        | _strengths(comparison)
        | _regressions(comparison)
        | _fitted(comparison)
    )
    return features, found


def _projections(comparison: Comparison, change: Tensor, found: Relations) -> dict[str, Tensor]:
    """Changes of the other genes, weighted by how they relate to this one."""
    control = comparison.control
    precision, scales = control.precisions[1], control.row_scales
    of_change, of_square = change.T.contiguous(), (change**2).T.contiguous()
    first, second = (found.residual[i].T.contiguous() for i in (0, 1))
    parts: list[list[Tensor]] = []
    for rows in row_blocks(control.n_genes):
        correlation = control.correlation[rows].clone()
        correlation[:, rows].fill_diagonal_(0.0)
        partial = precision.partial_rows(rows)
        parts.append(
            [
                correlation @ of_change,
                (correlation * correlation.abs()) @ of_change,
                correlation**2 @ of_square,
                correlation @ first,
                partial @ of_change,
                (partial * partial.abs()) @ of_change,
                partial**2 @ of_square,
                partial @ second,
            ]
        )
    names = (
        "correlation_projection", "squared_correlation_projection", "correlation_energy",
        "residual_correlation_projection", "partial_projection", "effect_projection", "partial_energy",
        "residual_projection",
    )  # fmt: skip
    by_row = {
        "correlation_projection": scales.correlation,
        "squared_correlation_projection": scales.squared_correlation,
        "correlation_energy": scales.correlation**2,
        "residual_correlation_projection": scales.correlation,
        "partial_projection": scales.partial,
        "effect_projection": scales.squared_partial,
        "partial_energy": scales.partial**2,
        "residual_projection": scales.partial,
    }
    found_now = {
        name: (torch.cat(columns) * by_row[name][:, None]).T
        for name, columns in zip(names, zip(*parts, strict=True), strict=True)
    }
    energies = {name: torch.log1p(found_now.pop(name)) for name in ("correlation_energy", "partial_energy")}
    ranked = ("correlation_projection", "partial_projection", "residual_projection")
    ranks = rank_features({f"{name}_rank": found_now[name].abs() for name in ranked})
    return {name: squash(value) for name, value in found_now.items()} | energies | ranks


def _residuals(change: Tensor, found: Relations) -> dict[str, Tensor]:
    """What the regressions on all other genes do not explain."""
    features = {f"residual_{i}": squash(found.residual[i]) for i in range(len(SHRINKAGES))}
    ranks = {f"residual_{i}_rank": found.residual[i].abs() for i in range(len(SHRINKAGES))}
    return features | {"predicted_change": squash(change - found.residual[1])} | rank_features(ranks)


def _changed_relations(comparison: Comparison, found: Relations) -> dict[str, Tensor]:
    """How far a gene's relations to its neighbours shrank, and how far they changed at all."""
    partial, correlation = comparison.control.edges[..., 0], comparison.control.edges[..., 1]
    number = (comparison.control.neighbours >= 0).sum(dim=1).clamp_min(1)
    kept = _slope(correlation, found.correlation_change)
    regression_kept = _slope(partial, found.regression_change)
    return {
        "correlation_kept": squash(kept),
        "regression_kept": squash(regression_kept),
        "correlation_changed": torch.log1p((found.correlation_change**2).sum(dim=-1) / number),
        "regression_changed": torch.log1p((found.regression_change**2).sum(dim=-1) / number),
        "reverse_changed": torch.log1p((found.reverse_change**2).sum(dim=-1) / number),
        **rank_features({"correlation_kept_rank": -kept, "regression_kept_rank": -regression_kept}),
    }


def _slope(weights: Tensor, difference: Tensor) -> Tensor:
    """How far each gene's relations shrank (negative) or grew, weighted by their strength in control."""
    return (weights * difference).sum(dim=-1) / ((weights**2).sum(dim=-1).sqrt() + 0.1)


def _strengths(comparison: Comparison) -> dict[str, Tensor]:
    """How strongly a gene is tied to the others at all."""
    control, m0 = comparison.control, comparison.capped_control
    shape = comparison.shift.shape
    features = {
        "correlation_strength": torch.log1p(m0 * control.correlation_strength / control.n_genes),
        "partial_strength": torch.log1p(m0 * control.partial_strength / control.n_genes),
        "predictability": control.precisions[1].diagonal.log(),
    }
    return {name: value.expand(shape) for name, value in features.items()}


def _regressions(comparison: Comparison) -> dict[str, Tensor]:
    """Departure from the regressions on few neighbours, in standard errors."""
    error = comparison.inverse_cells.sqrt()
    features, ranks = {}, {}
    for name in ("quadratic", "linear"):
        fit = getattr(comparison.control, name)
        expected = torch.from_numpy(fit.variance).float().to(error.device)
        usual = torch.from_numpy(fit.mean).float().to(error.device)
        residual = (getattr(comparison, f"{name}_mean") - usual) / expected.sqrt() / error
        variance = getattr(comparison, f"{name}_variance")
        log_ratio = torch.log((variance + 1e-3) / (expected + 1e-3)) / (2.0**0.5 * error)
        features[f"{name}_residual"] = squash(residual.clamp(-50, 50))
        features[f"{name}_variance"] = squash(log_ratio)
        ranks[f"{name}_variance_rank"] = log_ratio.abs()
    return features | rank_features(ranks)


def _fitted(comparison: Comparison) -> dict[str, Tensor]:
    """How each gene moved and varies as its neighbours tell it, in standard errors.

    A regulator that lost its activity no longer moves what it regulates: that moves together, and varies less
    together from then on, while the regulator's own values need not change.
    """
    error = comparison.inverse_cells.sqrt()
    usual = torch.from_numpy(comparison.control.linear.fitted_variance).float().to(error.device)
    shift = (comparison.fitted_mean / (usual + LEAST_FITTED).sqrt() / error).clamp(-50, 50)
    after = comparison.fitted_variance
    log_ratio = torch.log((after + LEAST_FITTED) / (usual + LEAST_FITTED)) / (2.0**0.5 * error)
    ranks = {"fitted_shift_rank": shift.abs(), "fitted_variance_rank": -log_ratio}
    return {"fitted_shift": squash(shift), "fitted_variance": squash(log_ratio)} | rank_features(ranks)
