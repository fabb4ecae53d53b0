"""Weights made of the correlations, through which the changes of all genes bear on each: products, in blocks.

None of the matrices but the correlations themselves, their inverses and the sparse ones is ever held: of the
others some rows are made at a time, multiplied with the changes of all groups, and dropped.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import torch
from scipy.linalg import eigh
from scipy.sparse.linalg import ArpackNoConvergence, eigsh
from torch import Tensor

# correlations below this many standard errors count as none
THRESHOLD = 2.0
N_PROGRAMMES = 5
# Up to this many genes the whole spectrum costs less than an iteration for a part of it
MOST_GENES_OF_WHOLE_SPECTRUM = 512
# Strengths this close are equal but for rounding in single precision
TIE = 1e-5
_VALUES_AT_ONCE = 1 << 21


@dataclass(frozen=True)
class Programmes:
    """Leading directions of the correlations: what many genes share (cell cycle, growth, quality).

    Parameters
    ----------
    directions
        Genes x programmes, orthonormal.
    beyond
        By how much the eigenvalue of each exceeds that of the first direction that stays.
    share
        That as a share of the eigenvalue: how much of the direction is taken out.
    """

    directions: Tensor
    beyond: Tensor
    share: Tensor


def row_blocks(n_genes: int) -> Iterator[slice]:
    """Runs of rows of a genes x genes matrix that together stay small."""
    step = max(1, _VALUES_AT_ONCE // max(n_genes, 1))
    for start in range(0, n_genes, step):
        yield slice(start, min(start + step, n_genes))


def row_squares(matrix: Tensor) -> Tensor:
    """Sum of squares of each row."""
    return torch.einsum("ij,ij->i", matrix, matrix)


def about_unit(squares: Tensor) -> Tensor:
    """What scales rows of these sums of squares to about unit length; rows of next to nothing stay small."""
    return 1.0 / (squares.clamp_min(0.0).sqrt() + 0.03)


def sparse_correlation(correlation: Tensor, n_cells: int) -> Tensor:
    """Correlations less the noise to be expected, rows of unit length or 0; zero diagonal."""
    weights = correlation.clone()
    noise = THRESHOLD / np.sqrt(n_cells)
    for rows in row_blocks(len(weights)):
        part = weights[rows]
        part.copy_(torch.sign(part) * (part.abs() - noise).clamp_min(0.0))
        part[:, rows].fill_diagonal_(0.0)
        part /= row_squares(part).sqrt().clamp_min(0.02)[:, None]
    return weights


def largest_singular_value(weights: Tensor) -> float:
    """A bound from above that is hardly too large, by power iteration."""
    vector = torch.ones(weights.shape[0], dtype=torch.float32, device=weights.device)
    norm = 1.0
    for _ in range(12):
        vector = weights @ (vector / max(float(vector.norm()), 1e-9))
        vector = vector @ weights
        norm = float(vector.norm())
    # power iteration approaches from below
    return 1.05 * float(np.sqrt(norm))


def leading_programmes(correlation: Tensor) -> Programmes:
    """Leading directions of the correlations, down to the level of the first that stays.

    So nothing is taken out where no direction leads, and of two that lead alike neither is preferred: which
    basis the solver picks there, and the order of the genes, do not matter. Panels of fewer than 8 genes have
    no leading directions.
    """
    n_genes = len(correlation)
    number = min(N_PROGRAMMES, n_genes // 8)
    if number == 0:
        nothing = correlation.new_zeros(0)
        return Programmes(correlation.new_zeros(n_genes, 0), nothing, nothing)
    values, vectors = _largest(correlation.cpu().numpy(), number + 1)
    beyond = np.maximum(values[1:] - max(values[0], 0.0), 0.0)
    share = beyond / np.maximum(values[1:], TIE)
    found = (np.ascontiguousarray(vectors[:, 1:]), beyond, share)
    return Programmes(*(torch.from_numpy(x.astype(np.float32)).to(correlation.device) for x in found))


def _largest(matrix: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray]:
    """So many largest eigenvalues of a symmetric matrix, ascending, and their vectors."""
    if len(matrix) > MOST_GENES_OF_WHOLE_SPECTRUM:
        # from a start that no symmetry of the matrix can be blind to
        start = np.random.default_rng(len(matrix)).standard_normal(len(matrix)).astype(np.float32)
        with suppress(ArpackNoConvergence):
            values, vectors = eigsh(matrix, k=number, v0=start)
            ascending = np.argsort(values)
            return values[ascending], vectors[:, ascending]
    values, vectors = eigh(matrix, driver="evd", check_finite=False)
    return values[-number:], vectors[:, -number:]


def strongest(strength: Tensor, number: int, beyond: float = 0.0, first: int = 0) -> Tensor:
    """For some genes the others that each is most closely related to.

    Parameters
    ----------
    strength
        Some genes x all genes, at least 0; is written over at the genes' relations to themselves, which play
        no part.
    number
        How many at most.
    beyond
        Relations of no more than this strength count as none.
    first
        Position of the first of these genes, which follow each other, among all.

    Returns
    -------
    Genes x at most `number`, int64: indices, ascending, -1 behind them where there are fewer. Of genes that
    are related equally closely, where not all of them have a place, none is taken, nor is one that is not
    related at all: to choose among them would be to go by the order of the genes.
    """
    n_genes = strength.shape[1]
    number = min(number, n_genes - 1)
    if number < 1:
        return torch.zeros((len(strength), 0), dtype=torch.int64, device=strength.device)
    strength[:, first : first + len(strength)].fill_diagonal_(-1.0)
    values, found = strength.topk(number + 1, dim=1)
    taken = values > values[:, -1:].clamp_min(beyond) + TIE
    found = torch.where(taken, found, n_genes).sort(dim=1).values[:, :number]
    return torch.where(found < n_genes, found, -1)
