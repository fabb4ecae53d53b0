"""What training minimises, and what validation measures."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cdn_sc.inputs import make_batch
from cdn_sc.metrics.ranking import rank_metrics, score_ranks
from cdn_sc.simulate import Pair
from cdn_sc.train.config import TrainConfig
from cdn_sc.train.losses import graph_loss, target_loss


def batch_loss(
    network: Any, pairs: Sequence[Pair], config: TrainConfig, *, rng: np.random.Generator, device: str
) -> Tensor:
    """Loss of a network on a batch of pairs.

    Parameters
    ----------
    network
        Of an architecture that predicts targets.
    pairs
        Simulated pairs; a pair whose ``attributes`` hold no ``kind`` is never told its kind.
    config
        Share of kinds told, subsets and weight of the graph loss.
    rng
        Decides which kinds are told, and the inputs.
    device
        Where the network is.

    Returns
    -------
    Scalar, with gradients.
    """
    told = rng.random(len(pairs)) < config.kind_told
    kinds = [
        str(p.attributes["kind"]) if t and "kind" in p.attributes else None
        for p, t in zip(pairs, told, strict=True)
    ]
    # drawn for both arms together, as the published networks were trained
    low, high = config.n_subsets
    n_subsets = max(2, int(rng.integers(low, max(high, low + 1)))) // 2
    batch: Any = make_batch(
        network,
        [(p.control, p.perturbed) for p in pairs],
        rng=rng,
        kinds=kinds,
        n_subsets=(n_subsets, n_subsets),
    ).to(device)
    labels, mask = _labels(pairs, device)
    if network.config.architecture == "gene_transformer":
        return target_loss(network(batch), labels, mask)
    code = network.encode_arm(batch.control)
    logits = network.compare(
        code,
        network.encode_arm(batch.perturbed),
        batch.control.mean_variance,
        batch.perturbed.mean_variance,
        batch.n_genes if batch.control.padded else None,
    )
    loss = target_loss(logits, labels, mask)
    if config.graph_weight and network.config.graph_head and all(p.graph is not None for p in pairs):
        graph = _graphs(pairs).to(device)
        loss = loss + config.graph_weight * graph_loss(network.graph_logits(code), graph, mask)
    return loss


@torch.no_grad()
def average_precisions(network: nn.Module, pairs: Sequence[Pair], device: str = "cpu") -> np.ndarray:
    """Average precision of a network on each pair; the kind is not told, subsets have fixed seeds."""
    network.eval()
    scores = []
    for number, pair in enumerate(pairs):
        rng = np.random.default_rng(number)
        batch = make_batch(network, [(pair.control, pair.perturbed)], rng=rng)
        logits = network(batch.to(device))[0].cpu().numpy()
        ranks = score_ranks(logits, rng.permutation(logits.size))
        scores.append(rank_metrics(ranks[pair.targets], logits.size)["average_precision"])
    return np.array(scores)


def _labels(pairs: Sequence[Pair], device: str) -> tuple[Tensor, Tensor]:
    n = max(p.control.shape[1] for p in pairs)
    labels = torch.zeros(len(pairs), n)
    mask = torch.zeros(len(pairs), n, dtype=torch.bool)
    for b, pair in enumerate(pairs):
        labels[b, torch.from_numpy(np.asarray(pair.targets, dtype=np.int64))] = 1.0
        mask[b, : pair.control.shape[1]] = True
    return labels.to(device), mask.to(device)


def _graphs(pairs: Sequence[Pair]) -> Tensor:
    n = max(p.control.shape[1] for p in pairs)
    graphs = torch.zeros(len(pairs), n, n, dtype=torch.bool)
    for b, pair in enumerate(pairs):
        genes = pair.control.shape[1]
        graphs[b, :genes, :genes] = torch.from_numpy(np.asarray(pair.graph, dtype=bool))
    return graphs
