"""Axial layer with tied attention on a grid of rows and columns.

A grid has shape (B, R, C, d). Row attention is *tied*: all rows share one C x C map per head, whose logits
are sums over the rows. That is ordinary attention across the columns in which the rows are folded into the
head dimension, which is how it is computed here; column attention is the same with the axes exchanged.

Without gradients the grid is updated in place and in chunks, so that memory beyond it stays bounded.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Axis = Literal["row", "column"]

# Elements of a grid handled at a time without gradients: 8 MB in float32, 128 MB on an accelerator.
_CHUNK_ELEMENTS = 2**21
_CHUNK_ELEMENTS_ACCELERATOR = 2**25


class TiedAttention(nn.Module):
    """Attention along one axis of a grid, with one map for all lines of the other axis.

    Parameters
    ----------
    channels
        Width d of the grid.
    heads
        Number of heads.
    dropout
        Probability with which an attention weight is dropped in training.

    Notes
    -----
    Source: Rao et al. 2021 (MSA Transformer), section 3, without the scaling of the logits.
    """

    def __init__(self, channels: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.k_proj = nn.Linear(channels, channels)
        self.v_proj = nn.Linear(channels, channels)
        self.q_proj = nn.Linear(channels, channels)
        self.out_proj = nn.Linear(channels, channels)

    def logits(self, grid: Tensor, axis: Axis, queries: Tensor | None) -> Tensor:
        """Attention logits of a grid (B, R, C, d), summed over the tied axis.

        Parameters
        ----------
        grid
            Normalised grid, (B, R, C, d).
        axis
            "row" attends across the columns, "column" across the rows.
        queries
            Which entries ask, (B, R, C); the others add nothing. None: all.

        Returns
        -------
        (B * heads, L, L) with L the length of the attended axis.
        """
        q = self.q_proj(grid)
        if queries is not None:
            q = q.masked_fill(~queries[..., None], 0.0)
        return torch.bmm(self._fold(q, axis), self._fold(self.k_proj(grid), axis).mT)

    def weights(self, logits: Tensor, keys: Tensor | None) -> Tensor:
        """Softmax of the logits over the keys.

        Parameters
        ----------
        logits
            (B * heads, L, L).
        keys
            Which positions may be attended, (B, L). None: all.

        Returns
        -------
        (B * heads, L, L), with dropout in training.
        """
        if keys is not None:
            hidden = ~keys.repeat_interleave(self.heads, dim=0)[:, None, :]
            logits = logits.masked_fill(hidden, torch.finfo(logits.dtype).min)
        return F.dropout(logits.softmax(dim=-1), self.dropout, self.training)

    def attend(self, grid: Tensor, axis: Axis, weights: Tensor) -> Tensor:
        """Weighted values of every line of a grid (B, R, C, d), projected back to d channels.

        Parameters
        ----------
        grid
            Normalised grid, (B, R, C, d).
        axis
            As in `logits`.
        weights
            (B * heads, L, L).

        Returns
        -------
        (B, R, C, d).
        """
        return self.out_proj(self._mix(grid, axis, weights))

    def add_attended(self, lines: Tensor, grid: Tensor, axis: Axis, weights: Tensor) -> None:
        """Add `attend` of a grid to other lines of its shape, in place. Not for training."""
        _add_linear(lines, self._mix(grid, axis, weights), self.out_proj)

    def _mix(self, grid: Tensor, axis: Axis, weights: Tensor) -> Tensor:
        """Weighted values of every line, not yet projected back."""
        dtype = self.v_proj.weight.dtype  # lower than that of the grid where `in_bfloat16` cast the weights
        mixed = torch.bmm(weights.to(dtype), self._fold(self.v_proj(grid.to(dtype)), axis))
        return self._unfold(mixed, axis, grid.shape)

    def forward(self, grid: Tensor, axis: Axis, queries: Tensor | None, keys: Tensor | None) -> Tensor:
        """Attend along one axis of a normalised grid (B, R, C, d)."""
        return self.attend(grid, axis, self.weights(self.logits(grid, axis, queries), keys))

    def _fold(self, grid: Tensor, axis: Axis) -> Tensor:
        """(B, R, C, d) -> (B * heads, attended length, tied length * head_dim)."""
        batch, rows, columns, channels = grid.shape
        split = grid.view(batch, rows, columns, self.heads, channels // self.heads)
        order = (0, 3, 2, 1, 4) if axis == "row" else (0, 3, 1, 2, 4)
        attended = columns if axis == "row" else rows
        return split.permute(order).reshape(batch * self.heads, attended, -1)

    def _unfold(self, folded: Tensor, axis: Axis, shape: torch.Size) -> Tensor:
        """Inverse of `_fold`."""
        batch, rows, columns, channels = shape
        attended, tied = (columns, rows) if axis == "row" else (rows, columns)
        split = folded.view(batch, self.heads, attended, tied, channels // self.heads)
        order = (0, 3, 2, 1, 4) if axis == "row" else (0, 2, 3, 1, 4)
        return split.permute(order).reshape(shape)


class FeedForward(nn.Module):
    """Linear, GELU, linear."""

    def __init__(self, channels: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.fc1 = nn.Linear(channels, hidden)
        self.fc2 = nn.Linear(hidden, channels)

    def forward(self, grid: Tensor) -> Tensor:
        """Map (..., d) to (..., d)."""
        return self.fc2(F.dropout(self._hidden(grid), self.dropout, self.training))

    def add_to(self, lines: Tensor, grid: Tensor) -> None:
        """Add what becomes of a grid to other lines of its shape, in place. Not for training."""
        _add_linear(lines, self._hidden(grid), self.fc2)

    def _hidden(self, grid: Tensor) -> Tensor:
        return F.gelu(self.fc1(grid.to(self.fc1.weight.dtype)))


LayerT = TypeVar("LayerT", bound=nn.Module)


class Normalised(nn.Module, Generic[LayerT]):
    """A layer and the layer norm before it (the names are those of the published weights)."""

    layer: LayerT

    def __init__(self, layer: LayerT, channels: int) -> None:
        super().__init__()
        self.layer = layer
        self.layer_norm = nn.LayerNorm(channels)


class AxialLayer(nn.Module):
    """Row attention, column attention and feed-forward layer, each on the normalised grid, each added to it.

    Parameters
    ----------
    channels
        Width d of the grid.
    heads
        Number of heads.
    hidden
        Hidden width of the feed-forward layer.
    dropout
        Probability of dropout in training: of attention weights, of hidden units, and of what is added.

    Notes
    -----
    Source: Wu et al. 2025 (arXiv 2410.03380), section 3.
    """

    def __init__(self, channels: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.row_attn = Normalised(TiedAttention(channels, heads, dropout), channels)
        self.col_attn = Normalised(TiedAttention(channels, heads, dropout), channels)
        self.ffn = Normalised(FeedForward(channels, hidden, dropout), channels)

    def forward(
        self,
        grid: Tensor,
        queries: Tensor | None = None,
        column_keys: Tensor | None = None,
        row_keys: Tensor | None = None,
    ) -> Tensor:
        """Update a grid.

        Parameters
        ----------
        grid
            (B, R, C, d). Overwritten where no gradients are asked for.
        queries
            Which entries are real, (B, R, C). None: all.
        column_keys
            Columns that row attention may look at, (B, C). None: all.
        row_keys
            Rows that column attention may look at, (B, R). None: all.

        Returns
        -------
        The updated grid, (B, R, C, d).
        """
        if self.training or torch.is_grad_enabled():
            for block, axis, keys in self._attentions(column_keys, row_keys):
                grid = grid + self._drop(block.layer(block.layer_norm(grid), axis, queries, keys))
            return grid + self._drop(self.ffn.layer(self.ffn.layer_norm(grid)))
        for block, axis, keys in self._attentions(column_keys, row_keys):
            _attend_in_place(block, grid, axis, queries, keys)
        for part in _chunks(grid, dim=1):
            lines = grid[:, part]
            self.ffn.layer.add_to(lines, self.ffn.layer_norm(lines))
        return grid

    def _attentions(
        self, column_keys: Tensor | None, row_keys: Tensor | None
    ) -> tuple[tuple[Normalised[TiedAttention], Axis, Tensor | None], ...]:
        return (self.row_attn, "row", column_keys), (self.col_attn, "column", row_keys)

    def _drop(self, update: Tensor) -> Tensor:
        return F.dropout(update, self.dropout, self.training)


def _chunks(grid: Tensor, dim: int) -> Iterator[slice]:
    """Slices of one dimension that hold about as many elements as are handled at a time."""
    length = grid.shape[dim]
    elements = _CHUNK_ELEMENTS if grid.device.type == "cpu" else _CHUNK_ELEMENTS_ACCELERATOR
    step = max(1, elements * length // max(1, grid.numel()))
    return (slice(start, min(start + step, length)) for start in range(0, length, step))


def _attend_in_place(
    block: Normalised[TiedAttention], grid: Tensor, axis: Axis, queries: Tensor | None, keys: Tensor | None
) -> None:
    """Add tied attention to a grid, a chunk of the tied axis at a time."""
    dim = 1 if axis == "row" else 2
    parts = list(_chunks(grid, dim))
    total: Tensor | None = None
    normalised = grid
    for part in parts:
        asked = None if queries is None else _cut(queries, dim, part)
        normalised = block.layer_norm(_cut(grid, dim, part))
        logits = block.layer.logits(normalised, axis, asked)
        total = logits if total is None else total.add_(logits)
    if total is None:
        return
    weights = block.layer.weights(total, keys)
    for part in parts:
        lines = _cut(grid, dim, part)
        if len(parts) > 1:
            normalised = block.layer_norm(lines)
        block.layer.add_attended(lines, normalised, axis, weights)


def _add_linear(lines: Tensor, values: Tensor, linear: nn.Linear) -> None:
    """Add a linear layer's output to other lines, in place; where they lie together, as it is computed."""
    if lines.is_contiguous() and lines.dtype == values.dtype == linear.weight.dtype:
        lines.view(-1, lines.shape[-1]).addmm_(values.flatten(0, -2), linear.weight.T)
        lines += linear.bias
    else:
        lines += linear(values)


def _cut(grid: Tensor, dim: int, part: slice) -> Tensor:
    """View of a range of rows (dim 1) or columns (dim 2)."""
    return grid[:, part] if dim == 1 else grid[:, :, part]
