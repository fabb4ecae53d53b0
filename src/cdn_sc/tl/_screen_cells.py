"""Cells of all conditions of a screen, as far as they tell how genes vary together."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from cdn_sc._contrasts import within_conditions
from cdn_sc._logging import logger
from cdn_sc.tl._checks import LARGEST_VALUE
from cdn_sc.tl._expression import Expression, dense, digest_of, is_sparse
from cdn_sc.tl._randomness import draw_by_name

# Dense matrices of very many genes: at most this many values are held.
MOST_DENSE_VALUES = 200_000_000
# Of fewer cells of a condition little is left once their mean is taken out.
FEWEST_OF_A_CONDITION = 10
_ROWS_AT_ONCE = 1024


@dataclass(frozen=True)
class ScreenCells:
    """Values of some cells of every condition.

    Parameters
    ----------
    rows
        Cells x all genes: a CSC matrix or a dense array.
    members
        Positions of each condition's cells among the rows, by its name; at least two.
    """

    rows: Any
    members: dict[str, np.ndarray]

    @property
    def sizes(self) -> dict[str, int]:
        """Number of cells of each condition."""
        return {name: len(cells) for name, cells in self.members.items()}

    @property
    def digest(self) -> bytes:
        """SHA-256 of the cells and of the conditions that they belong to."""
        digest = sha256(digest_of(self.rows))
        for name, cells in self.members.items():
            digest.update(name.encode())
            digest.update(cells.tobytes())
        return digest.digest()

    def contrasts(self, genes: np.ndarray, without: str | None = None) -> np.ndarray:
        """Return how these cells vary within their conditions: see `within_conditions`.

        Parameters
        ----------
        genes
            Positions of the genes.
        without
            Condition whose cells are left out.
        """
        values = dense(self.rows, genes)
        kept = [values[cells] for name, cells in self.members.items() if name != without]
        return within_conditions([values[:0], *kept])


def draw_screen_cells(
    expression: Expression, conditions: Mapping[str, np.ndarray], number: int, seed: int
) -> ScreenCells:
    """Draw cells of all conditions alike, or of as many conditions as give ten cells each.

    Parameters
    ----------
    expression
        The values.
    conditions
        Rows of the cells of each condition, increasing.
    number
        How many cells at most; fewer of a dense matrix of more than 10,000 genes.
    seed
        Decides, with the cells of the object alone, which.

    Returns
    -------
    The cells. Those with values that cannot be computed with are left out, and conditions that cannot be
    read.
    """
    if not expression.is_sparse:
        number = min(number, MOST_DENSE_VALUES // max(expression.shape[1], 1))
    drawn = _draw(conditions, expression.cell_names, max(number, 0), seed)
    try:
        cells, rows = _read(expression, drawn)
    except OSError:
        drawn = {name: of_it for name, of_it in drawn.items() if _can_be_read(expression, of_it)}
        cells, rows = _read(expression, drawn)
    usable = _usable(rows)
    if not usable.all():
        rows, cells = rows[np.flatnonzero(usable)], cells[usable]
    place = np.full(expression.shape[0], -1)
    place[cells] = np.arange(len(cells))
    members = {name: place[of_it][place[of_it] >= 0] for name, of_it in drawn.items()}
    members = {name: found for name, found in members.items() if len(found) >= 2}
    logger.debug(
        "Correlations also from %d cells of %d conditions of %d (%d cells of unusable values left out).",
        sum(map(len, members.values())),
        len(members),
        len(conditions),
        int(np.sum(~usable)),
    )
    return ScreenCells(rows.tocsc() if is_sparse(rows) else rows, members)


def _read(expression: Expression, drawn: Mapping[str, np.ndarray]) -> tuple[np.ndarray, Any]:
    cells = np.sort(np.concatenate([*drawn.values(), np.zeros(0, dtype=np.int64)])).astype(np.int64)
    return cells, expression.rows(cells)


def _can_be_read(expression: Expression, cells: np.ndarray) -> bool:
    try:
        expression.rows(cells)
    except OSError:
        return False
    return True


def _draw(
    conditions: Mapping[str, np.ndarray], cell_names: pd.Index, number: int, seed: int
) -> dict[str, np.ndarray]:
    """Rows of the cells that are drawn, by condition, in the order of the names."""
    names = sorted(conditions)
    total = sum(len(conditions[name]) for name in names)
    if total <= number:
        return {name: conditions[name] for name in names}
    rng = np.random.default_rng(np.random.SeedSequence([seed, *b"conditions"]))
    drawn: dict[str, np.ndarray] = {}
    left = number
    for place in rng.permutation(len(names)):
        of_it = conditions[names[place]]
        size = min(len(of_it), max(FEWEST_OF_A_CONDITION, number * len(of_it) // total))
        size = min(size, left)
        if size < min(len(of_it), FEWEST_OF_A_CONDITION):
            continue
        left -= size
        drawn[names[place]] = of_it[draw_by_name(cell_names[of_it], size, seed, "screen")]
    return dict(sorted(drawn.items()))


def _usable(rows: Any) -> np.ndarray:
    """Tell which rows have only values that can be computed with."""
    if is_sparse(rows):
        bad = ~(np.abs(rows.data.astype(np.float64)) <= LARGEST_VALUE)
        counted = sparse.csr_array((bad.astype(np.int64), rows.indices, rows.indptr), shape=rows.shape)
        return np.asarray(counted.sum(axis=1)).ravel() == 0
    usable = np.ones(len(rows), dtype=bool)
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        part = slice(start, start + _ROWS_AT_ONCE)
        usable[part] = (np.abs(np.asarray(rows[part], dtype=np.float64)) <= LARGEST_VALUE).all(axis=1)
    return usable
