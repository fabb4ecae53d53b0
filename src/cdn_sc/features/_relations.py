"""Matrices made of the correlations, through which genes read each other: once for all groups."""

from typing import NamedTuple

import numpy as np
from scipy.linalg import eigh

MIXING_MATRICES = ("correlation", "squared_correlation", "partial")
# correlations below this many standard errors count as none
THRESHOLD = 2.0
N_PROGRAMMES = 5


# Strengths this close are equal but for rounding in single precision
TIE = 1e-5


class ProgrammeFree(NamedTuple):
    """Correlations after their leading directions are taken out.

    What many genes share (cell cycle, growth, quality) moves in groups for reasons that have nothing to do
    with a target. `directions` is genes x programmes, orthogonal, the square of each one's length the share
    of it that is taken out; `weights` genes x genes, zero diagonal, rows of about unit length.
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
    """Take the leading directions out of the correlations, down to the level of the first that stays.

    So nothing is taken out where no direction leads, and of two that lead alike neither is preferred: which
    basis the solver picks there, and the order of the genes, do not matter. Panels of fewer than 8 genes have
    no leading directions.
    """
    n_genes = correlation.shape[0]
    number = min(N_PROGRAMMES, n_genes // 8)
    if number == 0:
        return ProgrammeFree(
            np.zeros((n_genes, 0), dtype=np.float32), np.zeros((n_genes, n_genes), dtype=np.float32)
        )
    # The whole spectrum: an iteration may be blind to some of it from where it starts, and LAPACK's choice of
    # a few values finds none at all now and then where many are alike, in single precision.
    values, vectors = eigh(correlation, driver="evd", check_finite=False)
    values, vectors = values[-number - 1 :], vectors[:, -number - 1 :]
    beyond = np.maximum(values[1:] - max(values[0], 0.0), 0.0)
    share = beyond / np.maximum(values[1:], TIE)
    left = correlation - (vectors[:, 1:] * beyond) @ vectors[:, 1:].T
    np.fill_diagonal(left, 0.0)
    return ProgrammeFree((vectors[:, 1:] * np.sqrt(share)).astype(np.float32), unit_rows(left))


def strongest(strength: np.ndarray, number: int, beyond: float = 0.0) -> np.ndarray:
    """For each gene the others that it is most closely related to.

    Parameters
    ----------
    strength
        Genes x genes, at least 0; the diagonal plays no part.
    number
        How many at most.
    beyond
        Relations of no more than this strength count as none.

    Returns
    -------
    Genes x at most `number`, int64: indices, ascending, -1 behind them where there are fewer. Of genes that
    are related equally closely, where not all of them have a place, none is taken, nor is one that is not
    related at all: to choose among them would be to go by the order of the genes.
    """
    n_genes = len(strength)
    number = min(number, n_genes - 1)
    if number < 1:
        return np.zeros((n_genes, 0), dtype=np.int64)
    strength = strength.copy()
    np.fill_diagonal(strength, -1.0)
    found = np.argpartition(-strength, number, axis=1)[:, : number + 1]
    values = np.take_along_axis(strength, found, axis=1)
    taken = values > np.maximum(values.min(axis=1, keepdims=True), beyond) + TIE
    found = np.sort(np.where(taken, found, n_genes), axis=1)[:, :number]
    return np.where(found < n_genes, found, -1).astype(np.int64)
