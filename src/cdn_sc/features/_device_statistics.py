"""The statistics of a group on an accelerator: what is compiled for the processor, in tensors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from cdn_sc.features.local_regression import MAX_DEVIATION, LocalRegression

if TYPE_CHECKING:
    from cdn_sc.features.control import ControlSummary

_VALUES_AT_ONCE = 1 << 24


class ControlOnDevice:
    """What every group needs of the control arm, on its device, taken there once.

    Parameters
    ----------
    control
        The summary.
    scale
        What scales each gene to variance 1.
    """

    def __init__(self, control: ControlSummary, scale: np.ndarray) -> None:
        device = control.device
        # sums of many squares; Apple's devices have no double precision
        self.exact = torch.float32 if device.type == "mps" else torch.float64
        self.ascending = torch.from_numpy(control.sorted_values).to(device)
        self.ties = torch.from_numpy(control.ties).to(device, self.exact)
        self.mean = torch.from_numpy(control.mean).to(device, torch.float32)
        self.scale = torch.from_numpy(scale).to(device)
        self.quadratic, self.linear = (_on_device(fit, device) for fit in (control.quadratic, control.linear))


def statistics_on_device(control: ControlSummary, values: np.ndarray) -> dict[str, np.ndarray]:
    """Compute the fields of `GroupStatistics` but the number of cells.

    Parameters
    ----------
    control
        Summary of the control cells.
    values
        Cells x genes, float32, contiguous.
    """
    on_device = control.on_device
    cells = torch.from_numpy(values).to(control.device)
    found = _moments(cells, on_device.exact)
    found |= _rank_tests(on_device, cells.T.contiguous().sort(dim=1).values)
    standardised = (cells - on_device.mean) * on_device.scale
    found["quadratic_mean"], found["quadratic_variance"], _ = _residuals(standardised, on_device.quadratic)
    found["linear_mean"], found["linear_variance"], left = _residuals(standardised, on_device.linear)
    fitted = standardised - left
    found["fitted_mean"], found["fitted_variance"] = fitted.mean(dim=0), fitted.var(dim=0, correction=0)
    found |= _with_neighbours(standardised, left, control.neighbours, found["variance"] > 0)
    return {name: tensor.cpu().numpy() for name, tensor in found.items()}


def _on_device(fit: LocalRegression, device: torch.device) -> tuple[Tensor, Tensor, bool]:
    regressors = torch.from_numpy(fit.regressors).to(device)
    return regressors, torch.from_numpy(fit.coefficients).to(device), fit.squares


def _moments(cells: Tensor, exact: torch.dtype) -> dict[str, Tensor]:
    n_cells = len(cells)
    mean = cells.to(exact).mean(dim=0)
    squares = (cells - mean.float()).to(exact) ** 2
    second = squares.mean(dim=0)
    constant = cells.amin(dim=0) == cells.amax(dim=0)
    second = torch.where(constant, 0.0, second)
    fourth = (squares**2).mean(dim=0)
    kurtosis = torch.where(second > 0, fourth / torch.where(second > 0, second, 1.0) ** 2, 3.0) - 3.0
    return {
        "mean": mean,
        "variance": second * n_cells / max(n_cells - 1, 1),
        "excess_kurtosis": kurtosis,
        "detection": (cells != 0).to(exact).mean(dim=0),
    }


def _rank_tests(control: ControlOnDevice, perturbed: Tensor) -> dict[str, Tensor]:
    """See :func:`cdn_sc.features._rank_tests.rank_tests`; genes x cells, ascending."""
    exact = control.exact
    n_control, n_perturbed = control.ascending.shape[1], perturbed.shape[1]
    lower, upper, first, last = (
        torch.searchsorted(among, perturbed, right=right).to(exact)
        for among in (control.ascending, perturbed)
        for right in (False, True)
    )
    here, there = last - first, upper - lower
    tied = here + there
    # every cell of a run of equal values adds its share of what the run adds
    rank_sum = (lower + first + 0.5 * (tied + 1.0)).sum(dim=1)
    ties = control.ties + ((tied**3 - tied - there**3 + there) / here).sum(dim=1)
    total = float(n_control + n_perturbed)
    variance = n_control * n_perturbed / 12.0 * ((total + 1.0) - ties / (total * (total - 1.0)))
    varies = variance > 1e-9 * total * n_control * n_perturbed
    deviation = rank_sum - 0.5 * n_perturbed * (total + 1.0)
    wilcoxon = torch.where(varies, deviation / torch.where(varies, variance, 1.0).sqrt(), 0.0)
    rise = (lower / n_control - first / n_perturbed).amax(dim=1).clamp_min(0.0)
    fall = (last / n_perturbed - upper / n_control).amax(dim=1).clamp_min(0.0)
    return {"wilcoxon": wilcoxon.float(), "rise": rise.float(), "fall": fall.float()}


def _residuals(standardised: Tensor, fit: tuple[Tensor, Tensor, bool]) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and population variance of what a regression leaves over, and that, cells x genes."""
    regressors, coefficients, squares = fit
    number = regressors.shape[1]
    weights = coefficients[:, 1:] * (regressors >= 0).repeat(1, 2 if squares else 1)
    left = standardised - coefficients[:, 0]
    for some in _gene_blocks(len(standardised), regressors):
        values = standardised[:, regressors[some].clamp_min(0)].clamp_(-MAX_DEVIATION, MAX_DEVIATION)
        left[:, some] -= torch.einsum("cgk,gk->cg", values, weights[some, :number])
        if squares:
            left[:, some] -= torch.einsum("cgk,gk->cg", values**2 - 1.0, weights[some, number:])
    return left.mean(dim=0), left.var(dim=0, correction=0), left


def _gene_blocks(n_cells: int, neighbours: Tensor) -> Iterator[slice]:
    """Runs of genes whose neighbours' values, in all cells, together stay small."""
    step = max(1, _VALUES_AT_ONCE // max(n_cells * neighbours.shape[1], 1))
    for start in range(0, len(neighbours), step):
        yield slice(start, start + step)


def _with_neighbours(
    standardised: Tensor, left: Tensor, neighbours: Tensor, varies: Tensor
) -> dict[str, Tensor]:
    """See :class:`cdn_sc.features.GroupStatistics`."""
    n_cells = len(standardised)
    centred, left = standardised - standardised.mean(dim=0), left - left.mean(dim=0)
    squares = (centred**2).sum(dim=0)
    scale = torch.where(varies & (squares > 0), squares.clamp_min(1e-30).rsqrt(), 0.0)
    there, exists = neighbours.clamp_min(0), neighbours >= 0
    both, ahead, back = (
        torch.zeros(neighbours.shape, dtype=torch.float32, device=centred.device) for _ in range(3)
    )
    for some in _gene_blocks(n_cells, neighbours):
        of_neighbours = centred[:, there[some]]
        both[some] = torch.einsum("cg,cgk->gk", centred[:, some], of_neighbours)
        ahead[some] = torch.einsum("cg,cgk->gk", left[:, some], of_neighbours)
        back[some] = torch.einsum("cg,cgk->gk", centred[:, some], left[:, there[some]])
    return {
        "correlation": both * scale[:, None] * scale[there] * exists,
        "residual_covariance": ahead * exists / (n_cells - 1),
        "reverse_covariance": back * exists / (n_cells - 1),
    }
