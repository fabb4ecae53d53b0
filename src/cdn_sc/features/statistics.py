"""What the cells of one group say, gene by gene and of each gene with its neighbours: linear in the genes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cdn_sc._compile import compiled_sums
from cdn_sc.features._device_statistics import statistics_on_device
from cdn_sc.features._rank_tests import rank_tests
from cdn_sc.features.control import ControlSummary, inverse_deviation, moments


@dataclass(frozen=True)
class GroupStatistics:
    """Statistics of the cells of one group beside those of the control arm, float32, one a gene.

    Parameters
    ----------
    n_cells
        Number of cells.
    mean, variance, excess_kurtosis, detection
        Of the cells, see :class:`cdn_sc.features.control.Moments`; mean and variance float64.
    wilcoxon, rise, fall
        See :func:`cdn_sc.features._rank_tests.rank_tests`, on all cells.
    quadratic_mean, quadratic_variance, linear_mean, linear_variance
        Mean and population variance of the residuals of the control arm's regressions on neighbours.
    fitted_mean, fitted_variance
        Of what the linear one fits: of each gene as its neighbours tell it.
    correlation
        Genes x neighbours: correlation with each neighbour; 0 where one of both does not vary.
    residual_covariance
        Genes x neighbours: of the residual of the linear regression with the neighbour, both in standard
        deviations of the control cells.
    reverse_covariance
        Genes x neighbours: of the neighbour's residual with the gene.
    """

    n_cells: int
    mean: np.ndarray
    variance: np.ndarray
    excess_kurtosis: np.ndarray
    detection: np.ndarray
    wilcoxon: np.ndarray
    rise: np.ndarray
    fall: np.ndarray
    quadratic_mean: np.ndarray
    quadratic_variance: np.ndarray
    linear_mean: np.ndarray
    linear_variance: np.ndarray
    fitted_mean: np.ndarray
    fitted_variance: np.ndarray
    correlation: np.ndarray
    residual_covariance: np.ndarray
    reverse_covariance: np.ndarray


def group_statistics(control: ControlSummary, values: np.ndarray) -> GroupStatistics:
    """Compute the statistics of a group.

    Parameters
    ----------
    control
        From :func:`cdn_sc.features.summarize_control`, same genes in the same order.
    values
        Cells x genes, float32, finite, at least 2 cells.

    Raises
    ------
    ValueError
        If there are fewer than 2 cells, or other genes than in the control arm.
    """
    values = np.ascontiguousarray(values, dtype=np.float32)
    if values.ndim != 2 or values.shape[1] != control.n_genes:
        raise ValueError(
            f"the perturbed values have shape {values.shape}; cells x {control.n_genes} genes, those of "
            "the control arm, are needed"
        )
    if len(values) < 2:
        raise ValueError(f"there are {len(values)} perturbed cells; at least 2 are needed")
    if control.device.type != "cpu":
        return GroupStatistics(len(values), **statistics_on_device(control, values))
    of_cells = moments(values)
    by_gene = np.ascontiguousarray(values.T)
    wilcoxon, rise, fall = rank_tests(control.sorted_values, np.sort(by_gene, axis=1), control.ties)
    standardise_genes(by_gene, control.mean, control.variance)
    quadratic = _mean_and_variance(control.quadratic.residuals(by_gene))
    left = control.linear.residuals(by_gene)
    linear = _mean_and_variance(left)
    fitted = _mean_and_variance(by_gene - left)
    correlation, covariance, reverse = _with_neighbours(
        by_gene, left, control.neighbours.cpu().numpy(), of_cells.variance > 0
    )
    return GroupStatistics(
        len(values),
        **of_cells._asdict(),
        wilcoxon=wilcoxon,
        rise=rise,
        fall=fall,
        quadratic_mean=quadratic[0],
        quadratic_variance=quadratic[1],
        linear_mean=linear[0],
        linear_variance=linear[1],
        fitted_mean=fitted[0],
        fitted_variance=fitted[1],
        correlation=correlation,
        residual_covariance=covariance,
        reverse_covariance=reverse,
    )


def standardise_genes(by_gene: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> None:
    """Centre and scale genes x cells by given moments, in place; genes of no variance become 0."""
    by_gene -= mean.astype(np.float32)[:, None]
    by_gene *= inverse_deviation(variance)[:, None]


@compiled_sums
def _mean_and_variance(values):  # type: ignore[no-untyped-def]
    """Mean and population variance of each row."""
    means = np.empty(values.shape[0], dtype=np.float32)
    variances = np.empty(values.shape[0], dtype=np.float32)
    for gene in range(values.shape[0]):
        total = 0.0
        for cell in range(values.shape[1]):
            total += values[gene, cell]
        mean = total / values.shape[1]
        squares = 0.0
        for cell in range(values.shape[1]):
            deviation = values[gene, cell] - mean
            squares += deviation * deviation
        means[gene] = mean
        variances[gene] = squares / values.shape[1]
    return means, variances


@compiled_sums
def _with_neighbours(by_gene, residuals, neighbours, varies):  # type: ignore[no-untyped-def]
    """Correlations with neighbours, and covariances of residuals with them; centres both in place."""
    n_genes, n_cells = by_gene.shape
    scale = np.zeros(n_genes, dtype=np.float32)
    for gene in range(n_genes):
        total, left = np.float32(0.0), np.float32(0.0)
        for cell in range(n_cells):
            total += by_gene[gene, cell]
            left += residuals[gene, cell]
        total /= np.float32(n_cells)
        left /= np.float32(n_cells)
        squares = np.float32(0.0)
        for cell in range(n_cells):
            by_gene[gene, cell] -= total
            residuals[gene, cell] -= left
            squares += by_gene[gene, cell] * by_gene[gene, cell]
        if varies[gene] and squares > 0:
            scale[gene] = np.float32(1.0) / np.sqrt(squares)
    shape = neighbours.shape
    correlation = np.zeros(shape, dtype=np.float32)
    covariance = np.zeros(shape, dtype=np.float32)
    reverse = np.zeros(shape, dtype=np.float32)
    free = np.float32(1.0) / np.float32(n_cells - 1)
    for gene in range(n_genes):
        for k in range(shape[1]):
            other = neighbours[gene, k]
            if other < 0:
                continue
            both, ahead, back = np.float32(0.0), np.float32(0.0), np.float32(0.0)
            for cell in range(n_cells):
                both += by_gene[gene, cell] * by_gene[other, cell]
                ahead += residuals[gene, cell] * by_gene[other, cell]
                back += residuals[other, cell] * by_gene[gene, cell]
            correlation[gene, k] = both * scale[gene] * scale[other]
            covariance[gene, k] = ahead * free
            reverse[gene, k] = back * free
    return correlation, covariance, reverse


@dataclass(frozen=True)
class Comparison:
    """The statistics of some groups, groups x genes, beside those of the control arm, genes: float32.

    Parameters
    ----------
    control
        The control arm's summary.
    n_perturbed
        Cells of each group, groups x 1.
    shift
        Difference of means, perturbed minus control.
    spread
        Standard deviation in the control cells; where the gene is constant there, in the perturbed cells; 1
        where it is constant in both.
    control_mean, control_variance, control_kurtosis, control_detection
        Of the control cells.
    variance, excess_kurtosis, detection, wilcoxon, rise, fall, quadratic_mean, quadratic_variance
        See :class:`GroupStatistics`.
    linear_mean, linear_variance, fitted_mean, fitted_variance, correlation, residual_covariance,
    reverse_covariance
        See :class:`GroupStatistics`; the last three groups x genes x neighbours.
    """

    control: ControlSummary
    n_perturbed: Tensor
    shift: Tensor
    spread: Tensor
    control_mean: Tensor
    control_variance: Tensor
    control_kurtosis: Tensor
    control_detection: Tensor
    variance: Tensor
    excess_kurtosis: Tensor
    detection: Tensor
    wilcoxon: Tensor
    rise: Tensor
    fall: Tensor
    quadratic_mean: Tensor
    quadratic_variance: Tensor
    linear_mean: Tensor
    linear_variance: Tensor
    fitted_mean: Tensor
    fitted_variance: Tensor
    correlation: Tensor
    residual_covariance: Tensor
    reverse_covariance: Tensor

    # Cell numbers enter the statistics only up to these sizes, so that significance does not grow without
    # bound and stays in the range seen in training; the estimates themselves use all cells.
    MAX_CONTROL_CELLS = 2000
    MAX_PERTURBED_CELLS = 500

    @property
    def n_control(self) -> int:
        """Number of control cells, all of them."""
        return self.control.n_cells

    @property
    def capped_control(self) -> int:
        """Number of control cells that significance may count."""
        return min(self.n_control, self.MAX_CONTROL_CELLS)

    @property
    def capped_perturbed(self) -> Tensor:
        """Numbers of perturbed cells that significance may count, groups x 1."""
        return self.n_perturbed.clamp_max(self.MAX_PERTURBED_CELLS)

    @property
    def inverse_cells(self) -> Tensor:
        """Sum of the arms' inverse (capped) cell numbers: the squared standard error at unit variance."""
        return 1 / self.capped_control + 1 / self.capped_perturbed


def compare(control: ControlSummary, groups: Sequence[GroupStatistics]) -> Comparison:
    """Set groups beside the control arm, on its device."""
    mean = np.stack([group.mean for group in groups])
    variance = np.stack([group.variance for group in groups])
    of_control = control.variance
    spread = np.sqrt(np.where(of_control > 0, of_control, np.where(variance > 0, variance, 1.0)))

    def tensor(values: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)).to(control.device)

    names = (
        "excess_kurtosis", "detection", "wilcoxon", "rise", "fall", "quadratic_mean",
        "quadratic_variance", "linear_mean", "linear_variance", "fitted_mean", "fitted_variance",
        "correlation", "residual_covariance", "reverse_covariance",
    )  # fmt: skip
    return Comparison(
        control=control,
        n_perturbed=tensor(np.array([[group.n_cells] for group in groups])),
        shift=tensor(mean - control.mean),
        spread=tensor(spread),
        control_mean=tensor(control.mean),
        control_variance=tensor(of_control),
        control_kurtosis=tensor(control.excess_kurtosis),
        control_detection=tensor(control.detection),
        variance=tensor(variance),
        **{name: tensor(np.stack([getattr(group, name) for group in groups])) for name in names},
    )
