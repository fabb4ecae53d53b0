"""A perturbed arm beside its control arm: what several groups of features start from."""

from dataclasses import dataclass

import numpy as np

from cdn_sc.features.control import ControlSummary, Moments, moments

# Cell numbers enter the statistics only up to these sizes, so that significance does not grow without
# bound and stays in the range seen in training; the estimates themselves use all cells.
MAX_CONTROL_CELLS = 2000
MAX_PERTURBED_CELLS = 500


@dataclass(frozen=True)
class Comparison:
    """Perturbed cells and the control arm that they are compared with.

    Parameters
    ----------
    control
        Summary of the control cells.
    values
        Perturbed cells x genes, float32, contiguous.
    perturbed
        Moments of the perturbed cells.
    shift
        Difference of means, perturbed minus control, per gene.
    spread
        Standard deviation in the control cells, per gene; where the gene is constant there, in the
        perturbed cells; 1 where it is constant in both.
    """

    control: ControlSummary
    values: np.ndarray
    perturbed: Moments
    shift: np.ndarray
    spread: np.ndarray

    @property
    def n_genes(self) -> int:
        """Number of genes."""
        return self.shift.size

    @property
    def n_control(self) -> int:
        """Number of control cells, all of them."""
        return self.control.n_cells

    @property
    def n_relation_cells(self) -> int:
        """Degrees of freedom behind the correlations."""
        return self.control.n_relation_cells

    @property
    def n_perturbed(self) -> int:
        """Number of perturbed cells, all of them."""
        return self.values.shape[0]

    @property
    def capped_control(self) -> int:
        """Number of control cells that significance may count."""
        return min(self.n_control, MAX_CONTROL_CELLS)

    @property
    def capped_perturbed(self) -> int:
        """Number of perturbed cells that significance may count."""
        return min(self.n_perturbed, MAX_PERTURBED_CELLS)

    @property
    def inverse_cells(self) -> float:
        """Sum of the arms' inverse (capped) cell numbers: the squared standard error at unit variance."""
        return 1 / self.capped_control + 1 / self.capped_perturbed


def compare(control: ControlSummary, perturbed_values: np.ndarray) -> Comparison:
    """Set perturbed cells beside a control arm; raises as :func:`cdn_sc.features.gene_inputs` does."""
    values = np.ascontiguousarray(perturbed_values, dtype=np.float32)
    if values.ndim != 2 or values.shape[1] != control.mean.size:
        raise ValueError(
            f"the perturbed values have shape {values.shape}; cells x {control.mean.size} genes, those of "
            "the control arm, are needed"
        )
    if len(values) < 2:
        raise ValueError(f"there are {len(values)} perturbed cells; at least 2 are needed")
    perturbed = moments(values)
    spread = np.where(
        control.variance > 0, control.variance, np.where(perturbed.variance > 0, perturbed.variance, 1.0)
    )
    return Comparison(control, values, perturbed, perturbed.mean - control.mean, np.sqrt(spread))
