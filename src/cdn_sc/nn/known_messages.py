"""Messages along known relations: from the genes that a gene regulates, and from those that regulate it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn

from cdn_sc._sparse_rows import SparseRows


@dataclass(frozen=True)
class KnownMatrices:
    """Weights of the known relations of a batch, and their transpose.

    Rows and columns are the genes of a screen that all comparisons share, or the genes of one comparison
    after another.
    """

    of_sources: SparseRows
    of_targets: SparseRows

    @classmethod
    def of(cls, weights: Sequence[sparse.csr_array | None], n_genes: int) -> KnownMatrices | None:
        """One block for each comparison, padded to so many genes; None where nothing is known at all."""
        if all(each is None for each in weights):
            return None
        blocks = []
        for each in weights:
            block: Any = sparse.csr_array((n_genes, n_genes), dtype=np.float32)
            if each is not None:
                block = each.copy()
                block.resize((n_genes, n_genes))
            blocks.append(block)
        matrix = sparse.csr_array(sparse.block_diag(blocks, format="csr"))
        return cls(SparseRows.of(matrix), SparseRows.of(sparse.csr_array(matrix.T.tocsr())))

    def to(self, device: torch.device | str) -> KnownMatrices:
        """The same on another device."""
        return KnownMatrices(self.of_sources.to(device), self.of_targets.to(device))

    def messages(self, values: Tensor) -> Tensor:
        """B x N x c to B x N x 2c: sums over a gene's targets, and over its regulators."""
        b, n, c = values.shape
        matrices = (self.of_sources.tensor(), self.of_targets.tensor())
        if self.of_sources.size[0] == n:  # shared
            flat = values.transpose(0, 1).reshape(n, b * c)
            parts = [(matrix @ flat).view(n, b, c).transpose(0, 1) for matrix in matrices]
        else:
            flat = values.reshape(b * n, c)
            parts = [(matrix @ flat).view(b, n, c) for matrix in matrices]
        return torch.cat(parts, dim=-1)


class KnownMessages(nn.Module):
    """Each gene reads the genes that it is known to regulate, and those known to regulate it.

    Parameters
    ----------
    channels
        Width of the genes.
    known_channels
        Width of a message.
    """

    def __init__(self, channels: int, known_channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.value = nn.Linear(channels, known_channels)
        self.gate = nn.Linear(channels, 2 * known_channels)
        self.out = nn.Linear(2 * known_channels, channels, bias=False)

    def forward(self, x: Tensor, known: KnownMatrices) -> Tensor:
        """B x N x d to B x N x d."""
        y = self.norm(x)
        with torch.autocast(x.device.type, enabled=False):  # sparse products are in single precision
            messages = known.messages(self.value(y).float())
        return self.out(messages.to(y.dtype) * torch.sigmoid(self.gate(y)))
