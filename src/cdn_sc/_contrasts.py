"""Variation within conditions, as rows that count degrees of freedom."""

from collections.abc import Iterable

import numpy as np


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
    return np.concatenate([_contrasts(part) for part in parts])


def _contrasts(cells: np.ndarray) -> np.ndarray:
    """Householder reflection that takes the mean to the first row, without that row."""
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
