"""Losses on target logits and on the control arm's graph."""

import torch
from torch import Tensor
from torch.nn import functional as F


def target_loss(logits: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
    """Binary cross-entropy per gene plus listwise softmax cross-entropy over the genes of a pair.

    The first, the loss of Wu et al. 2025, makes sigmoid scores comparable across pairs; the second asks
    that targets come first whatever the number of genes.

    Parameters
    ----------
    logits, labels
        B x N; labels are 1 for targets.
    mask
        B x N, true for genes, false for padding.

    Returns
    -------
    Scalar: mean over the pairs of half the binary part, summed over genes and divided by the number of
    targets, plus the listwise part.
    """
    finite = logits.masked_fill(~mask, 0.0)
    binary = F.binary_cross_entropy_with_logits(finite, labels, reduction="none")
    binary = (binary * mask).sum(dim=1) / labels.sum(dim=1).clamp_min(1.0)
    share = labels / labels.sum(dim=1, keepdim=True).clamp_min(1.0)
    log_softmax = torch.log_softmax(logits.masked_fill(~mask, -1e4), dim=1)
    listwise = -(share * log_softmax).sum(dim=1)
    return (0.5 * binary + listwise).mean()


def kind_loss(logits: Tensor, kinds: Tensor) -> Tensor:
    """Cross-entropy of the kind of perturbation.

    Parameters
    ----------
    logits
        B x kinds.
    kinds
        B, the true kind; below 0 where there is none, or the network was told.

    Returns
    -------
    Scalar: mean over all B, of which the others count as 0.
    """
    return F.cross_entropy(logits, kinds.clamp_min(0), reduction="none").mul(kinds >= 0).mean()


def direction_loss(logits: Tensor, directions: Tensor) -> Tensor:
    """Cross-entropy of which way each target went.

    Parameters
    ----------
    logits
        B x N.
    directions
        B x N, 1 where what a target does grew, -1 where it was lost, 0 for what is no target.

    Returns
    -------
    Scalar: mean over the targets, 0 where there are none.
    """
    hit = directions != 0
    found = F.binary_cross_entropy_with_logits(logits, (directions > 0).to(logits.dtype), reduction="none")
    return (found * hit).sum() / hit.sum().clamp_min(1)


def graph_loss(logits: Tensor, graph: Tensor, mask: Tensor) -> Tensor:
    """Cross-entropy over {no edge, i -> j, j -> i} of the gene pairs i < j.

    Parameters
    ----------
    logits
        B x N x N x 3, read at i < j.
    graph
        B x N x N, true at [i, j] for an edge i -> j.
    mask
        B x N, true for genes, false for padding.

    Returns
    -------
    Scalar: mean over all gene pairs of the batch; of two edges in opposite directions i -> j counts.
    """
    upper = torch.ones_like(graph).triu(1).bool() & mask[:, :, None] & mask[:, None, :]
    labels = torch.where(graph, 1, torch.where(graph.transpose(1, 2), 2, 0))
    return F.cross_entropy(logits[upper], labels[upper])
