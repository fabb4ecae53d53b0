"""Matrix products in lower precision, where that is safe.

A layer computes each of its products in the type of its weights, of which `in_bfloat16` casts those that may
be, once. What stays in float32: sums of products, normalisation, the grid that layers add to, and queries,
keys and logits of tied attention. Those logits are unscaled sums over all rows; they reach 10,000 at 100
genes, the softmax picks one of them, and which one must not hang on the eighth bit. `benchmarks/precision.py`
measures what each of these does to rankings.
"""

from __future__ import annotations

import copy
from contextlib import AbstractContextManager, nullcontext
from threading import Lock
from typing import Any, TypeVar

import torch
from torch import nn

NetworkT = TypeVar("NetworkT", bound=nn.Module)


def in_bfloat16(network: NetworkT) -> NetworkT:
    """A copy of a network with the weights of its large products in bfloat16.

    Parameters
    ----------
    network
        Of the published architecture (values, their projections and feed-forward layers of the matrix stream
        are cast; the pair stream is small), or a gene transformer (linear layers between embedding and head).

    Returns
    -------
    The copy; the network itself is left as it is.
    """
    from cdn_sc.nn.axial import AxialLayer
    from cdn_sc.nn.gene_transformer import Member

    lower = copy.deepcopy(network)
    for module in lower.modules():
        if isinstance(module, AxialLayer):
            for attention in (module.row_attn.layer, module.col_attn.layer):
                attention.v_proj.to(torch.bfloat16)
                attention.out_proj.to(torch.bfloat16)
            module.ffn.layer.to(torch.bfloat16)
        elif isinstance(module, Member):
            for linear in module.layers.modules():
                if isinstance(linear, nn.Linear):
                    linear.to(torch.bfloat16)
    return lower


def matrix_products(precision: str, device: torch.device | str) -> AbstractContextManager[None]:
    """Return a context within which float32 products are as this precision has them; nothing is left changed.

    Parameters
    ----------
    precision
        "float32", "tf32" or "bfloat16". On CUDA either of the last two computes the products of float32
        factors in TF32 (10 bits after the point, summed in float32); other devices have no TF32.
    device
        Where the products are computed.
    """
    return _TF32() if precision != "float32" and torch.device(device).type == "cuda" else nullcontext()


class _TF32(AbstractContextManager[None]):
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
