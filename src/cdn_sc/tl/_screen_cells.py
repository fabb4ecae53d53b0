"""Cells of all conditions of a screen, as far as they tell how genes vary together."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from cdn_sc._contrasts import (
    ENOUGH_OF_A_CONDITION,
    FEWEST_OF_A_CONDITION,
    contrasts_of_condition,
    most_of_a_condition,
)
from cdn_sc._logging import logger
from cdn_sc.tl._checks import LARGEST_VALUE
from cdn_sc.tl._expression import Expression, dense, digest_of, is_sparse
from cdn_sc.tl._randomness import draw_by_name

# Of very many genes at most this many values: all of them are held where the matrix is dense, and the choice
# does not depend on how it is kept.
MOST_VALUES = 400_000_000
_ROWS_AT_ONCE = 1024


@dataclass(frozen=True)
class ScreenCells:
    """Values of some cells of every condition.

    Parameters
    ----------
    rows
        Cells x all genes: a CSR matrix or a dense array.
    members
        Positions of each condition's cells among the rows, by its name; at least two.
    """

    rows: Any
    members: dict[str, np.ndarray]

    @property
    def digest(self) -> bytes:
        """SHA-256 of the cells and of the conditions that they belong to."""
        digest = sha256(digest_of(self.rows))
        for name, cells in self.members.items():
            digest.update(name.encode())
            digest.update(cells.tobytes())
        return digest.digest()

    def contrasts(self, genes: np.ndarray) -> "ScreenContrasts":
        """Return how these cells vary within their conditions at some genes."""
        return ScreenContrasts(self, genes)


@dataclass(frozen=True)
class ScreenContrasts:
    """Contrasts of one condition after another, made dense when they are asked for.

    See :func:`cdn_sc._contrasts.within_conditions`.
    """

    cells: ScreenCells
    genes: np.ndarray

    def __iter__(self) -> Iterator[np.ndarray]:
        """Contrasts x genes of some conditions at a time."""
        values: list[np.ndarray] = []
        rows = self.cells.rows
        for members in self.cells.members.values():
            values.append(contrasts_of_condition(dense(rows[members], self.genes)))
            if sum(map(len, values)) >= _ROWS_AT_ONCE:
                yield np.concatenate(values)
                values = []
        if values:
            yield np.concatenate(values)


def draw_screen_cells(
    expression: Expression, conditions: Mapping[str, np.ndarray], n_control: int, number: int, seed: int
) -> ScreenCells:
    """Draw cells of all conditions alike, or of as many conditions as give ten cells each.

    No condition has more than its share of the cells, see :func:`cdn_sc._contrasts.most_of_a_condition`.

    Parameters
    ----------
    expression
        The values.
    conditions
        Rows of the cells of each condition, increasing.
    n_control
        Number of control cells.
    number
        How many cells at most; fewer where there are more than 20,000 genes.
    seed
        Decides, with the cells of the object alone, which.

    Returns
    -------
    The cells. Those with values that cannot be computed with are left out, and conditions that cannot be
    read.
    """
    number = min(number, MOST_VALUES // max(expression.shape[1], 1))
    most = most_of_a_condition(n_control, [len(cells) for cells in conditions.values()])
    conditions = {
        name: cells[draw_by_name(expression.cell_names[cells], most, seed, "condition")]
        for name, cells in conditions.items()
        if min(len(cells), most) >= FEWEST_OF_A_CONDITION
    }
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
    members = {name: found for name, found in members.items() if len(found) >= FEWEST_OF_A_CONDITION}
    logger.debug(
        "Correlations also from %d cells of %d conditions of %d (%d cells of unusable values left out).",
        sum(map(len, members.values())),
        len(members),
        len(conditions),
        int(np.sum(~usable)),
    )
    return ScreenCells(rows, members)


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
        size = min(len(of_it), max(ENOUGH_OF_A_CONDITION, number * len(of_it) // total))
        size = min(size, left)
        if size < min(len(of_it), ENOUGH_OF_A_CONDITION):
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
