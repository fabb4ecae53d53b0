"""The encoder: edge tokens and global statistics of one arm to a code of every gene pair."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from cdn_sc.nn.axial import AxialLayer
from cdn_sc.nn.batch import ArmBatch
from cdn_sc.nn.config import SEAConfig
from cdn_sc.nn.distinct_pairs import DistinctPairs
from cdn_sc.nn.pair_stream import PairIndex, PairLayer

N_TOKENS = 8


class MLP(nn.Module):
    """Linear, GELU, layer norm, linear."""

    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, hidden)
        self.layer_norm = nn.LayerNorm(hidden)
        self.linear2 = nn.Linear(hidden, outputs)

    def forward(self, values: Tensor) -> Tensor:
        """Map (..., inputs) to (..., outputs)."""
        return self.linear2(self.layer_norm(F.gelu(self.linear(values))))


class PairEmbedding(nn.Module):
    """Embedding of an ordered pair of gene identities.

    Parameters
    ----------
    identities
        Number of identities.
    channels
        Width d.
    """

    def __init__(self, identities: int, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(identities, channels))
        self.linear = nn.Linear(2 * channels, channels)
        self.layer_norm = nn.LayerNorm(channels)
        self.linear2 = nn.Linear(channels, channels)
        nn.init.normal_(self.weight)
        with torch.no_grad():
            self.weight[0].zero_()

    def forward(self, identities: Tensor) -> Tensor:
        """Map (..., 2) identities to (..., d)."""
        both = F.embedding(identities, self.weight, padding_idx=0).flatten(-2)
        return self.linear2(self.layer_norm(F.gelu(self.linear(both))))


class EncoderBlock(nn.Module):
    """One round of exchange between the pair stream and the matrix stream.

    Parameters
    ----------
    config
        Sizes.
    """

    def __init__(self, config: SEAConfig) -> None:
        super().__init__()
        d = config.channels
        self.pad = nn.Parameter(torch.randn(1))
        self.feat_layer = AxialLayer(d, config.heads, config.encoder_ffn, config.dropout)
        self.graph_layer = PairLayer(d, config.heads, config.encoder_ffn, config.dropout)
        self.linear = nn.Linear(2 * d, d)

    def forward(
        self, stream: Tensor, matrix: Tensor, index: PairIndex, cells: Tensor, arm: ArmBatch
    ) -> tuple[Tensor, Tensor]:
        """Update both streams.

        Parameters
        ----------
        stream
            Pair stream, (B, T, K, d).
        matrix
            Matrix stream, (B, N, N, d).
        index
            Positions within the pair stream.
        cells
            Position of each pair in the flat (B, N, N), (B, K).
        arm
            For the masks.

        Returns
        -------
        Both streams, of the same shapes.
        """
        stream = self.graph_layer(stream, index)
        n_samples, _, n_pairs = index.shape
        mean = torch.bmm(index.subset_weights, stream.flatten(2)).view(n_samples, n_pairs, -1)
        matrix, found = self._update_matrix(matrix, mean, cells, arm)
        return stream + found[:, None], matrix

    def update(
        self, streams: Sequence[DistinctPairs], matrix: Tensor, cells: Tensor, arm: ArmBatch
    ) -> Tensor:
        """Update the pair streams of the samples in place; returns the matrix stream. Not for training."""
        mean = matrix.new_zeros(*cells.shape, matrix.shape[-1])
        for sample, stream in enumerate(streams):
            stream.update(self.graph_layer)
            mean[sample, : stream.index.n_pairs] = stream.mean()
        matrix, found = self._update_matrix(matrix, mean, cells, arm)
        for sample, stream in enumerate(streams):
            stream.add(found[sample, : stream.index.n_pairs])
        return matrix

    def _update_matrix(
        self, matrix: Tensor, mean: Tensor, cells: Tensor, arm: ArmBatch
    ) -> tuple[Tensor, Tensor]:
        """The matrix stream, and its values at the pairs (B, K, d)."""
        matrix = self._merge(matrix, mean, cells, arm)
        genes = arm.genes
        queries = None if genes is None else genes[:, :, None] & genes[:, None, :]
        matrix = self.feat_layer(matrix, queries, genes, genes)
        return matrix, matrix.flatten(0, 2).index_select(0, cells.flatten()).view_as(mean)

    def _merge(self, matrix: Tensor, mean: Tensor, cells: Tensor, arm: ArmBatch) -> Tensor:
        """linear([h, U]): U is the scalar `pad` everywhere but at the pairs, so it is never built."""
        from_matrix, from_pairs = self.linear.weight.chunk(2, dim=1)
        constant = self.linear.bias + self.pad * from_pairs.sum(dim=1)
        merged = F.linear(matrix, from_matrix, constant)
        real = torch.arange(mean.shape[1], device=mean.device) < arm.n_pairs[:, None]
        change = F.linear(mean - self.pad, from_pairs).masked_fill(~real[..., None], 0.0)
        flat = merged.flatten(0, 2)
        return flat.index_add_(0, cells.flatten(), change.flatten(0, 1)).view_as(matrix)


class Encoder(nn.Module):
    """Aggregates the local graphs and global statistics of one arm.

    Parameters
    ----------
    config
        Sizes.

    Attributes
    ----------
    recompute
        Whether training keeps only the two streams between blocks and computes the rest again for the
        gradients: several times less memory, about a third more time.

    Notes
    -----
    Source: Wu et al. 2024 (Sample, estimate, aggregate), section 3; Wu et al. 2025 (arXiv 2410.03380),
    section 3. `emb_layer_norm_after` is part of the published weights, yet nothing reads it.
    """

    def __init__(self, config: SEAConfig) -> None:
        super().__init__()
        d = config.channels
        self.dropout = config.dropout
        self.recompute = False
        self.embed_tokens = nn.Embedding(N_TOKENS, d, padding_idx=0)
        self.embed_feats = nn.Linear(1, d)
        self.embed_nodes = nn.Embedding(config.num_vars + 1, d, padding_idx=0)
        self.embed_edges = PairEmbedding(config.num_vars + 1, d)
        self.embed_time = nn.Embedding(config.max_subsets + 1, d, padding_idx=0)
        self.layers = nn.ModuleList(EncoderBlock(config) for _ in range(config.blocks))
        self.emb_layer_norm_before = nn.LayerNorm(d)
        self.emb_layer_norm_after = nn.LayerNorm(d)
        self.feat_layer_norm_before = nn.LayerNorm(d)
        self.feat_layer_norm_after = nn.LayerNorm(d)

    def forward(self, arm: ArmBatch) -> Tensor:
        """Encode an arm.

        Parameters
        ----------
        arm
            B arms.

        Returns
        -------
        The arms' codes, (B, N, N, d); entries of padded genes are meaningless.
        """
        self._check(arm)
        index = PairIndex.of(arm, self.embed_feats.weight.dtype)
        entries, matrix, cells = self._embed_pairs(arm, index), self._embed_matrix(arm), _pair_cells(arm)
        if not self.training and not torch.is_grad_enabled():
            streams = [DistinctPairs(*sample) for sample in zip(arm.rows, entries, strict=True)]
            for layer in cast("list[EncoderBlock]", self.layers):
                matrix = layer.update(streams, matrix, cells, arm)
            return self.feat_layer_norm_after(matrix)
        stream = index.spread(entries)
        for block in self.layers:
            if self.recompute and torch.is_grad_enabled():
                stream, matrix = checkpoint(block, stream, matrix, index, cells, arm, use_reentrant=False)
            else:
                stream, matrix = block(stream, matrix, index, cells, arm)
        return self.feat_layer_norm_after(matrix)

    def _check(self, arm: ArmBatch) -> None:
        identities, n_genes = self.embed_nodes.num_embeddings, arm.correlation.shape[1]
        if n_genes >= identities:
            raise ValueError(f"this network takes at most {identities - 1} genes, got {n_genes}")
        if arm.permutations.shape[-1] != identities:
            found = arm.permutations.shape[-1]
            raise ValueError(f"permutations must cover 0 .. {identities - 1}, got {found} numbers")
        most = self.embed_time.num_embeddings - 1
        if arm.first_pair_subsets.shape[1] > most:
            found = arm.first_pair_subsets.shape[1]
            raise ValueError(f"this network takes at most {most} subsets with the same pair, got {found}")

    def _embed_pairs(self, arm: ArmBatch, index: PairIndex) -> Tensor:
        """Normalised embeddings at the filled entries of the pair stream, (B, T, P, d), 0 at padding."""
        real = torch.arange(arm.pairs.shape[1], device=arm.pairs.device) < arm.n_pairs[:, None]
        members = arm.pairs.masked_fill(~real[..., None], 0)
        identities = _look_up(arm.permutations[:, 0], members.flatten(1)).view_as(members)
        of_pair = self.embed_edges(identities).flatten(0, 1)
        holds_first = (index.filled & (index.columns % index.shape[2] == 0)).any(dim=-1)
        of_time = self.embed_time(holds_first.cumsum(dim=1) * holds_first)
        entries = self.embed_tokens(arm.tokens) + of_time[:, :, None]
        entries = entries + of_pair.index_select(0, index.columns.flatten()).view_as(entries)
        entries = self._drop(self.emb_layer_norm_before(entries))
        return entries.masked_fill(~index.filled[..., None], 0.0)

    def _embed_matrix(self, arm: ArmBatch) -> Tensor:
        """Matrix stream (B, N, N, d)."""
        correlation, genes = arm.correlation.to(self.embed_feats.weight.dtype), arm.genes
        if genes is not None:
            correlation = correlation.masked_fill(~(genes[:, :, None] & genes[:, None, :]), 0.0)
        rows = _look_up(arm.permutations[:, 1], _places(correlation[:, 0, :]))
        columns = _look_up(arm.permutations[:, 2], _places(correlation[:, :, 0]))
        matrix = self.embed_feats(correlation[..., None])
        matrix = matrix + self.embed_nodes(rows)[:, :, None] + self.embed_nodes(columns)[:, None, :]
        return self._drop(self.feat_layer_norm_before(matrix))

    def _drop(self, values: Tensor) -> Tensor:
        return F.dropout(values, self.dropout, self.training)


def _places(line: Tensor) -> Tensor:
    """Running number, from 1, of the entries of a line (B, N) that are not 0; 0 for the others."""
    present = line != 0
    return present.cumsum(dim=1) * present


def _look_up(permutations: Tensor, places: Tensor) -> Tensor:
    return permutations.gather(1, places)


def _pair_cells(arm: ArmBatch) -> Tensor:
    """Position of each pair in the flat (B, N, N), (B, K); padding points at the first cell."""
    n_samples, n_genes = arm.correlation.shape[:2]
    device = arm.pairs.device
    real = torch.arange(arm.pairs.shape[1], device=device) < arm.n_pairs[:, None]
    members = (arm.pairs - 1).masked_fill(~real[..., None], 0)
    first = torch.arange(n_samples, device=device)[:, None] * n_genes**2
    return first + members[..., 0] * n_genes + members[..., 1]
