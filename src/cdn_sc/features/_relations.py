"""Matrices made of the correlations, through which genes read each other: once for all groups."""

from typing import NamedTuple

import numpy as np
from scipy.sparse.linalg import eigsh

MIXING_MATRICES = ("correlation", "squared_correlation", "partial")
# correlations below this many standard errors count as none
THRESHOLD = 2.0
N_PROGRAMMES = 5


class ProgrammeFree(NamedTuple):
    """Correlations after their leading directions are taken out.

    What many genes share (cell cycle, growth, quality) moves in groups for reasons that have nothing to do
    with a target. `directions` is genes x programmes, orthonormal; `weights` genes x genes, zero diagonal,
    rows of about unit length.
    """

    directions: np.ndarray
    weights: np.ndarray


def without_diagonal(correlation: np.ndarray) -> np.ndarray:
    """Correlations of genes with others: ones on the diagonal become 0."""
    return correlation - np.eye(correlation.shape[0], dtype=np.float32)


def row_squares(matrix: np.ndarray) -> np.ndarray:
    """Sum of squares of each row."""
    return np.einsum("ij,ij->i", matrix, matrix)


def unit_rows(weights: np.ndarray) -> np.ndarray:
    """Scale rows to about unit length; rows of next to nothing stay small."""
    return (weights / (np.sqrt(row_squares(weights)) + 0.03)[:, None]).astype(np.float32)


def mixing_matrices(correlation: np.ndarray, partial: np.ndarray) -> np.ndarray:
    """Signed weights of ``MIXING_MATRICES``, x genes x genes, each row of about unit length."""
    others = without_diagonal(correlation)
    return np.stack([unit_rows(weights) for weights in (others, others * np.abs(others), partial)])


def sparse_correlation(correlation: np.ndarray, n_cells: int) -> np.ndarray:
    """Correlations less the noise to be expected, rows of unit length or 0; zero diagonal."""
    kept = np.abs(correlation) - np.float32(THRESHOLD / np.sqrt(n_cells))
    weights = np.sign(correlation) * np.maximum(kept, 0.0)
    np.fill_diagonal(weights, 0.0)
    return (weights / np.maximum(np.sqrt(row_squares(weights)), 0.02)[:, None]).astype(np.float32)


def largest_singular_value(weights: np.ndarray) -> float:
    """A bound from above that is hardly too large, by power iteration."""
    vector = np.ones(weights.shape[0], dtype=np.float32)
    norm = 1.0
    for _ in range(12):
        vector = (vector / max(float(np.linalg.norm(vector)), 1e-9)) @ weights.T @ weights
        norm = float(np.linalg.norm(vector))
    # power iteration approaches from below
    return 1.05 * float(np.sqrt(norm))


def programme_free(correlation: np.ndarray) -> ProgrammeFree:
    """Take the leading directions out of the correlations; panels of fewer than 8 genes have none."""
    n_genes = correlation.shape[0]
    number = min(N_PROGRAMMES, n_genes // 8)
    if number == 0:
        return ProgrammeFree(
            np.zeros((n_genes, 0), dtype=np.float32), np.zeros((n_genes, n_genes), dtype=np.float32)
        )
    start = np.ones(n_genes, dtype=np.float32)
    values, vectors = eigsh(correlation, k=number, v0=start, tol=1e-3)
    left = correlation - (vectors * values) @ vectors.T
    np.fill_diagonal(left, 0.0)
    return ProgrammeFree(vectors, unit_rows(left))
