"""Which genes' lost effects explain the changes of all genes: sparse and programme-free projections."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from cdn_sc.features._scales import rank_features, squash

if TYPE_CHECKING:
    from cdn_sc.features.control import ControlSummary
    from cdn_sc.features.statistics import Comparison

DECONVOLUTION_FEATURES = (
    "sparse_projection", "programme_free_projection", "deconvolved", "unexplained_change",
    "sparse_projection_rank", "programme_free_projection_rank", "deconvolved_rank",
)  # fmt: skip
N_ITERATIONS = 15
# penalties of the deconvolution, in standard errors of a gene's change
OWN_PENALTY, EFFECT_PENALTY = 8.0, 0.7


def deconvolution_features(comparison: Comparison, change: Tensor) -> dict[str, Tensor]:
    """Features of ``DECONVOLUTION_FEATURES``, groups x genes each.

    Parameters
    ----------
    comparison
        Some groups and the control arm.
    change
        Signed change of each gene in standard errors, groups x genes.
    """
    control = comparison.control
    projection = change @ control.sparse.T
    programme_free = _programme_free_projection(control, change)
    effects, unexplained = deconvolve(control.sparse, change, control.sparse_norm)
    ranks = {
        "sparse_projection_rank": projection.abs(),
        "programme_free_projection_rank": programme_free.abs(),
        "deconvolved_rank": effects.abs(),
    }
    return {
        "sparse_projection": squash(projection),
        "programme_free_projection": squash(programme_free),
        "deconvolved": squash(effects),
        "unexplained_change": squash(unexplained),
    } | rank_features(ranks)


def without_programmes(control: ControlSummary, change: Tensor) -> Tensor:
    """Changes without what lies along the leading directions of the correlations."""
    directions = control.programmes.directions
    return change - (change @ directions * control.programmes.share) @ directions.T


def _programme_free_projection(control: ControlSummary, change: Tensor) -> Tensor:
    """Projection by correlations with others, the leading directions taken out of these and of changes."""
    directions, beyond = control.programmes.directions, control.programmes.beyond
    left = without_programmes(control, change)
    diagonal = 1.0 - directions**2 @ beyond
    projected = left @ control.correlation - (left @ directions * beyond) @ directions.T - left * diagonal
    return projected * control.row_scales.programme_free


def deconvolve(weights: Tensor, change: Tensor, norm: float) -> tuple[Tensor, Tensor]:
    """As :func:`explain`, with weights that are held: genes x genes, row j the pattern of gene j."""
    return explain(lambda effects: effects @ weights, lambda left: left @ weights.T, change, norm)


def explain(
    forward: Callable[[Tensor], Tensor], back: Callable[[Tensor], Tensor], change: Tensor, norm: float
) -> tuple[Tensor, Tensor]:
    """Explain all changes by few genes' effects, and few genes' own changes beyond them.

    Minimises |z - W'c - b|^2 / 2 + EFFECT_PENALTY |c|_1 + OWN_PENALTY |b|_1 over effects c and own changes b
    by proximal gradient steps; minimising over b first leaves Huber's loss of the residual.

    Parameters
    ----------
    forward
        Gives W'c, groups x genes, of effects c: W has in row j the pattern that an effect of gene j leaves.
    back
        Gives Wr, groups x genes, of what is left, r.
    change
        z, groups x genes.
    norm
        Largest singular value of the weights, or a little more.

    Returns
    -------
    The effects c and what they leave unexplained, z - W'c.
    """
    step = 1.0 / max(norm**2, 1e-6)
    effects = torch.zeros_like(change)
    momentum, previous = effects, effects
    for iteration in range(N_ITERATIONS):
        residual = (change - forward(momentum)).clamp_(-OWN_PENALTY, OWN_PENALTY)
        moved = momentum + step * back(residual)
        effects = torch.nn.functional.softshrink(moved, step * EFFECT_PENALTY)
        momentum = effects + (iteration / (iteration + 3.0)) * (effects - previous)
        previous = effects
    return effects, change - forward(effects)
