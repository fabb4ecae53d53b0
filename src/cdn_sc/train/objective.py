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
from cdn_sc.train.prepare import PreparedBatch


def batch_loss(network: Any, batch: PreparedBatch, config: TrainConfig, *, device: str) -> Tensor:
    """Loss of a network on a batch.

    Parameters
    ----------
    network
        Of an architecture that predicts targets.
    batch
        Inputs made for the network, and the truth.
    config
        Weight of the graph loss.
    device
        Where the network is.

    Returns
    -------
    Scalar, with gradients; of a gene transformer the mean of its members' own losses, so that they learn
    independently of each other.
    """
    inputs: Any = batch.inputs.to(device)
    labels, mask = batch.labels.to(device), batch.mask.to(device)
    if network.config.architecture == "gene_transformer":
        losses = [target_loss(logits, labels, mask) for logits in network.member_logits(inputs)]
        return torch.stack(losses).mean()
    code = network.encode_arm(inputs.control)
    logits = network.compare(
        code,
        network.encode_arm(inputs.perturbed),
        inputs.control.mean_variance,
        inputs.perturbed.mean_variance,
        inputs.n_genes if inputs.control.padded else None,
    )
    loss = target_loss(logits, labels, mask)
    if batch.graphs is not None:
        loss = loss + config.graph_weight * graph_loss(
            network.graph_logits(code), batch.graphs.to(device), mask
        )
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
