"""Which genes' lost effects explain the changes of all genes: sparse and programme-free projections."""

import numpy as np

from cdn_sc.features._comparison import Comparison
from cdn_sc.features._scales import rank_features, squash

DECONVOLUTION_FEATURES = (
    "sparse_projection", "programme_free_projection", "deconvolved", "unexplained_change",
    "sparse_projection_rank", "programme_free_projection_rank", "deconvolved_rank",
)  # fmt: skip
N_ITERATIONS = 30
# penalties of the deconvolution, in standard errors of a gene's change
OWN_PENALTY, EFFECT_PENALTY = 8.0, 0.7


def deconvolution_features(comparison: Comparison, change: np.ndarray) -> dict[str, np.ndarray]:
    """Features of ``DECONVOLUTION_FEATURES``, one value a gene each.

    Parameters
    ----------
    comparison
        The two arms.
    change
        Signed change of each gene in standard errors.
    """
    control = comparison.control
    projection = control.sparse @ change
    directions, weights = control.programme_free
    programme_free = weights @ (change - directions @ (directions.T @ change))
    effects, unexplained = deconvolve(control.sparse, change, control.sparse_norm)
    ranks = {
        "sparse_projection_rank": np.abs(projection),
        "programme_free_projection_rank": np.abs(programme_free),
        "deconvolved_rank": np.abs(effects),
    }
    return {
        "sparse_projection": squash(projection),
        "programme_free_projection": squash(programme_free),
        "deconvolved": squash(effects),
        "unexplained_change": squash(unexplained),
    } | rank_features(ranks)


def deconvolve(weights: np.ndarray, change: np.ndarray, norm: float) -> tuple[np.ndarray, np.ndarray]:
    """Explain all changes by few genes' effects, and few genes' own changes beyond them.

    Minimises |z - W'c - b|^2 / 2 + EFFECT_PENALTY |c|_1 + OWN_PENALTY |b|_1 over effects c and own changes b
    by proximal gradient steps; minimising over b first leaves Huber's loss of the residual.

    Parameters
    ----------
    weights
        Genes x genes, row j the pattern that an effect of gene j leaves in the others.
    change
        z, per gene.
    norm
        Largest singular value of the weights, or a little more.

    Returns
    -------
    The effects c and what they leave unexplained, z - W'c.
    """
    step = 1.0 / max(norm**2, 1e-6)
    effects = np.zeros(change.size, dtype=np.float32)
    momentum, previous = effects, effects
    target = change.astype(np.float32)
    for iteration in range(N_ITERATIONS):
        residual = np.clip(target - momentum @ weights, -OWN_PENALTY, OWN_PENALTY)
        moved = momentum + np.float32(step) * (weights @ residual)
        effects = np.sign(moved) * np.maximum(np.abs(moved) - np.float32(step * EFFECT_PENALTY), 0.0)
        momentum = effects + np.float32(iteration / (iteration + 3.0)) * (effects - previous)
        previous = effects
    return effects, target - effects @ weights
