"""The comparison of two arms' codes: one logit a gene."""

from __future__ import annotations

import torch
from torch import Tensor

from cdn_sc.nn.axial import AxialLayer
from cdn_sc.nn.config import Form


def join_arms(control: Tensor, perturbed: Tensor, form: Form) -> Tensor:
    """Join what is known of the two arms on the channels.

    Parameters
    ----------
    control, perturbed
        (..., d).
    form
        "concat": side by side, control first. "difference": perturbed minus control.

    Returns
    -------
    (..., 2d) or (..., d).
    """
    if form == "concat":
        return torch.cat([control, perturbed], dim=-1)
    return perturbed - control


def compare_codes(
    codes: Tensor,
    statistics: Tensor,
    layer: AxialLayer,
    genes: Tensor | None = None,
    unchanged: Tensor | None = None,
) -> Tensor:
    """Let the joined codes exchange what they know and average it for each gene.

    Parameters
    ----------
    codes
        Joined codes of the gene pairs, (B, N, N, c).
    statistics
        Joined embeddings of each gene's mean and variance, (B, N, c): they become column N + 1.
    layer
        Axial layer of width c.
    genes
        Which genes are real, (B, N). None: all.
    unchanged
        Genes whose joined statistics are 0, (B, N): the published difference form masks these entries, by
        the rule of its axial layers (no query; no key for row attention if so in the first row). None: none.

    Returns
    -------
    (B, N, c).

    Notes
    -----
    Source: Wu et al. 2025 (arXiv 2410.03380), section 3; the mask is that of the published code's numbers.
    """
    grid = torch.cat([codes, statistics[:, :, None]], dim=2)
    if genes is None and unchanged is None:
        return layer(grid).mean(dim=2)
    if genes is None:
        genes = grid.new_ones(grid.shape[:2], dtype=torch.bool)
    columns = torch.cat([genes, genes.new_ones(len(genes), 1)], dim=1)
    queries, column_keys = genes[:, :, None] & columns[:, None, :], columns
    if unchanged is not None:
        queries[:, :, -1] &= ~unchanged
        column_keys = torch.cat([genes, ~unchanged[:, :1]], dim=1)
    grid = layer(grid, queries, column_keys, genes)
    hidden = ~columns[:, None, :, None]
    return grid.masked_fill(hidden, 0.0).sum(dim=2) / columns.sum(dim=1)[:, None, None]
