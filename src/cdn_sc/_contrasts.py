"""How cells vary within the conditions of a screen: which cells count, and as what."""

from collections.abc import Iterable, Sequence

import numpy as np

# Cells of one condition are at most this share of those behind the correlations: a perturbation breaks
# relations of the very gene that it hits, and its own cells would blur what is looked for.
LARGEST_SHARE = 0.05
# One cell less its own mean is nothing.
FEWEST_OF_A_CONDITION = 2
# Where cells are drawn, little is left of fewer once their mean is taken out.
ENOUGH_OF_A_CONDITION = 10


def most_of_a_condition(n_control: int, sizes: Sequence[int]) -> int:
    """How many cells of one condition may count, so that none exceeds its share.

    Parameters
    ----------
    n_control
        Number of control cells.
    sizes
        Number of cells of each other condition.
    """
    most = max(sizes, default=0)
    # each step takes cells away, and the total with them; it ends, since whole numbers do
    while most > LARGEST_SHARE * (n_control + sum(min(size, most) for size in sizes)):
        most = int(LARGEST_SHARE * (n_control + sum(min(size, most) for size in sizes)))
    return most


def contrasts_of_screen(n_control: int, conditions: Sequence[np.ndarray]) -> np.ndarray | None:
    """How cells of all conditions vary within these, no condition with more than its share of cells.

    Parameters
    ----------
    n_control
        Number of control cells.
    conditions
        Cells x genes of each condition, in random order; the first ones are taken.

    Returns
    -------
    As :func:`within_conditions`; None where the conditions are too few or too small to be of use.
    """
    most = most_of_a_condition(n_control, [len(cells) for cells in conditions])
    kept = [cells[:most] for cells in conditions if min(len(cells), most) >= FEWEST_OF_A_CONDITION]
    return within_conditions(kept) if kept else None


def within_conditions(parts: Iterable[np.ndarray]) -> np.ndarray:
    """How cells vary within their conditions.

    Parameters
    ----------
    parts
        The cells of each condition, cells x genes, at least one condition.

    Returns
    -------
    Contrasts x genes, float32: of m cells m - 1 rows, orthonormal combinations of the cells that their mean
    does not enter. Sums of products over them are those of the deviations from the mean, and there are as
    many of them as degrees of freedom, so that noise is judged by their number alone.
    """
    return np.concatenate([contrasts_of_condition(part) for part in parts])


def contrasts_of_condition(cells: np.ndarray) -> np.ndarray:
    """Those of one condition: the Householder reflection that takes the mean to the first row, without it."""
    n_cells = len(cells)
    if n_cells < 2:
        return np.zeros((0, cells.shape[1]), dtype=np.float32)
    # the mean first, so that values far from 0 do not lose their digits
    centred = cells - cells.mean(axis=0, dtype=np.float64).astype(np.float32)
    mirror = np.full(n_cells, 1.0 / np.sqrt(n_cells), dtype=np.float32)
    mirror[0] -= 1.0
    mirror /= np.linalg.norm(mirror)
    reflected = centred - 2.0 * mirror[:, None] * (mirror @ centred)
    return np.asarray(reflected[1:], dtype=np.float32)
