"""Mean and variance of an arm, its change against control, and which genes are candidates."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from cdn_sc._compile import compiled
from cdn_sc._labels import column_of
from cdn_sc.errors import InputError, MissingNameError, did_you_mean
from cdn_sc.tl._expression import Expression, is_sparse

# As scanpy.tl.rank_genes_groups, so that the same genes get the same log fold change.
_PSEUDO_MEAN = 1e-9
_GENES_AT_ONCE = 1024
# A gene that hardly any control cell has may be what a group was made to express: of that group's cells at
# least this share, and this number, must have it.
SHARE_IN_A_GROUP, CELLS_IN_A_GROUP = 0.1, 3
# Welch t of less than this factor apart (as a logarithm) are equal but for rounding
STEP = 1e-6


@dataclass(frozen=True)
class ArmStatistics:
    """Of the cells of one arm, for each gene: mean, variance (n - 1), whether it varies, non-zeros."""

    n_cells: int
    mean: np.ndarray
    variance: np.ndarray
    varies: np.ndarray
    n_detected: np.ndarray


def arm_statistics(rows: Any) -> ArmStatistics:
    """Return the statistics of an arm from its rows (cells x genes, sparse or dense)."""
    n_cells, n_genes = rows.shape
    if is_sparse(rows):
        rows = rows.tocsr()
        rows.sum_duplicates()
        total, squares, lowest, highest, detected = _column_sums(rows.indices, rows.data, n_genes, n_cells)
        # Least and largest value, not the variance, tell exactly whether a gene is constant.
        varies = highest > lowest
        mean = total / n_cells
        variance = np.maximum(squares - n_cells * mean**2, 0) / max(n_cells - 1, 1)
    else:
        mean, variance, varies = np.empty(n_genes), np.empty(n_genes), np.empty(n_genes, bool)
        detected = np.empty(n_genes, np.int64)
        for start in range(0, n_genes, _GENES_AT_ONCE):
            block = slice(start, start + _GENES_AT_ONCE)
            values = np.asarray(rows[:, block], dtype=np.float64)
            mean[block] = values.mean(axis=0)
            variance[block] = values.var(axis=0) * n_cells / max(n_cells - 1, 1)
            varies[block] = values.max(axis=0) > values.min(axis=0)
            detected[block] = np.count_nonzero(values, axis=0)
    return ArmStatistics(n_cells, mean, np.where(varies, variance, 0.0), varies, detected)


@compiled
def _column_sums(indices, data, n_genes, n_cells):  # type: ignore[no-untyped-def]
    """Sum, sum of squares, least and largest value, non-zeros of each column, from rows' stored values."""
    total, squares = np.zeros(n_genes), np.zeros(n_genes)
    lowest, highest = np.full(n_genes, np.inf), np.full(n_genes, -np.inf)
    stored, detected = np.zeros(n_genes, np.int64), np.zeros(n_genes, np.int64)
    for place in range(len(indices)):
        gene, value = indices[place], np.float64(data[place])
        total[gene] += value
        squares[gene] += value * value
        lowest[gene] = min(lowest[gene], value)
        highest[gene] = max(highest[gene], value)
        stored[gene] += 1
        detected[gene] += value != 0.0
    for gene in range(n_genes):
        if stored[gene] < n_cells:
            lowest[gene], highest[gene] = min(lowest[gene], 0.0), max(highest[gene], 0.0)
    return total, squares, lowest, highest, detected


def welch_t(control: ArmStatistics, perturbed: ArmStatistics) -> np.ndarray:
    """Return Welch's t of each gene, perturbed against control; 0 where the gene varies in neither arm."""
    error = np.sqrt(control.variance / control.n_cells + perturbed.variance / perturbed.n_cells)
    difference = perturbed.mean - control.mean
    return np.divide(difference, error, out=np.zeros_like(difference), where=error > 0)


def log_fold_change(
    control: ArmStatistics, perturbed: ArmStatistics, *, logarithmic: bool, log_scale: float = 1.0
) -> np.ndarray:
    """Return the log2 fold change of each gene, perturbed against control.

    On log1p data as :func:`scanpy.tl.rank_genes_groups` defines it, from the means m of the log
    values: log2((exp(m1) - 1 + 1e-9) / (exp(m0) - 1 + 1e-9)), the values made natural logarithms by
    `log_scale` where their base is another. On other data the difference of means.
    """
    if not logarithmic:
        return perturbed.mean - control.mean
    totals = [np.expm1(arm.mean * log_scale) + _PSEUDO_MEAN for arm in (perturbed, control)]
    return np.log2(totals[0] / totals[1])


def candidate_genes(
    control: ArmStatistics,
    perturbed: ArmStatistics,
    *,
    n_genes: int | None,
    mask: np.ndarray | None,
    places: np.ndarray,
) -> np.ndarray:
    """Return the positions of a group's own candidate genes, increasing, as published.

    Parameters
    ----------
    control
        Statistics of the control cells.
    perturbed
        Statistics of the group's cells.
    n_genes
        How many genes at most: those with the largest absolute Welch t. `None`: no limit.
    mask
        Genes of the user's choice, in place of the choice by t; `n_genes` does not apply to them.
    places
        Place of each gene among all by its name, which decides between genes of equal t.

    Returns
    -------
    Positions of genes that vary in at least one of the arms; none if there are none.
    """
    strength = np.abs(welch_t(control, perturbed))
    return _strongest(control.varies | perturbed.varies, strength, n_genes, mask, places)


class Panel:
    """One choice of genes for all groups of a screen, made while these are read one after another.

    Parameters
    ----------
    control
        Statistics of the control cells.
    min_detection
        Share of the control cells that must have a gene.
    places
        Place of each gene among all by its name, which decides between genes of equal t.
    """

    def __init__(self, control: ArmStatistics, min_detection: float, places: np.ndarray) -> None:
        self._control, self._places = control, places
        self._min_detection = min_detection
        self._varies = control.varies.copy()
        self._expressed = control.n_detected >= min_detection * control.n_cells
        self._strength = np.zeros(len(control.mean))

    def add(self, perturbed: ArmStatistics) -> None:
        """Take a group into account."""
        self._varies |= perturbed.varies
        least = max(CELLS_IN_A_GROUP, max(SHARE_IN_A_GROUP, self._min_detection) * perturbed.n_cells)
        self._expressed |= perturbed.n_detected >= least
        np.maximum(self._strength, np.abs(welch_t(self._control, perturbed)), out=self._strength)

    def choose(self, *, n_genes: int | None, mask: np.ndarray | None) -> np.ndarray:
        """Return the positions of the genes, increasing.

        Parameters
        ----------
        n_genes
            How many at most: those with the largest absolute Welch t in any of the groups. `None`: no limit.
        mask
            Genes of the user's choice, in place of all expressed ones.

        Returns
        -------
        Positions of genes that vary in the control cells or in a group; of a mask all, so that the panel is
        the same whichever groups are scored, or none where not one of them varies.
        """
        if mask is not None:
            return np.flatnonzero(mask if (self._varies & mask).any() else np.zeros_like(mask))
        return _strongest(self._varies & self._expressed, self._strength, n_genes, None, self._places)


def _strongest(
    allowed: np.ndarray,
    strength: np.ndarray,
    n_genes: int | None,
    mask: np.ndarray | None,
    places: np.ndarray,
) -> np.ndarray:
    """Positions, increasing, of the `n_genes` allowed genes of largest strength, or of all of a mask."""
    if mask is not None:
        return np.flatnonzero(allowed & mask)
    genes = np.flatnonzero(allowed)
    if n_genes is None or len(genes) <= n_genes:
        return genes
    # what differs by rounding alone is equal, and of equals the names decide, not the columns
    with np.errstate(divide="ignore"):
        steps = np.round(np.log(strength[genes]) / STEP)
    order = np.lexsort([places[genes], -steps])
    return np.sort(genes[order[:n_genes]])


def resolve_mask(mask_var: str | np.ndarray | None, expression: Expression) -> np.ndarray | None:
    """Return the user's mask of genes as a boolean array, or None if there is none."""
    if mask_var is None:
        return None
    values: Any = mask_var
    if isinstance(mask_var, str):
        if mask_var not in expression.var.columns:
            raise MissingNameError(
                f"var has no column {mask_var!r} (mask_var). {did_you_mean(mask_var, expression.var.columns)}"
            )
        values = column_of(expression.var, mask_var, "var")
    what = f"mask_var ({mask_var!r})" if isinstance(mask_var, str) else "mask_var"
    if (
        isinstance(values, pd.Series)
        and isinstance(mask_var, pd.Series)
        and not values.index.equals(expression.var_names)
    ):
        raise InputError(
            f"{what} is a Series with an index other than the names of the genes in {expression.name}."
        )
    mask = np.asarray(values)
    if mask.dtype != bool:
        raise InputError(f"{what} is of type {mask.dtype}, and booleans are wanted: one per gene.")
    if mask.shape != (expression.shape[1],):
        raise InputError(
            f"{what} has shape {mask.shape}, but {expression.name} has {expression.shape[1]} genes: one "
            "boolean per gene is wanted."
        )
    if not mask.any():
        raise InputError(f"{what} selects no gene.")
    return mask
