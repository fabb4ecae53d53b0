"""The control cells, and the cells that tell how genes vary together: read once for all groups."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np

from cdn_sc.errors import InputError
from cdn_sc.tl._candidates import arm_statistics
from cdn_sc.tl._checks import LARGEST_VALUE
from cdn_sc.tl._expression import Expression, dense, digest_of, extremes
from cdn_sc.tl._randomness import draw_by_name
from cdn_sc.tl._screen_cells import ScreenCells, draw_screen_cells

# More control cells than any bundled model has met in training would only cost time and memory.
MOST_CONTROL_CELLS = 20_000
# A group's own cells blur the very relations that its perturbation broke, measurably from this share of all
# cells behind the correlations on; below, all groups share what is computed from those cells.
LARGEST_OWN_SHARE = 0.02


@dataclass(frozen=True)
class ControlValues:
    """At some genes: the control cells, and how the screen's cells vary, without the condition `without`."""

    genes: np.ndarray
    without: str | None
    values: np.ndarray
    contrasts: np.ndarray | None


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
            self._screen = draw_screen_cells(expression, conditions, number, seed)
        self._sizes = {} if self._screen is None else self._screen.sizes
        self._relation_cells = rows.shape[0] + sum(self._sizes.values())
        self._last: ControlValues | None = None

    @property
    def digest(self) -> bytes:
        """SHA-256 of all that groups are compared with, values of other conditions' cells included."""
        return sha256(digest_of(self._rows) + (b"" if self._screen is None else self._screen.digest)).digest()

    def at(self, genes: np.ndarray, group: str) -> ControlValues:
        """Return the values that a group is compared with.

        The very same arrays as long as the genes, and what is left out, stay the same, so that models can
        keep what they computed from them.

        Parameters
        ----------
        genes
            Positions of the genes, in the order wanted.
        group
            Name of the group: where its own cells are many, they are not among those behind the correlations.
        """
        own = self._sizes.get(group, 0)
        without = group if own > LARGEST_OWN_SHARE * self._relation_cells else None
        # read and replaced as one object, so that threads never see values of different genes together
        last = self._last
        if last is not None and np.array_equal(last.genes, genes):
            if last.without == without:
                return last
            values = last.values
        else:
            values = dense(self._rows, genes)
            values.setflags(write=False)  # spares the model a check whether it was written over
        contrasts = None if self._screen is None else self._screen.contrasts(genes, without)
        self._last = last = ControlValues(genes, without, values, contrasts)
        return last


def too_large(low: float, high: float) -> str:
    """Return what is wrong with values of this range, or nothing."""
    largest = max(-low, high)
    if largest <= LARGEST_VALUE:
        return ""
    return f"values too large to compute with: up to {largest:g}, {LARGEST_VALUE:g} is the limit"
