"""The control cells, and the cells that tell how genes vary together: read once for all groups."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Any

import numpy as np

from cdn_sc.errors import InputError
from cdn_sc.tl._candidates import arm_statistics
from cdn_sc.tl._checks import LARGEST_VALUE
from cdn_sc.tl._expression import Expression, dense, digest_of, extremes
from cdn_sc.tl._randomness import draw_by_name
from cdn_sc.tl._screen_cells import ScreenCells, ScreenContrasts, draw_screen_cells

# More control cells than any bundled model has met in training would only cost time and memory.
MOST_CONTROL_CELLS = 20_000


@dataclass(frozen=True)
class ControlValues:
    """At some genes: the control cells, and how the cells of the screen's conditions vary within these."""

    genes: np.ndarray
    values: np.ndarray
    contrasts: ScreenContrasts | None

    @cached_property
    def contrasts_at_once(self) -> np.ndarray | None:
        """The contrasts as one array, made once."""
        return None if self.contrasts is None else np.concatenate(list(self.contrasts))


class ControlCells:
    """The control cells of a call.

    Parameters
    ----------
    expression
        The values.
    cells
        Rows of the control cells, increasing.
    seed
        Draws cells where there are more of them than are used.
    conditions
        Rows of the cells of the other conditions, which tell how genes vary together; None: those of none.

    Attributes
    ----------
    statistics
        Of all control cells, every gene.
    extremes
        Least and largest value.

    Raises
    ------
    InputError
        The control cells hold values too large to compute with.
    """

    def __init__(
        self,
        expression: Expression,
        cells: np.ndarray,
        seed: int,
        conditions: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        rows = expression.rows(cells)
        self.extremes = extremes(rows)
        if reason := too_large(*self.extremes):
            raise InputError(f"{expression.name}: the control has {reason}.")
        self.statistics = arm_statistics(rows)
        # by their names, so that neither the choice nor the sums depend on how the object is sorted
        names = expression.cell_names[cells]
        drawn = draw_by_name(names, MOST_CONTROL_CELLS, seed, "control")
        rows = rows[drawn[np.argsort(names[drawn])]]
        # Each group takes other columns of the control cells.
        self._rows: Any = rows if isinstance(rows, np.ndarray) else rows.tocsc()
        self._screen: ScreenCells | None = None
        if conditions is not None:
            number = MOST_CONTROL_CELLS - rows.shape[0]
            self._screen = draw_screen_cells(expression, conditions, rows.shape[0], number, seed)
        self._last: ControlValues | None = None

    @property
    def digest(self) -> bytes:
        """SHA-256 of all that groups are compared with, values of other conditions' cells included."""
        return sha256(digest_of(self._rows) + (b"" if self._screen is None else self._screen.digest)).digest()

    def at(self, genes: np.ndarray) -> ControlValues:
        """Return the values that groups are compared with.

        The very same objects as long as the genes stay the same, so that models can keep what they computed
        from them.

        Parameters
        ----------
        genes
            Positions of the genes, in the order wanted.
        """
        # read and replaced as one object, so that threads never see values of different genes together
        last = self._last
        if last is not None and np.array_equal(last.genes, genes):
            return last
        values = dense(self._rows, genes)
        values.setflags(write=False)  # spares the model a check whether it was written over
        contrasts = None
        if self._screen is not None and self._screen.members:
            contrasts = self._screen.contrasts(genes)
        self._last = last = ControlValues(genes, values, contrasts)
        return last


def too_large(low: float, high: float) -> str:
    """Return what is wrong with values of this range, or nothing."""
    largest = max(-low, high)
    if largest <= LARGEST_VALUE:
        return ""
    return f"values too large to compute with: up to {largest:g}, {LARGEST_VALUE:g} is the limit"
