"""The pair stream without gradients: rows that are equal are held, and computed, once.

See `cdn_sc.nn.distinct_rows` for which are; training takes `cdn_sc.nn.pair_stream` as it is.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cdn_sc.nn.axial import FeedForward, Normalised
from cdn_sc.nn.distinct_rows import DistinctRows
from cdn_sc.nn.pair_stream import PairLayer, SparseAttention

# Entries that pass through the feed-forward layer together on a CPU: what becomes of them stays in its cache.
_ENTRIES_TOGETHER = 4096


class DistinctPairs:
    """The pair stream of one arm, updated in place.

    Parameters
    ----------
    index
        Which rows there are.
    embedded
        The stream at the filled entries, (T, P, d) or more, 0 at padding.
    """

    def __init__(self, index: DistinctRows, embedded: Tensor) -> None:
        self.index = index
        rows, channels = len(index.row_subsets), embedded.shape[-1]
        n_subsets, n_tokens = index.entries.shape
        embedded = embedded[:n_subsets, :n_tokens]
        flat = embedded.new_zeros(rows * index.n_pairs + len(index.lone_columns), channels)
        # padding is added as zeros to an entry that may be filled, hence add rather than copy
        self._flat = flat.index_add_(0, index.entries.flatten(), embedded.flatten(0, 1))
        self._rows = flat[: rows * index.n_pairs].view(rows, index.n_pairs, channels)
        self._lone = flat[rows * index.n_pairs :]

    def update(self, layer: PairLayer) -> None:
        """What the layer does to the stream, without dropout."""
        if len(self._rows):
            self._attend_across_pairs(layer.row_attn)
            self._attend_across_subsets(layer.col_attn)
            self._feed_forward(layer.ffn)

    def mean(self) -> Tensor:
        """Mean over the subsets, (K, d)."""
        index, channels = self.index, self._flat.shape[-1]
        weights = index.counts.to(self._flat.dtype) / max(1, len(index.subset_rows))
        mean = torch.mv(self._rows.flatten(1).T, weights).view(index.n_pairs, channels).to(self._flat.dtype)
        if len(self._lone):
            change = self._lone - self._rows[0].index_select(0, index.lone_columns)
            mean.index_add_(0, index.lone_columns, change / len(index.subset_rows))
        return mean

    def add(self, update: Tensor) -> None:
        """Add the same (K, d) to all subsets."""
        self._rows[1:] += update
        self._add_to_shared(update)

    def _attend_across_pairs(self, block: Normalised[SparseAttention]) -> None:
        index, attention = self.index, block.layer
        keys = block.layer_norm(self._rows.index_select(1, index.keys))  # (R, J, d)
        q = attention.split(attention.q_proj(self._queries(block)))  # (T, P, heads, head_dim)
        q = (q * (q.shape[0] * q.shape[-1]) ** -0.5).masked_fill(~index.filled[..., None, None], 0.0)
        k = attention.split(attention.k_proj(keys)).index_select(0, index.subset_rows)
        parts = torch.matmul(q.transpose(1, 2), k.permute(0, 2, 3, 1)).transpose(1, 2)
        logits = parts.new_zeros(index.n_pairs, *parts.shape[2:])
        logits = logits.index_add_(0, index.columns.flatten(), parts.flatten(0, 1))
        weights = logits.softmax(dim=-1).flatten(1)  # (K, heads * J)
        values = attention.projected_values(keys[None])[0].transpose(0, 1).flatten(1, 2)  # (R, heads * J, d)
        shared = 1 if len(self._lone) else 0
        if shared:
            self._add_to_shared(weights @ values[0])
        others = self._rows[shared:]
        # in place nothing is cast by itself, as under autocast the weights and values are
        weights, values = weights.to(others.dtype), values[shared:].to(others.dtype)
        others.baddbmm_(weights.expand(len(others), -1, -1), values)

    def _attend_across_subsets(self, block: Normalised[SparseAttention]) -> None:
        index, attention = self.index, block.layer
        keys = block.layer_norm(self._rows.index_select(0, index.key_rows))  # (S, K, d)
        values = attention.projected_values(keys[None])[0]  # (heads, S, K, d)
        if len(keys) == 1:  # the only key has all the weight
            self.add(values.sum(dim=(0, 1)))
            return
        q = attention.q_proj(self._queries(block)).masked_fill(~index.filled[..., None], 0.0)
        k = attention.k_proj(keys)[:, index.columns]  # (S, T, P, d)
        logits = attention.split((q * k).sum(dim=2)).sum(dim=-1)  # (S, T, heads)
        weights = logits.softmax(dim=0).permute(1, 2, 0).index_select(0, index.row_subsets)
        rows = self._rows.flatten(1)
        rows.addmm_(weights.flatten(1).to(rows.dtype), values.flatten(0, 1).flatten(1).to(rows.dtype))

    def _feed_forward(self, block: Normalised[FeedForward]) -> None:
        together = _ENTRIES_TOGETHER if self._flat.device.type == "cpu" else max(1, len(self._flat))
        for part in self._flat.split(together):
            block.layer.add_to(part, block.layer_norm(part))

    def _add_to_shared(self, update: Tensor) -> None:
        """Add (K, d) to the first row and to the entries that belong to the subsets that share it."""
        self._rows[:1] += update
        self._lone += update.index_select(0, self.index.lone_columns)

    def _queries(self, block: Normalised[SparseAttention]) -> Tensor:
        entries = self.index.entries
        taken = self._flat.index_select(0, entries.flatten())
        return block.layer_norm(taken.view(*entries.shape, -1))
