"""Moderated variances: each gene's own, drawn towards what is usual among all genes (Smyth 2004)."""

import torch
from torch import Tensor

_NEWTON_STEPS = 12
# So many degrees of freedom stand for certainty
_MOST = 1e6


def moderate_variances(variance: Tensor, degrees: Tensor, known: Tensor) -> Tensor:
    """Draw each gene's variance towards the usual one, as far as few cells leave it uncertain.

    The genes' true variances are taken to follow a scaled inverse chi-square distribution, whose degrees of
    freedom and scale come from the moments of the logarithms (Smyth 2004, section 6.2): where genes differ
    more than chance lets them, or cells are many, next to nothing changes.

    Parameters
    ----------
    variance
        Groups x genes, above 0.
    degrees
        Degrees of freedom behind each, groups x 1.
    known
        Groups x genes: genes that say what is usual; others (silent ones) take no part.

    Returns
    -------
    Groups x genes.
    """
    half = degrees / 2.0
    number = known.sum(dim=1, keepdim=True).clamp_min(2)
    centred = torch.where(known, torch.log(variance) - torch.digamma(half) + torch.log(half), 0.0)
    mean = centred.sum(dim=1, keepdim=True) / number
    spread = torch.where(known, (centred - mean) ** 2, 0.0).sum(dim=1, keepdim=True) / (number - 1)
    beyond = spread - torch.polygamma(1, half)
    prior = 2.0 * _inverse_trigamma(beyond.clamp_min(1e-6))
    usual = torch.exp(mean + torch.digamma(prior / 2.0) - torch.log(prior / 2.0))
    prior = torch.where(number > 2, prior, 0.0)
    moderated = (prior * usual + degrees * variance) / (prior + degrees)
    return torch.where(known, moderated, variance)


def _inverse_trigamma(values: Tensor) -> Tensor:
    """Solve trigamma(x) = value by Newton steps on 1 / trigamma, nearly a straight line (same, appendix)."""
    found = 0.5 + 1.0 / values
    for _ in range(_NEWTON_STEPS):
        trigamma = torch.polygamma(1, found)
        found = found + trigamma * (1.0 - trigamma / values) / torch.polygamma(2, found)
        found = found.clamp(1e-3, _MOST)
    return found
