"""The gene transformer: one token a gene, messages between neighbours, attention through a few points.

Beside the logits it says of each group which kind of perturbation is likely, of each gene which way it went
if it was hit, and what a gene's own values alone would say.

Genes are exchangeable (no identities) and any number of them fits: all that a layer does costs time and
memory in proportion to the genes. Each layer lets a gene read its neighbours, the genes with the strongest
correlations within conditions, through weights made from what is known of each pair; then those to which
known relations lead, where the user has any; then all genes, through
a few learned points that attend to every gene and that every gene attends to (induced set attention: Lee et
al. 2019, section 3.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cdn_sc.nn.batch import to_device
from cdn_sc.nn.known_messages import KnownMatrices, KnownMessages

KIND_NAMES = ("unknown", "knockdown", "activation", "knockout", "activity")
# Attention of the points is as sharp as it would be among this many genes: without, it would thin out as
# panels grow (Nakanishi 2025, arXiv 2501.19399)
USUAL_GENES = 200


@dataclass(frozen=True)
class GeneTransformerConfig:
    """Size of a gene transformer.

    Parameters
    ----------
    features, edges
        Number of inputs a gene, and of a pair of neighbours.
    own_features
        How many of the inputs, the first ones, a gene's own values decide.
    channels, heads, layers
        Width, attention heads and depth of each member.
    points
        Points through which genes attend to each other.
    message_channels, message_heads
        Width of the messages between neighbours, and how many weights of its own a pair has for them.
    known_channels
        Width of the messages along known relations.
    members
        Networks whose logits are averaged.
    dropout
        Dropout rate in training.
    """

    features: int = 85
    edges: int = 11
    own_features: int = 26
    channels: int = 64
    heads: int = 4
    layers: int = 3
    points: int = 16
    message_channels: int = 32
    message_heads: int = 8
    known_channels: int = 16
    members: int = 1
    dropout: float = 0.0
    architecture: str = "gene_transformer"

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type == "int" and (type(value) is not int or value < 1):
                raise ValueError(f"{field.name} must be a positive integer, got {value!r}")
        if self.own_features > self.features:
            raise ValueError(
                f"own_features ({self.own_features}) are some of the features ({self.features}), not more"
            )
        for heads, width in (("heads", "channels"), ("message_heads", "message_channels")):
            if getattr(self, width) % getattr(self, heads):
                raise ValueError(
                    f"{heads} ({getattr(self, heads)}) must divide {width} ({getattr(self, width)})"
                )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must lie in [0, 1), got {self.dropout!r}")

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionary, for JSON."""
        return asdict(self)


class GeneInputsLike(Protocol):
    """What :func:`collate_genes` reads of a screen's groups, see :class:`cdn_sc.features.GeneInputs`."""

    @property
    def features(self) -> Tensor:
        """Groups x genes x features."""

    @property
    def neighbours(self) -> Tensor:
        """Genes x K, indices of genes, -1 where there are fewer neighbours."""

    @property
    def edges(self) -> Tensor:
        """Groups x genes x K x edge features."""

    @property
    def known(self) -> Any:
        """Weights of known relations, with ``of_sources``, or None."""


@dataclass(frozen=True)
class GeneOutputs:
    """What the gene transformer says of B comparisons of N genes.

    Parameters
    ----------
    logits
        B x N, of being a target.
    own
        B x N, the same by a gene's own values alone.
    kind
        B x kinds (``KIND_NAMES`` without the first): logits of the kind of perturbation.
    direction
        B x N: logits that what a gene does grew, if it was hit, rather than was lost.
    """

    logits: Tensor
    own: Tensor
    kind: Tensor
    direction: Tensor


@dataclass(frozen=True)
class GeneBatch:
    """Comparisons padded to the same number of genes.

    Parameters
    ----------
    features
        B x N x features.
    neighbours
        B x N x K, indices of genes, 0 where there is no neighbour; 1 x N x K where all share them.
    edges
        B x N x K x edge features, 0 where there is no neighbour; None: nothing is known of any pair.
    edge_mask
        As `neighbours`: true where the neighbour exists.
    mask
        B x N, true for genes, false for padding.
    kind
        B, index into ``KIND_NAMES``.
    known
        Known relations; None: there are none.
    """

    features: Tensor
    neighbours: Tensor
    edges: Tensor | None
    edge_mask: Tensor
    mask: Tensor
    kind: Tensor
    known: KnownMatrices | None = None

    def to(self, device: torch.device | str) -> GeneBatch:
        """The same batch on another device; on CUDA without waiting for it."""
        there = {
            name: to_device(values, device)
            for name, values in vars(self).items()
            if isinstance(values, Tensor)
        }
        return replace(self, **there, known=None if self.known is None else self.known.to(device))

    def groups(self, some: slice) -> GeneBatch:
        """Some of the comparisons of a batch that share their neighbours."""
        edges = None if self.edges is None else self.edges[some]
        return replace(
            self, features=self.features[some], edges=edges, mask=self.mask[some], kind=self.kind[some]
        )

    def without_relations(self) -> GeneBatch:
        """The same comparisons where no relations are known beforehand."""
        from cdn_sc.features.genes import without_relations

        edges = None if self.edges is None else without_relations(self.edges, of_pairs=True)
        return replace(self, features=without_relations(self.features), edges=edges, known=None)


def kind_indices(kinds: Sequence[str | None]) -> Tensor:
    """Positions in ``KIND_NAMES`` of kinds of perturbation, None for unknown.

    Raises
    ------
    ValueError
        If a kind is unknown.
    """
    unknown = sorted({name for name in kinds if name is not None} - set(KIND_NAMES))
    if unknown:
        raise ValueError(f"unknown kind of perturbation {unknown[0]!r}; known: {', '.join(KIND_NAMES)}")
    return torch.tensor([KIND_NAMES.index(name or "unknown") for name in kinds], device="cpu")


def batch_of_screen(inputs: GeneInputsLike, kinds: Sequence[str | None]) -> GeneBatch:
    """The groups of one screen as a batch, which shares their neighbours.

    Parameters
    ----------
    inputs
        Of at least one group.
    kinds
        For each group the kind of perturbation (of ``KIND_NAMES``), or None where it is not known.

    Raises
    ------
    ValueError
        If a kind is unknown.
    """
    n_groups, n_genes, _ = inputs.features.shape
    device = inputs.features.device
    return GeneBatch(
        features=inputs.features,
        neighbours=inputs.neighbours.clamp_min(0)[None],
        edges=inputs.edges,
        edge_mask=(inputs.neighbours >= 0)[None],
        mask=torch.ones(n_groups, n_genes, dtype=torch.bool, device=device),
        kind=kind_indices(kinds).to(device),
        known=_shared_relations(inputs, n_genes),
    )


def _shared_relations(inputs: GeneInputsLike, n_genes: int) -> KnownMatrices | None:
    if inputs.known is None:
        return None
    known = KnownMatrices.of([inputs.known.of_sources], n_genes)
    return None if known is None else known.to(inputs.features.device)


def collate_genes(inputs: Sequence[GeneInputsLike], kinds: Sequence[str | None]) -> GeneBatch:
    """Pad the groups of several screens to one batch.

    Parameters
    ----------
    inputs
        At least one.
    kinds
        For each group of each, in order, the kind of perturbation (of ``KIND_NAMES``), or None where it is
        not known.

    Raises
    ------
    ValueError
        If there is no comparison, not one kind for each, or a kind is unknown.
    """
    size = sum(len(x.features) for x in inputs)
    if not inputs or len(kinds) != size:
        raise ValueError(f"{size} comparisons and {len(kinds)} kinds; one kind for each is needed")
    n = max(x.features.shape[1] for x in inputs)
    # a panel of one gene has no neighbours; tensors still need a place for one
    k = max(1, *(x.neighbours.shape[1] for x in inputs))
    features = torch.zeros(size, n, inputs[0].features.shape[2], dtype=torch.float32, device="cpu")
    neighbours = torch.zeros(size, n, k, dtype=torch.int64, device="cpu")
    edges = torch.zeros(size, n, k, inputs[0].edges.shape[3], dtype=torch.float32, device="cpu")
    edge_mask = torch.zeros(size, n, k, dtype=torch.bool, device="cpu")
    mask = torch.zeros(size, n, dtype=torch.bool, device="cpu")
    start = 0
    for x in inputs:
        genes, width = x.neighbours.shape
        at = slice(start, start + len(x.features))
        start = at.stop
        features[at, :genes] = x.features
        neighbours[at, :genes, :width] = x.neighbours.clamp_min(0)
        edges[at, :genes, :width] = x.edges
        edge_mask[at, :genes, :width] = x.neighbours >= 0
        mask[at, :genes] = True
    known = [None if x.known is None else x.known.of_sources for x in inputs for _ in range(len(x.features))]
    return GeneBatch(
        features, neighbours, edges, edge_mask, mask, kind_indices(kinds), KnownMatrices.of(known, n)
    )


class NeighbourMessages(nn.Module):
    """Each gene sums its neighbours' values, with signed weights made from what is known of each pair.

    Where nothing is known of any pair, or there are none, nothing is added.
    """

    def __init__(self, config: GeneTransformerConfig) -> None:
        super().__init__()
        d, self.heads, width = config.channels, config.message_heads, config.message_channels
        self.norm = nn.LayerNorm(d)
        self.pair = nn.Sequential(
            nn.Linear(config.edges, 2 * self.heads), nn.GELU(), nn.Linear(2 * self.heads, self.heads)
        )
        self.value = nn.Linear(d, width)
        self.gate = nn.Linear(d, width + self.heads)
        self.out = nn.Linear(width + self.heads, d, bias=False)

    def forward(self, x: Tensor, batch: GeneBatch) -> Tensor:
        """B x N x d to B x N x d."""
        assert batch.edges is not None
        y = self.norm(x)
        b, n, k, _ = batch.edges.shape
        exists = batch.edge_mask[..., None]
        # the panel's own number of neighbours, not that of the largest panel in the batch
        number = exists.sum(dim=2, keepdim=True).clamp_min(1).to(y.dtype).sqrt()
        weight = self.pair(batch.edges) * (exists / number)  # B x N x K x H
        value = _gather(self.value(y), batch.neighbours)  # B x N x K x c
        # every head's sums of all values, of which each head keeps its own: one product is faster than many
        sums = torch.bmm(weight.view(b * n, k, -1).transpose(1, 2), value.view(b * n, k, -1))
        own = sums.view(b, n, self.heads, self.heads, -1).diagonal(dim1=2, dim2=3)
        mixed = own.transpose(2, 3).reshape(b, n, -1)
        message = torch.cat([mixed, weight.sum(dim=2)], dim=-1)
        return self.out(message * torch.sigmoid(self.gate(y)))


def _gather(values: Tensor, index: Tensor) -> Tensor:
    """Rows of B x N x c at B (or 1) x N x K, as B x N x K x c."""
    b, n, c = values.shape
    if len(index) == 1:
        return values.index_select(1, index.reshape(-1)).view(b, n, -1, c)
    flat = (index + torch.arange(b, device=index.device)[:, None, None] * n).reshape(-1)
    return values.reshape(b * n, c).index_select(0, flat).view(b, n, -1, c)


class PointAttention(nn.Module):
    """Learned points attend to all genes, and every gene to the points."""

    def __init__(self, config: GeneTransformerConfig) -> None:
        super().__init__()
        d, self.heads = config.channels, config.heads
        self.norm = nn.LayerNorm(d)
        self.points = nn.Parameter(torch.randn(config.points, d))
        self.of_genes = nn.Linear(d, 3 * d)
        self.of_points = nn.Sequential(nn.LayerNorm(d), nn.Linear(d, 2 * d))
        self.out = nn.Linear(d, d)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """B x N x d to B x N x d."""
        b, n, d = x.shape

        def split(values: Tensor) -> Tensor:
            return values.view(b, -1, self.heads, d // self.heads).transpose(1, 2)

        query, key, value = map(split, self.of_genes(self.norm(x)).chunk(3, dim=-1))
        sharpness = torch.log(mask.sum(dim=1).clamp_min(2).to(x.dtype)) / np.log(USUAL_GENES)
        points = split(self.points.expand(b, -1, -1) * sharpness[:, None, None])
        seen = F.scaled_dot_product_attention(points, key, value, attn_mask=mask[:, None, None, :])
        key, value = map(split, self.of_points(seen.transpose(1, 2).reshape(b, -1, d)).chunk(2, dim=-1))
        read = F.scaled_dot_product_attention(query, key, value)
        return self.out(read.transpose(1, 2).reshape(b, n, d))


class Layer(nn.Module):
    """Neighbours, known relations, attention to all genes, feed-forward; each with a residual."""

    def __init__(self, config: GeneTransformerConfig) -> None:
        super().__init__()
        d = config.channels
        self.neighbours = NeighbourMessages(config)
        self.known = KnownMessages(d, config.known_channels)
        self.attention = PointAttention(config)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(d), nn.Linear(d, 2 * d), nn.GELU(), nn.Dropout(config.dropout), nn.Linear(2 * d, d)
        )
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, batch: GeneBatch) -> Tensor:
        """B x N x d to B x N x d."""
        # a panel of one gene has no neighbours
        if batch.edges is not None and batch.edges.shape[2]:
            x = x + self.dropout(self.neighbours(x, batch))
        if batch.known is not None:
            x = x + self.dropout(self.known(x, batch.known))
        x = x + self.dropout(self.attention(x, batch.mask))
        return x + self.dropout(self.feed_forward(x))


class Member(nn.Module):
    """One network of the average."""

    def __init__(self, config: GeneTransformerConfig) -> None:
        super().__init__()
        d, self.own_features = config.channels, config.own_features
        self.embed = nn.Sequential(nn.Linear(config.features, 2 * d), nn.GELU(), nn.Linear(2 * d, d))
        self.kind = nn.Embedding(len(KIND_NAMES), d)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        # of a gene: whether it is a target, and which way it went
        self.head = nn.Sequential(nn.LayerNorm(d), nn.Linear(d, d), nn.GELU(), nn.Linear(d, 2))
        self.own = nn.Sequential(
            nn.Linear(config.own_features + d, d), nn.GELU(), nn.Linear(d, d), nn.GELU(), nn.Linear(d, 1)
        )
        self.kind_head = nn.Sequential(
            nn.LayerNorm(2 * d), nn.Linear(2 * d, d), nn.GELU(), nn.Linear(d, len(KIND_NAMES) - 1)
        )
        nn.init.normal_(self.kind.weight, std=0.1)

    def forward(self, batch: GeneBatch) -> GeneOutputs:
        """Read a batch."""
        told = self.kind(batch.kind)[:, None]
        x = self.embed(batch.features) + told
        with self._products(x):
            for layer in self.layers:
                x = layer(x, batch)
        logits, direction = self.head(x).unbind(dim=-1)
        return GeneOutputs(
            logits, self.own_logits(batch), self._kind_logits(x, logits, batch.mask), direction
        )

    def own_logits(self, batch: GeneBatch) -> Tensor:
        """Logits B x N by each gene's own values and what is the same for all genes."""
        own = batch.features[..., : self.own_features]
        told = self.kind(batch.kind)[:, None].expand(-1, own.shape[1], -1)
        return self.own(torch.cat([own, told], dim=-1)).squeeze(-1)

    def _kind_logits(self, x: Tensor, logits: Tensor, mask: Tensor) -> Tensor:
        """B x kinds, from the genes that are likely targets and from the mean of all."""
        share = torch.softmax(logits.detach().masked_fill(~mask, -1e4), dim=1)
        likely = torch.einsum("bn,bnd->bd", share, x)
        mean = torch.einsum("bn,bnd->bd", mask.to(x.dtype), x) / mask.sum(dim=1, keepdim=True)
        return self.kind_head(torch.cat([likely, mean], dim=-1))

    def _products(self, x: Tensor) -> AbstractContextManager[object]:
        """Products within the layers are in the type of their weights, where `in_bfloat16` cast those."""
        attention: Any = self.layers[0].attention
        dtype = attention.of_genes.weight.dtype
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
        return self.outputs(batch).logits

    def outputs(self, batch: GeneBatch) -> GeneOutputs:
        """All that the network says, averaged over its members."""
        found = self.member_outputs(batch)
        return GeneOutputs(
            **{
                field.name: torch.stack([getattr(each, field.name) for each in found]).mean(dim=0)
                for field in fields(GeneOutputs)
            }
        )

    def member_outputs(self, batch: GeneBatch) -> list[GeneOutputs]:
        """What each member says; 0 for padded genes."""
        empty = ~batch.mask
        return [
            replace(found, logits=found.logits.masked_fill(empty, 0.0), own=found.own.masked_fill(empty, 0.0))
            for found in (member(batch) for member in self.members)
        ]
