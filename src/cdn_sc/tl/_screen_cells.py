"""Cells of all conditions of a screen, as far as they tell how genes vary together."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from cdn_sc.tl._checks import LARGEST_VALUE
from cdn_sc.tl._expression import Expression, dense, is_sparse

# dense matrices of very many genes: at most this many values are held
_MOST_VALUES = 200_000_000


@dataclass(frozen=True)
class ScreenCells:
    """Values of some cells of every condition.

    Parameters
    ----------
    rows
        Cells x all genes: a CSC matrix or a dense array, the cells of a condition next to each other.
    sizes
        Number of cells of each condition, by its name, in the order of the rows.
    """

    rows: Any
    sizes: dict[str, int]

    def deviations(self, genes: np.ndarray, without: str | None = None) -> np.ndarray:
        """Return these cells' values less their condition's mean: dense float32 of shape (cells, genes).

        Parameters
        ----------
        genes
            Positions of the genes.
        without
            Condition whose cells are left out.
        """
        values = dense(self.rows, genes)
        parts, start = [values[:0]], 0
        for condition, size in self.sizes.items():
            if condition != without:
                part = values[start : start + size]
                parts.append(part - part.mean(axis=0, dtype=np.float64).astype(np.float32))
            start += size
        return np.concatenate(parts)


def draw_screen_cells(
    expression: Expression, conditions: Mapping[str, np.ndarray], number: int, seed: int
) -> ScreenCells:
    """Draw cells from all conditions alike; conditions of which fewer than two are drawn play no part.

    Parameters
    ----------
    expression
        The values.
    conditions
        Rows of the cells of each condition, increasing.
    number
        How many cells at most.
    seed
        Decides, with the cells of the object alone, which.

    Returns
    -------
    The cells. Those with values that cannot be computed with are left out.
    """
    names = sorted(conditions)
    cells = np.concatenate([conditions[name] for name in names])
    codes = np.repeat(np.arange(len(names)), [len(conditions[name]) for name in names])
    if len(cells) > (number := max(0, min(number, _MOST_VALUES // max(expression.shape[1], 1)))):
        rng = np.random.default_rng(np.random.SeedSequence([seed, *b"screen"]))
        drawn = np.sort(rng.choice(len(cells), number, replace=False, shuffle=False))
        cells, codes = cells[drawn], codes[drawn]
    in_file = np.argsort(cells)
    rows = expression.rows(cells[in_file])[np.argsort(in_file)]
    kept = _usable(rows)
    sizes = np.bincount(codes[kept], minlength=len(names))
    rows = rows[np.flatnonzero(kept & (sizes[codes] >= 2))]
    return ScreenCells(
        rows.tocsc() if is_sparse(rows) else rows,
        {name: int(size) for name, size in zip(names, sizes, strict=True) if size >= 2},
    )


def _usable(rows: Any) -> np.ndarray:
    """Tell which rows have only values that can be computed with."""
    if not is_sparse(rows):
        with np.errstate(invalid="ignore"):
            return (np.abs(rows) <= LARGEST_VALUE).all(axis=1)
    bad = ~(np.abs(rows.data) <= LARGEST_VALUE)
    counts = sparse.csr_array((bad.astype(np.int64), rows.indices, rows.indptr), shape=rows.shape).sum(axis=1)
    return np.asarray(counts).ravel() == 0
