"""The gene transformer: one token a gene, attention across all genes and among likely neighbours.

Genes are exchangeable (no identities) and any number of them fits. Each layer lets a gene read its
neighbours, the genes with the strongest correlations within conditions, together with what is known of
each pair; then all genes through signed weights (correlations and partial correlations of the control
cells); then all genes by attention.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, fields
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cdn_sc.nn.batch import to_device

KIND_NAMES = ("unknown", "knockdown", "activation", "knockout", "activity")


@dataclass(frozen=True)
class GeneTransformerConfig:
    """Size of a gene transformer.

    Parameters
    ----------
    features, edges, mixing
        Number of inputs a gene, of a pair of neighbours, and of signed matrices.
    channels, heads, layers
        Width, attention heads and depth of each member.
    edge_channels, mixing_channels
        Width of the messages between neighbours, and of those through each signed matrix.
    members
        Networks whose logits are averaged.
    dropout
        Dropout rate in training.
    own_only
        Whether training withheld from some pairs what other genes say about a gene, so that the network can
        score without it.
    """

    features: int = 65
    edges: int = 8
    mixing: int = 3
    channels: int = 64
    heads: int = 4
    layers: int = 3
    edge_channels: int = 32
    mixing_channels: int = 16
    members: int = 1
    dropout: float = 0.0
    own_only: bool = False
    architecture: str = "gene_transformer"

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type == "int" and (type(value) is not int or value < 1):
                raise ValueError(f"{field.name} must be a positive integer, got {value!r}")
        if not isinstance(self.own_only, bool):
            raise ValueError(f"own_only must be true or false, got {self.own_only!r}")
        if self.channels % self.heads:
            raise ValueError(f"heads ({self.heads}) must divide channels ({self.channels})")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must lie in [0, 1), got {self.dropout!r}")

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionary, for JSON."""
        return asdict(self)


class GeneInputsLike(Protocol):
    """What :func:`collate_genes` reads of one comparison, see :class:`cdn_sc.features.GeneInputs`."""

    @property
    def features(self) -> np.ndarray:
        """Genes x features."""

    @property
    def neighbours(self) -> np.ndarray:
        """Genes x K, indices of genes, -1 where there are fewer neighbours."""

    @property
    def edges(self) -> np.ndarray:
        """Genes x K x edge features."""

    @property
    def mixing(self) -> np.ndarray:
        """M x genes x genes."""


@dataclass(frozen=True)
class GeneBatch:
    """Comparisons padded to the same number of genes.

    Parameters
    ----------
    features
        B x N x features.
    neighbours
        B x N x K, indices of genes, 0 in padding.
    edges
        B x N x K x edge features.
    edge_mask
        B x N x K, true where the neighbour exists.
    mixing
        B x M x N x N, signed weights, 0 in padding.
    mask
        B x N, true for genes, false for padding.
    kind
        B, index into ``KIND_NAMES``.
    """

    features: Tensor
    neighbours: Tensor
    edges: Tensor
    edge_mask: Tensor
    mixing: Tensor
    mask: Tensor
    kind: Tensor

    def to(self, device: torch.device | str) -> GeneBatch:
        """The same batch on another device; on CUDA without waiting for it."""
        return GeneBatch(**{name: to_device(tensor, device) for name, tensor in vars(self).items()})


def collate_genes(inputs: Sequence[GeneInputsLike], kinds: Sequence[str | None]) -> GeneBatch:
    """Pad comparisons to one batch.

    Parameters
    ----------
    inputs
        At least one comparison.
    kinds
        For each, the kind of perturbation (of ``KIND_NAMES``), or None where it is not known.

    Raises
    ------
    ValueError
        If there is no comparison, not one kind for each, or a kind is unknown.
    """
    if not inputs or len(kinds) != len(inputs):
        raise ValueError(f"{len(inputs)} comparisons and {len(kinds)} kinds; one kind for each is needed")
    unknown = sorted({name for name in kinds if name is not None} - set(KIND_NAMES))
    if unknown:
        raise ValueError(f"unknown kind of perturbation {unknown[0]!r}; known: {', '.join(KIND_NAMES)}")
    n = max(x.features.shape[0] for x in inputs)
    # a panel of one gene has no neighbours; tensors still need a place for one
    k = max(1, *(x.neighbours.shape[1] for x in inputs))
    size = len(inputs)
    features = np.zeros((size, n, inputs[0].features.shape[1]), dtype=np.float32)
    neighbours = np.zeros((size, n, k), dtype=np.int64)
    edges = np.zeros((size, n, k, inputs[0].edges.shape[2]), dtype=np.float32)
    edge_mask = np.zeros((size, n, k), dtype=bool)
    mixing = np.zeros((size, inputs[0].mixing.shape[0], n, n), dtype=np.float32)
    mask = np.zeros((size, n), dtype=bool)
    for b, x in enumerate(inputs):
        genes, width = x.neighbours.shape
        features[b, :genes] = x.features
        neighbours[b, :genes, :width] = np.maximum(x.neighbours, 0)
        edges[b, :genes, :width] = x.edges
        edge_mask[b, :genes, :width] = x.neighbours >= 0
        mixing[b, :, :genes, :genes] = x.mixing
        mask[b, :genes] = True
    kind = [KIND_NAMES.index(name or "unknown") for name in kinds]
    arrays = (features, neighbours, edges, edge_mask, mixing, mask, np.array(kind))
    return GeneBatch(*(torch.from_numpy(array) for array in arrays))


class NeighbourMessages(nn.Module):
    """Each gene sums messages from its neighbours, made from both genes and their pair's features."""

    def __init__(self, channels: int, edge_features: int, edge_channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.receiver = nn.Linear(channels, 2 * edge_channels)
        self.sender = nn.Linear(channels, 2 * edge_channels, bias=False)
        self.pair = nn.Linear(edge_features, 2 * edge_channels, bias=False)
        self.out = nn.Linear(2 * edge_channels, channels)

    def forward(self, x: Tensor, batch: GeneBatch) -> Tensor:
        """B x N x d to B x N x d."""
        y = self.norm(x)
        b, n, k = batch.neighbours.shape
        sent = self.sender(y)
        index = batch.neighbours.reshape(b, n * k, 1).expand(-1, -1, sent.shape[-1])
        sent = sent.gather(1, index).view(b, n, k, -1)
        message = self.receiver(y)[:, :, None] + sent + self.pair(batch.edges)  # B x N x K x 2e
        gate, value = message.chunk(2, dim=-1)
        exists = batch.edge_mask[..., None]
        message = torch.sigmoid(gate) * F.gelu(value) * exists
        # the panel's own number of neighbours, not that of the largest panel in the batch
        number = exists.sum(dim=2).clamp_min(1).to(message.dtype)
        largest = message.masked_fill(~exists, torch.finfo(message.dtype).min).amax(dim=2)
        largest = largest.masked_fill(~exists.any(dim=2), 0.0)
        return self.out(torch.cat([message.sum(dim=2) / number.sqrt(), largest], dim=-1))


class SignedMixing(nn.Module):
    """Each gene sums the others' values with fixed signed weights: a learned, repeatable projection."""

    def __init__(self, channels: int, matrices: int, mixing_channels: int) -> None:
        super().__init__()
        self.matrices = matrices
        self.norm = nn.LayerNorm(channels)
        self.value = nn.Linear(channels, matrices * mixing_channels)
        self.gate = nn.Linear(channels, matrices * mixing_channels)
        self.out = nn.Linear(matrices * mixing_channels, channels)

    def forward(self, x: Tensor, mixing: Tensor) -> Tensor:
        """B x N x d to B x N x d."""
        b, n, _ = x.shape
        y = self.norm(x)
        value = self.value(y).view(b, n, self.matrices, -1).transpose(1, 2)  # B x M x N x c
        mixed = (mixing @ value).transpose(1, 2).reshape(b, n, -1)
        return self.out(mixed * torch.sigmoid(self.gate(y)))


class GlobalAttention(nn.Module):
    """Multi-head attention of every gene to all genes."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """B x N x d to B x N x d."""
        b, n, d = x.shape
        q, k, v = self.qkv(self.norm(x)).view(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None, :])
        return self.out(y.transpose(1, 2).reshape(b, n, d))


class Layer(nn.Module):
    """Neighbours, signed mixing, attention to all genes, feed-forward; each with a residual."""

    def __init__(self, config: GeneTransformerConfig) -> None:
        super().__init__()
        d = config.channels
        self.neighbours = NeighbourMessages(d, config.edges, config.edge_channels)
        self.mixing = SignedMixing(d, config.mixing, config.mixing_channels)
        self.attention = GlobalAttention(d, config.heads)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(d), nn.Linear(d, 2 * d), nn.GELU(), nn.Dropout(config.dropout), nn.Linear(2 * d, d)
        )
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, batch: GeneBatch) -> Tensor:
        """B x N x d to B x N x d."""
        x = x + self.dropout(self.neighbours(x, batch))
        x = x + self.dropout(self.mixing(x, batch.mixing))
        x = x + self.dropout(self.attention(x, batch.mask))
        return x + self.dropout(self.feed_forward(x))


class Member(nn.Module):
    """One network of the average."""

    def __init__(self, config: GeneTransformerConfig) -> None:
        super().__init__()
        d = config.channels
        self.embed = nn.Sequential(nn.Linear(config.features, 2 * d), nn.GELU(), nn.Linear(2 * d, d))
        self.kind = nn.Embedding(len(KIND_NAMES), d)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.head = nn.Sequential(nn.LayerNorm(d), nn.Linear(d, d), nn.GELU(), nn.Linear(d, 1))
        nn.init.normal_(self.kind.weight, std=0.1)

    def forward(self, batch: GeneBatch) -> Tensor:
        """Logits B x N."""
        x = self.embed(batch.features) + self.kind(batch.kind)[:, None]
        with self._products(x):
            for layer in self.layers:
                x = layer(x, batch)
        return self.head(x).squeeze(-1)

    def _products(self, x: Tensor) -> AbstractContextManager[object]:
        """Products within the layers are in the type of their weights, where `in_bfloat16` cast those."""
        attention: Any = self.layers[0].attention
        dtype = attention.qkv.weight.dtype
        return torch.autocast(x.device.type, dtype) if dtype == torch.bfloat16 else nullcontext()


class GeneTransformer(nn.Module):
    """Average of one or more members, see the module's description.

    Parameters
    ----------
    config
        Sizes.
    """

    def __init__(self, config: GeneTransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.members = nn.ModuleList(Member(config) for _ in range(config.members))

    def forward(self, batch: GeneBatch) -> Tensor:
        """Logits B x N, 0 for padded genes."""
        return self.member_logits(batch).mean(dim=0)

    def member_logits(self, batch: GeneBatch) -> Tensor:
        """Logits of each member, M x B x N, 0 for padded genes."""
        logits = torch.stack([member(batch) for member in self.members])
        return logits.masked_fill(~batch.mask, 0.0)
