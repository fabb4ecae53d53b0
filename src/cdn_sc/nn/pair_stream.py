"""The encoder's stream of edge tokens: subsets x pairs, nearly all of it empty.

An entry (t, i) of the stream is filled where subset t holds pair i. The published rule masks

- queries at empty entries (they add nothing to the tied logits),
- in row attention every key that is empty in the *first* subset, in column attention every key that is
  empty in the *first* pair.

A masked key's logit is -10000, its weight exactly 0 in float32. So queries are needed at the filled
entries only, and keys and values at the pairs of the first subset (row attention) or in the subsets that
hold the first pair (column attention): the maps shrink from K x K and T x T to K x 20 and T x a few, and
the result is the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cdn_sc.nn.axial import FeedForward, Normalised
from cdn_sc.nn.batch import ArmBatch


@dataclass(frozen=True)
class PairIndex:
    """Where the filled entries and the keys of a pair stream (B, T, K, d) are, as flat positions.

    Attributes
    ----------
    filled
        Which entries (B, T, P) are tokens rather than padding.
    entries
        Position of each token in the flat (B, T, K), (B, T, P).
    columns
        Position of each token's pair in the flat (B, K), (B, T, P).
    column_keys
        Position of each key of row attention in the flat (B, T, K), (B, T, J).
    column_keys_real
        Which of them are no padding, (B, J).
    row_keys
        Position of each key of column attention in the flat (B, T), (B, S).
    row_keys_real
        Which of them are no padding, (B, S).
    key_entries
        Position of each token in the flat keys (B, S, K) of column attention, (B, S, T, P).
    subset_weights
        1 / T at the sample's own subsets, 0 at padding, (B, 1, T).
    n_subsets
        Subsets of each sample, at least 1, (B,).
    shape
        (B, T, K).
    """

    filled: Tensor
    entries: Tensor
    columns: Tensor
    column_keys: Tensor
    column_keys_real: Tensor
    row_keys: Tensor
    row_keys_real: Tensor
    key_entries: Tensor
    subset_weights: Tensor
    n_subsets: Tensor
    shape: tuple[int, int, int]

    @classmethod
    def of(cls, arm: ArmBatch, dtype: torch.dtype) -> PairIndex:
        """Positions of an arm's tokens and keys."""
        n_samples, n_subsets, _ = arm.tokens.shape
        n_pairs = arm.pairs.shape[1]
        filled = arm.tokens != 0
        columns = arm.columns.masked_fill(~filled, 0)
        row_keys_real = arm.first_pair_subsets >= 0
        device = arm.tokens.device
        sample = torch.arange(n_samples, device=device)[:, None]
        subset = sample * n_subsets + torch.arange(n_subsets, device=device)
        key = torch.arange(n_samples * row_keys_real.shape[1], device=device).view(n_samples, -1)
        real = torch.arange(n_subsets, device=device) < arm.n_subsets[:, None]
        divisor = arm.n_subsets.clamp(min=1).to(dtype)
        return cls(
            filled=filled,
            entries=subset[..., None] * n_pairs + columns,
            columns=sample[..., None] * n_pairs + columns,
            column_keys=subset[..., None] * n_pairs + columns[:, :1],
            column_keys_real=filled[:, 0],
            row_keys=sample * n_subsets + arm.first_pair_subsets.clamp(min=0),
            row_keys_real=row_keys_real,
            key_entries=key[..., None, None] * n_pairs + columns[:, None],
            subset_weights=(real / divisor[:, None])[:, None],
            n_subsets=divisor,
            shape=(n_samples, n_subsets, n_pairs),
        )

    def spread(self, entries: Tensor) -> Tensor:
        """Make the stream (B, T, K, d) of its filled entries (B, T, P, d), which are 0 at padding."""
        stream = entries.new_zeros(math.prod(self.shape), entries.shape[-1])
        # padding is added as zeros to an entry that may be filled, hence add rather than copy
        return stream.index_add_(0, self.entries.flatten(), entries.flatten(0, 2)).view(*self.shape, -1)


class SparseAttention(nn.Module):
    """Tied attention of the pair stream, computed where queries and keys are.

    The output projection is applied to the few values rather than to the many results, which saves a
    K x T x d copy and its share of the memory in training.

    Parameters
    ----------
    channels
        Width d of the stream.
    heads
        Number of heads.
    dropout
        Probability with which an attention weight is dropped in training.
    """

    def __init__(self, channels: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.k_proj = nn.Linear(channels, channels)
        self.v_proj = nn.Linear(channels, channels)
        self.q_proj = nn.Linear(channels, channels)
        self.out_proj = nn.Linear(channels, channels)

    def across_pairs(self, queries: Tensor, keys: Tensor, index: PairIndex) -> Tensor:
        """Row attention.

        Parameters
        ----------
        queries
            Normalised stream at the filled entries, (B, T, P, d).
        keys
            Normalised stream at the pairs of the first subset, (B, T, J, d).
        index
            Where they belong.

        Returns
        -------
        What to add to the stream, (B, T, K, d).
        """
        n_samples, n_subsets, n_pairs = index.shape
        head_dim = self.q_proj.out_features // self.heads
        scale = (head_dim * index.n_subsets).rsqrt()
        q = self.split(self.q_proj(queries)) * scale.view(-1, 1, 1, 1, 1)
        q = q.masked_fill(~index.filled[..., None, None], 0.0)
        k = self.split(self.k_proj(keys))
        parts = torch.matmul(q.transpose(2, 3), k.permute(0, 1, 3, 4, 2)).transpose(2, 3)
        logits = parts.new_zeros(n_samples * n_pairs, *parts.shape[3:])
        logits = logits.index_add(0, index.columns.flatten(), parts.flatten(0, 2))
        weights = self._weights(logits.view(n_samples, n_pairs, self.heads, -1), index.column_keys_real)
        values = self.projected_values(keys)  # (B, heads, T, J, d)
        values = values.transpose(2, 3).reshape(n_samples, weights.shape[2] * weights.shape[3], -1)
        mixed = torch.bmm(weights.flatten(2), values)
        return self._with_bias(mixed.view(n_samples, n_pairs, n_subsets, -1).transpose(1, 2))

    def across_subsets(self, queries: Tensor, keys: Tensor, index: PairIndex) -> Tensor:
        """Column attention.

        Parameters
        ----------
        queries
            Normalised stream at the filled entries, (B, T, P, d).
        keys
            Normalised stream in the subsets that hold the first pair, (B, S, K, d).
        index
            Where they belong.

        Returns
        -------
        What to add to the stream, (B, T, K, d).
        """
        n_samples, n_subsets, n_pairs = index.shape
        q = self.q_proj(queries).masked_fill(~index.filled[..., None], 0.0)
        k = _take(self.k_proj(keys).flatten(0, 2), index.key_entries)  # (B, S, T, P, d)
        logits = self.split((q[:, None] * k).sum(dim=3)).sum(dim=-1)  # (B, S, T, heads)
        weights = self._weights(logits.permute(0, 2, 3, 1), index.row_keys_real)
        values = self.projected_values(keys)  # (B, heads, S, K, d)
        mixed = torch.bmm(weights.flatten(2), values.reshape(n_samples, weights[0, 0].numel(), -1))
        return self._with_bias(mixed.view(n_samples, n_subsets, n_pairs, -1))

    def _weights(self, logits: Tensor, real: Tensor) -> Tensor:
        logits = logits.masked_fill(~real[:, None, None, :], torch.finfo(logits.dtype).min)
        return F.dropout(logits.softmax(dim=-1), self.dropout, self.training)

    def projected_values(self, keys: Tensor) -> Tensor:
        """Each head's values through its part of the output projection, (B, heads, *, *, d)."""
        v = self.split(self.v_proj(keys)).permute(0, 3, 1, 2, 4)
        channels = self.out_proj.in_features
        per_head = self.out_proj.weight.T.view(self.heads, channels // self.heads, channels)
        values = torch.matmul(v.flatten(2, 3), per_head).view(*v.shape[:4], channels)
        # Weights sum to 1 unless some were dropped, so the bias can be added to these few values.
        return values if self.training else values + self.out_proj.bias / self.heads

    def _with_bias(self, mixed: Tensor) -> Tensor:
        return mixed + self.out_proj.bias if self.training else mixed

    def split(self, grid: Tensor) -> Tensor:
        """(*, d) -> (*, heads, head_dim)."""
        return grid.unflatten(-1, (self.heads, -1))


class PairLayer(nn.Module):
    """Axial layer of the pair stream (`graph_layer` of the published weights).

    Parameters
    ----------
    channels
        Width d of the stream.
    heads
        Number of heads.
    hidden
        Hidden width of the feed-forward layer.
    dropout
        Probability of dropout in training.
    """

    def __init__(self, channels: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.row_attn = Normalised(SparseAttention(channels, heads, dropout), channels)
        self.col_attn = Normalised(SparseAttention(channels, heads, dropout), channels)
        self.ffn = Normalised(FeedForward(channels, hidden, dropout), channels)

    def forward(self, stream: Tensor, index: PairIndex) -> Tensor:
        """Update a stream (B, T, K, d)."""
        norm, layer = self.row_attn.layer_norm, self.row_attn.layer
        flat = stream.flatten(0, 2)
        queries, keys = norm(_take(flat, index.entries)), norm(_take(flat, index.column_keys))
        stream = self._add(stream, layer.across_pairs(queries, keys, index))

        norm, layer = self.col_attn.layer_norm, self.col_attn.layer
        queries = norm(_take(stream.flatten(0, 2), index.entries))
        keys = norm(_take(stream.flatten(0, 1), index.row_keys))
        stream = self._add(stream, layer.across_subsets(queries, keys, index))

        return self._add(stream, self.ffn.layer(self.ffn.layer_norm(stream)))

    def _add(self, stream: Tensor, update: Tensor) -> Tensor:
        return stream + F.dropout(update, self.dropout, self.training)


def _take(flat: Tensor, positions: Tensor) -> Tensor:
    """Rows of `flat` at positions of any shape: (*positions.shape, *row shape)."""
    return flat.index_select(0, positions.flatten()).view(*positions.shape, *flat.shape[1:])
