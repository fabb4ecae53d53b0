"""The published network as its description reads: one sample, full maps, masked logits; slow and plain.

Nothing here is shared with the package, so that tests and benchmarks have something to compare it with.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

MASKED = -10000.0
Weights = Mapping[str, Tensor]


def linear(weights: Weights, name: str, x: Tensor) -> Tensor:
    """The linear layer of this name."""
    return F.linear(x, weights[f"{name}.weight"], weights.get(f"{name}.bias"))


def norm(weights: Weights, name: str, x: Tensor) -> Tensor:
    """The layer norm of this name."""
    return F.layer_norm(x, x.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"])


def mlp(weights: Weights, name: str, x: Tensor) -> Tensor:
    """Linear, GELU, layer norm, linear."""
    hidden = norm(weights, f"{name}.layer_norm", F.gelu(linear(weights, f"{name}.linear", x)))
    return linear(weights, f"{name}.linear2", hidden)


def tied(weights: Weights, name: str, y: Tensor, heads: int, scale: float, empty: Tensor) -> Tensor:
    """Row attention of y (R, C, d); `empty` (R, C) masks its queries and the keys of its first row."""
    split = [linear(weights, f"{name}.{p}_proj", y).unflatten(-1, (heads, -1)) for p in "qkv"]
    q, k, v = split
    q = q * scale * (~empty)[..., None, None]
    logits = torch.einsum("rihe,rjhe->hij", q, k)
    logits = torch.where(empty[0], torch.tensor(MASKED, dtype=logits.dtype), logits)
    mixed = torch.einsum("hij,rjhe->rihe", logits.softmax(-1), v)
    return linear(weights, f"{name}.out_proj", mixed.flatten(-2))


def axial(
    weights: Weights, name: str, y: Tensor, heads: int, row_scale: float = 1.0, empty: Tensor | None = None
) -> Tensor:
    """Row attention, column attention and feed-forward layer on a grid (R, C, d)."""
    if empty is None:
        empty = torch.zeros(y.shape[:2], dtype=torch.bool)
    normed = norm(weights, f"{name}.row_attn.layer_norm", y)
    y = y + tied(weights, f"{name}.row_attn.layer", normed, heads, row_scale, empty)
    normed = norm(weights, f"{name}.col_attn.layer_norm", y).transpose(0, 1)
    y = y + tied(weights, f"{name}.col_attn.layer", normed, heads, 1.0, empty.T).transpose(0, 1)
    normed = norm(weights, f"{name}.ffn.layer_norm", y)
    hidden = F.gelu(linear(weights, f"{name}.ffn.layer.fc1", normed))
    return y + linear(weights, f"{name}.ffn.layer.fc2", hidden)


def encode(weights: Weights, config: Any, arm: Any, permutations: Any) -> Tensor:
    """Code (N, N, d) of one arm; `permutations` (3, num_vars + 1)."""
    tokens, pairs = torch.as_tensor(arm.tokens).long(), torch.as_tensor(arm.pairs).long()
    permutations = torch.as_tensor(permutations).long()
    dtype = weights["encoder.embed_tokens.weight"].dtype
    correlation = torch.as_tensor(arm.correlation).to(dtype)

    first = tokens[:, 0] != 0
    members = weights["encoder.embed_edges.weight"][permutations[0][pairs]].flatten(-2)
    x = weights["encoder.embed_tokens.weight"][tokens]
    x = x + mlp(weights, "encoder.embed_edges", members)
    x = x + weights["encoder.embed_time.weight"][first.cumsum(0) * first][:, None]
    x = norm(weights, "encoder.emb_layer_norm_before", x)
    empty = tokens == 0
    x = torch.where(empty[..., None], torch.zeros((), dtype=dtype), x)

    nodes = weights["encoder.embed_nodes.weight"]
    row, column = correlation[0] != 0, correlation[:, 0] != 0
    h = linear(weights, "encoder.embed_feats", correlation[..., None])
    h = h + nodes[permutations[1][row.cumsum(0) * row]][:, None]
    h = h + nodes[permutations[2][column.cumsum(0) * column]][None]
    h = norm(weights, "encoder.feat_layer_norm_before", h)

    i, j = pairs.T - 1
    scale = (config.channels // config.heads) ** -0.5 * len(tokens) ** -0.5
    for block in range(config.blocks):
        name = f"encoder.layers.{block}"
        x = axial(weights, f"{name}.graph_layer", x, config.heads, scale, empty)
        u = weights[f"{name}.pad"].expand_as(h).clone()
        u[i, j] = x.mean(0)
        h = linear(weights, f"{name}.linear", torch.cat([h, u], -1))
        h = axial(weights, f"{name}.feat_layer", h, config.heads)
        x = x + h[i, j]
    return norm(weights, "encoder.feat_layer_norm_after", h)


def logits(weights: Weights, config: Any, control: Any, perturbed: Any, permutations: Any) -> Tensor:
    """Logits (N,) of one pair of arms."""
    grids = []
    for arm, drawn in ((control, permutations[:3]), (perturbed, permutations[3:])):
        code = encode(weights, config, arm, drawn)
        e = mlp(weights, "encoder_1d", torch.as_tensor(arm.mean_variance).to(code.dtype))
        grids.append(torch.cat([code, e[:, None]], 1))
    grid = torch.cat(grids, -1) if config.form == "concat" else grids[1] - grids[0]
    # Not in the paper: the published code masks entries that are exactly 0 (a gene silent in both arms).
    grid = axial(weights, "axial_N_N_d2", grid, config.heads, empty=(grid == 0).all(-1))
    return linear(weights, "linear_out", grid.mean(1)).squeeze(-1)
