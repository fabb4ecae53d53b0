"""What tensors of a weight file must be like before a network is made of them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from cdn_sc._text import printable
from cdn_sc.models.errors import WeightsError

#: Most parameters of a new network, and of one in int8: five times as many fit into a checkpoint of its
#: training.
LARGEST_NETWORK = 20_000_000
_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def check_tensors(state: Mapping[str, Tensor], path: Path, *, int8: bool = False) -> None:
    """Refuse tensors that are no plain floating-point values, or that hold more values than their file.

    Parameters
    ----------
    state
        Parameters by name, as read.
    path
        The file they were read from.
    int8
        Whether int8 values are taken as well.

    Raises
    ------
    WeightsError
        If a tensor is sparse, nested or without values, holds integers, complex or quantized values, or if
        all of them need more bytes than the file has (repeated values, which a few bytes can describe).
    """
    for key, tensor in state.items():
        name = printable(key)[:100]
        if tensor.layout != torch.strided or tensor.is_nested or tensor.is_meta:
            raise WeightsError(f"{path.name}: {name} is sparse, nested or without values; not a weight")
        if tensor.dtype not in _DTYPES and not (int8 and tensor.dtype == torch.int8):
            raise WeightsError(f"{path.name}: {name} has type {tensor.dtype}; weights are floating-point")
    needed, size = sum(tensor.nbytes for tensor in state.values()), path.stat().st_size
    if needed > size:
        raise WeightsError(f"{path.name} has {size:,} bytes, but its parameters would need {needed:,}")


def tensors_sha256(state: Mapping[str, Tensor], *, named: bool = True) -> str:
    """sha256 of tensors on the CPU, in the order of their names, in hexadecimal digits.

    Parameters
    ----------
    state
        Parameters by name.
    named
        Whether names, types and shapes count, not only the bytes of the values (as up to version 1.2).
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        if named:
            digest.update(f"{name!r} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
