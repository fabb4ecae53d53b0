"""Which genes' lost effects explain the changes of all genes: sparse and programme-free projections."""

import numpy as np
from scipy.sparse.linalg import eigsh

from cdn_sc.features._comparison import Comparison
from cdn_sc.features._scales import rank_feature, squash

DECONVOLUTION_FEATURES = (
    "sparse_projection", "programme_free_projection", "deconvolved", "unexplained_change",
    "sparse_projection_rank", "programme_free_projection_rank", "deconvolved_rank",
)  # fmt: skip
# correlations below this many standard errors count as none
THRESHOLD = 2.0
N_PROGRAMMES = 5
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
    sparse = sparse_correlation(comparison)
    projection = sparse @ change
    programme_free = _programme_free(comparison.control.correlation, change)
    effects, unexplained = deconvolve(sparse, change)
    return {
        "sparse_projection": squash(projection),
        "programme_free_projection": squash(programme_free),
        "deconvolved": squash(effects),
        "unexplained_change": squash(unexplained),
        "sparse_projection_rank": rank_feature(np.abs(projection)),
        "programme_free_projection_rank": rank_feature(np.abs(programme_free)),
        "deconvolved_rank": rank_feature(np.abs(effects)),
    }


def sparse_correlation(comparison: Comparison) -> np.ndarray:
    """Control correlations less the noise to be expected, rows of unit length or 0; zero diagonal."""
    correlation = comparison.control.correlation
    kept = np.abs(correlation) - np.float32(THRESHOLD / np.sqrt(comparison.n_relation_cells))
    weights = np.sign(correlation) * np.maximum(kept, 0.0)
    np.fill_diagonal(weights, 0.0)
    length = np.sqrt(np.einsum("ij,ij->i", weights, weights))
    return (weights / np.maximum(length, 0.02)[:, None]).astype(np.float32)


def deconvolve(weights: np.ndarray, change: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Explain all changes by few genes' effects, and few genes' own changes beyond them.

    Minimises |z - W'c - b|^2 / 2 + EFFECT_PENALTY |c|_1 + OWN_PENALTY |b|_1 over effects c and own changes b
    by proximal gradient steps; minimising over b first leaves Huber's loss of the residual.

    Parameters
    ----------
    weights
        Genes x genes, row j the pattern that an effect of gene j leaves in the others.
    change
        z, per gene.

    Returns
    -------
    The effects c and what they leave unexplained, z - W'c.
    """
    step = 1.0 / max(_largest_singular_value(weights) ** 2, 1e-6)
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


def _largest_singular_value(weights: np.ndarray) -> float:
    vector = np.ones(weights.shape[0], dtype=np.float32)
    norm = 1.0
    for _ in range(12):
        vector = (vector / max(float(np.linalg.norm(vector)), 1e-9)) @ weights.T @ weights
        norm = float(np.linalg.norm(vector))
    # power iteration approaches from below
    return 1.05 * np.sqrt(norm)


def _programme_free(correlation: np.ndarray, change: np.ndarray) -> np.ndarray:
    """Projection on the correlations after the leading directions are taken from both.

    What many genes share (cell cycle, growth, quality) moves in groups for reasons that have nothing to do
    with the target.
    """
    n_genes = change.size
    number = min(N_PROGRAMMES, n_genes // 8)
    if number == 0:
        return np.zeros(n_genes)
    start = np.ones(n_genes, dtype=np.float32)
    values, vectors = eigsh(correlation, k=number, v0=start, tol=1e-3)
    left = correlation - (vectors * values) @ vectors.T
    np.fill_diagonal(left, 0.0)
    free = change - vectors @ (vectors.T @ change)
    length = np.sqrt(np.einsum("ij,ij->i", left, left))
    return (left @ free) / (length + 0.03)
