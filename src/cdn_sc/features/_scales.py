"""Transformations that bring statistics of any size into a range that a network reads well."""

from collections.abc import Mapping

import torch
from torch import Tensor

# Magnitudes this close, as a share of their size where that is above 1, are equal but for rounding
TIE = 3e-5


def squash(z: Tensor) -> Tensor:
    """Compress statistics of any size: sign(z) log(1 + |z|)."""
    return torch.sign(z) * torch.log1p(z.abs())


def rank_features(magnitudes: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Descending ranks along the last axis as -log2(rank) / 4: 0 for the first, about -2.5 for the 1000th.

    The rank of a gene is half a place behind those that are greater beyond rounding, and half a place before
    those that are less: genes of equal magnitude share their mean rank, so that their order does not matter.
    All at once, since most of the time of one goes into the call.
    """
    values = torch.stack(list(magnitudes.values()))
    ascending = values.sort(dim=-1).values.contiguous()
    tolerance = TIE * values.abs().clamp_min(1.0)
    below = torch.searchsorted(ascending, (values - tolerance).contiguous())
    not_above = torch.searchsorted(ascending, (values + tolerance).contiguous(), right=True)
    ranks = values.shape[-1] + 0.5 - 0.5 * (below + not_above).to(values.dtype)
    return dict(zip(magnitudes, -torch.log2(ranks) / 4.0, strict=True))
