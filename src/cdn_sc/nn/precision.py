"""Matrix products in lower precision, where that is safe.

A layer computes each of its products in the type of its weights, of which `in_bfloat16` casts those that may
be, once. Sums of products, the logits of tied attention, softmax, normalisation and the grid that layers add
to stay in float32. `benchmarks/precision.py` measures what that does to rankings.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from threading import Lock
from typing import Any, Literal, TypeVar, get_args

import torch
from torch import Tensor, nn

Precision = Literal["float32", "tf32", "bfloat16"]
PRECISIONS: tuple[str, ...] = get_args(Precision)

NetworkT = TypeVar("NetworkT", bound=nn.Module)


def float32_products(left: Tensor, right: Tensor) -> Tensor:
    """Batched matrix product, summed in float32 and returned so.

    Logits of tied attention are sums over hundreds of rows and reach thousands; in bfloat16, which has 8
    bits, numbers there lie 8 or 16 apart.

    Parameters
    ----------
    left, right
        (B, L, M) and (B, M, L) of one type.

    Returns
    -------
    (B, L, L), float32 if the factors are bfloat16, else of their type.
    """
    if left.dtype != torch.bfloat16:
        return torch.bmm(left, right)
    if left.device.type == "cuda":
        return torch.bmm(left, right, out_dtype=torch.float32)
    return torch.bmm(left.float(), right.float())  # other devices only return the type of the factors


def in_bfloat16(network: NetworkT) -> NetworkT:
    """A copy of a network with the weights of its large products in bfloat16.

    Parameters
    ----------
    network
        Of the published architecture (its axial layers are cast, the small pair stream is not), or a gene
        transformer (its linear layers; it is to be called within `matrix_products`).

    Returns
    -------
    The copy; the network itself is left as it is.
    """
    from cdn_sc.nn.axial import AxialLayer
    from cdn_sc.nn.gene_transformer import Member

    cast = copy.deepcopy(network)
    for module in cast.modules():
        if isinstance(module, AxialLayer):
            for block in (module.row_attn, module.col_attn, module.ffn):
                block.layer.to(torch.bfloat16)
        elif isinstance(module, Member):
            for linear in module.layers.modules():
                if isinstance(linear, nn.Linear):
                    linear.to(torch.bfloat16)
    return cast


@contextmanager
def matrix_products(precision: str, network: nn.Module, device: torch.device | str) -> Iterator[None]:
    """Within it, a network computes in this precision; nothing stays changed after it.

    Parameters
    ----------
    precision
        One of `PRECISIONS`. "tf32" has an effect on CUDA alone: elsewhere float32 products are exact.
    network
        For "bfloat16" what `in_bfloat16` returned.
    device
        Where it computes.
    """
    kind = torch.device(device).type
    context: Any = nullcontext()
    if precision == "tf32" and kind == "cuda":
        context = _TF32()
    elif precision == "bfloat16" and network.config.architecture == "gene_transformer":  # type: ignore[union-attr]
        context = torch.autocast(kind, torch.bfloat16)
    with context:
        yield


class _TF32:
    """Allows TF32 in matrix products of the process; the last one out restores what was set before."""

    _lock = Lock()
    _inside = 0
    _before = ""

    def __enter__(self) -> None:
        matmul: Any = torch.backends.cuda.matmul
        with _TF32._lock:
            if _TF32._inside == 0:
                _TF32._before = matmul.fp32_precision
                matmul.fp32_precision = "tf32"
            _TF32._inside += 1

    def __exit__(self, *_: object) -> None:
        matmul: Any = torch.backends.cuda.matmul
        with _TF32._lock:
            _TF32._inside -= 1
            if _TF32._inside == 0:
                matmul.fp32_precision = _TF32._before
