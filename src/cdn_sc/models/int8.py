"""Matrices in a quarter of the bytes: int8 with one scale a row, float32 again when they are read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from cdn_sc._text import printable
from cdn_sc.models.errors import WeightsError
from cdn_sc.models.tensors import LARGEST_NETWORK

#: The scales of a matrix have its name with this at the end, which no parameter's name has.
SCALE = ":scale"
_LARGEST = 127


def rounded(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Round a matrix to int8.

    The scale of a row is its largest absolute value by 127. One fitted by least squares brings values a
    little nearer, and logits hardly.

    Parameters
    ----------
    matrix
        Finite values of two dimensions or more; the first is that of rows.

    Returns
    -------
    The whole numbers, from -127 to 127 in the shape of the matrix, and one float32 scale a row.
    """
    rows = matrix.detach().flatten(1)
    scale = rows.abs().amax(dim=1, keepdim=True).float() / _LARGEST
    whole = (rows / scale.where(scale > 0, 1.0)).round().clamp(-_LARGEST, _LARGEST)
    return whole.to(torch.int8).view(matrix.shape), scale.flatten()


def restored(state: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Make float32 matrices of those in int8.

    Parameters
    ----------
    state
        Parameters by name, as read, and the scales of those in int8.
    path
        The file they were read from.

    Returns
    -------
    The parameters without the scales; what was not in int8 as it was.

    Raises
    ------
    WeightsError
        If a scale is missing, of another type or shape than one float32 value a row, or not finite; if int8
        values are no matrix, or more than any network has.
    """
    whole = {name: tensor for name, tensor in state.items() if tensor.dtype == torch.int8}
    n_values = sum(tensor.numel() for tensor in whole.values())
    if n_values > LARGEST_NETWORK:
        raise WeightsError(
            f"{path.name} has {n_values:,} int8 values, and {LARGEST_NETWORK:,} are the most that are read"
        )
    found = dict(state)
    for name, tensor in whole.items():
        scale = found.pop(name + SCALE, None)
        if scale is None or tensor.ndim < 2 or not _one_a_row(scale, tensor):
            raise WeightsError(
                f"{path.name}: {printable(name)[:100]} is int8, which takes a matrix and beside it its "
                "scales, one finite float32 value a row"
            )
        found[name] = tensor.float() * scale.view(-1, *[1] * (tensor.ndim - 1))
    return found


def _one_a_row(scale: Tensor, matrix: Tensor) -> bool:
    fits = scale.dtype == torch.float32 and scale.shape == matrix.shape[:1]
    return fits and bool(scale.isfinite().all())
