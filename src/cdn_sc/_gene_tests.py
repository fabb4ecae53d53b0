"""Two-sample tests of each gene by itself, for the result table: what a sceptic sets beside the score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from cdn_sc.features import ControlSummary, GroupStatistics


class ControlValues(Protocol):
    """What :func:`gene_tests` reads of the control cells; a control summary of the features has it too."""

    @property
    def n_cells(self) -> int:
        """Number of cells, all of them."""

    @property
    def sorted_values(self) -> np.ndarray:
        """Genes x cells, ascending along cells."""

    @property
    def mean(self) -> np.ndarray:
        """Per gene."""

    @property
    def variance(self) -> np.ndarray:
        """Per gene, unbiased."""


@dataclass(frozen=True)
class SortedArm:
    """The least of the control cells that the tests need, where the network has no summary of them."""

    n_cells: int
    sorted_values: np.ndarray
    mean: np.ndarray
    variance: np.ndarray


def sort_arm(values: np.ndarray) -> SortedArm:
    """Sort the values of each gene, from cells x genes."""
    from cdn_sc.features._rank_tests import sort_genes
    from cdn_sc.features.control import moments

    values = np.ascontiguousarray(values, dtype=np.float32)
    found = moments(values)
    return SortedArm(len(values), sort_genes(values), found.mean, found.variance)


def gene_tests(control: ControlValues, perturbed_values: np.ndarray) -> dict[str, np.ndarray]:
    """Test each gene on all cells, with none of the limits that the features of a network have.

    Parameters
    ----------
    control
        The control cells.
    perturbed_values
        Perturbed cells x genes, at least 2 cells.

    Returns
    -------
    `t_statistic`, that of Welch's t-test, and `wilcoxon_statistic`, the z score of the rank-sum test (normal
    approximation, corrected for ties): float32, one a gene, positive where the perturbed cells are higher.
    0 where the statistic does not exist, as for a gene that is constant in both arms.
    """
    from cdn_sc.features._rank_tests import rank_tests

    perturbed = sort_arm(perturbed_values)
    wilcoxon, _, _ = rank_tests(control.sorted_values, perturbed.sorted_values)
    return {"t_statistic": _welch_t(control, perturbed), "wilcoxon_statistic": wilcoxon}


def tests_from_statistics(control: ControlSummary, group: GroupStatistics) -> dict[str, np.ndarray]:
    """The same from what was computed of the group for the gene transformer.

    Parameters
    ----------
    control
        Summary of the control cells.
    group
        Statistics of the perturbed cells beside them.
    """
    return {"t_statistic": _welch_t(control, group), "wilcoxon_statistic": group.wilcoxon}


def _welch_t(control: ControlValues, perturbed: SortedArm | GroupStatistics) -> np.ndarray:
    error = np.sqrt(control.variance / control.n_cells + perturbed.variance / perturbed.n_cells)
    shift = perturbed.mean - control.mean
    return np.divide(shift, error, out=np.zeros(shift.shape), where=error > 0).astype(np.float32)
