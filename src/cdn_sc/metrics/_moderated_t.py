"""The moderated t statistic: variances of the genes borrow strength from each other (Smyth 2004)."""

from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq
from scipy.special import digamma, polygamma


class VariancePrior(NamedTuple):
    """What the genes' variances are taken to be before the cells of a gene are seen.

    Parameters
    ----------
    degrees
        How many degrees of freedom that is worth; infinite where the genes vary no more than chance makes
        them.
    variance
        The prior variance.
    """

    degrees: float
    variance: float


def moderated_t_statistic(control: np.ndarray, perturbed: np.ndarray) -> np.ndarray:
    """Moderated t statistic of each gene, positive where the perturbed mean is larger.

    The variance pooled over both arms is averaged with that of the prior, each weighted by its degrees of
    freedom. The prior is fitted over the genes that vary; where fewer than two do, this is the equal-variance
    t statistic.

    Parameters
    ----------
    control, perturbed
        Cells x the same genes; at least two cells an arm.

    Returns
    -------
    One a gene, float64; not finite where neither the gene nor the prior has a variance.
    """
    sizes = np.array([len(control), len(perturbed)])
    degrees = sizes.sum() - 2
    squares = sum(len(arm) * arm.var(axis=0, dtype=np.float64) for arm in (control, perturbed))
    variance = np.asarray(squares) / degrees
    prior = fit_variance_prior(variance[variance > 0], degrees)
    if np.isinf(prior.degrees):
        variance = np.full_like(variance, prior.variance)
    else:
        total = prior.degrees * prior.variance + degrees * variance
        variance = total / (prior.degrees + degrees)
    difference = perturbed.mean(axis=0, dtype=np.float64) - control.mean(axis=0, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return difference / np.sqrt(variance * (1 / sizes).sum())


def fit_variance_prior(variances: np.ndarray, degrees: float) -> VariancePrior:
    """Fit a scaled inverse chi-square prior to sample variances, by the moments of their logarithms.

    Parameters
    ----------
    variances
        Sample variances, above 0.
    degrees
        Degrees of freedom behind each.

    Returns
    -------
    The prior; one of no degrees of freedom where fewer than two variances are given.
    """
    if len(variances) < 2:
        return VariancePrior(0.0, 0.0)
    logs = np.log(variances) - digamma(degrees / 2) + np.log(degrees / 2)
    excess = logs.var(ddof=1) - float(polygamma(1, degrees / 2))
    if excess <= 0:
        return VariancePrior(np.inf, float(np.exp(logs.mean())))
    half = inverse_trigamma(excess)
    return VariancePrior(2 * half, float(np.exp(logs.mean() + digamma(half) - np.log(half))))


def inverse_trigamma(value: float) -> float:
    """Return where the trigamma function takes a value above 0.

    It lies between 1/x and 1/x + 1/x^2, so the place lies between those of these two.
    """
    low, high = 1 / value, (1 + np.sqrt(1 + 4 * value)) / (2 * value)
    place, found = brentq(
        lambda x: float(polygamma(1, x)) / value - 1, low * (1 - 1e-9), high * (1 + 1e-9), full_output=True
    )
    assert found.converged
    return float(place)
