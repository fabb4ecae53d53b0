"""What training minimises, and what validation measures."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cdn_sc.metrics.ranking import rank_metrics, score_ranks
from cdn_sc.predictors import Predictor
from cdn_sc.simulate import Pair
from cdn_sc.train.config import TrainConfig
from cdn_sc.train.losses import direction_loss, graph_loss, kind_loss, target_loss
from cdn_sc.train.prepare import PreparedBatch

# Weights of what the gene transformer learns beside the targets
OWN_WEIGHT, KIND_WEIGHT, DIRECTION_WEIGHT = 0.3, 0.1, 0.1


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
        kinds, directions = batch.kinds.to(device), batch.directions.to(device)
        losses = [
            target_loss(found.logits, labels, mask)
            + OWN_WEIGHT * target_loss(found.own, labels, mask)
            + KIND_WEIGHT * kind_loss(found.kind, kinds)
            + DIRECTION_WEIGHT * direction_loss(found.direction, directions)
            for found in network.member_outputs(inputs)
        ]
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


def validate(network: nn.Module, pairs: Iterable[Pair], device: str = "cpu") -> dict[str, np.ndarray]:
    """Average precision and AUROC of a network on each pair; the kind is not told, subsets have fixed seeds.

    Targets that are not among the pair's genes count as ranked last.

    Parameters
    ----------
    network
        Of an architecture that predicts targets; in eval mode afterwards.
    pairs
        The pairs; what is computed from control cells is shared by pairs in a row with one control array.
    device
        Where the network is.

    Returns
    -------
    ``"map"`` and ``"auroc"``, one value a pair; an AUROC is NaN where every gene is a target.
    """
    predictor = Predictor(network, device, columns=False)
    n_subsets = min(50, predictor.max_subsets or 50)
    found: dict[str, list[float]] = {"map": [], "auroc": []}
    for number, pair in enumerate(pairs):
        rng = np.random.default_rng(number)
        logits = predictor.predict(
            pair.control,
            pair.perturbed,
            rng=rng,
            n_subsets=n_subsets,
            contrasts=pair.contrasts,
            relations=pair.relations,
        ).logits
        ranks = score_ranks(logits, rng.permutation(logits.size))
        metrics = rank_metrics(ranks[pair.targets], logits.size, pair.n_missing)
        found["map"].append(metrics["average_precision"])
        found["auroc"].append(metrics["auroc"])
    return {name: np.array(values, dtype=float) for name, values in found.items()}


def average_precisions(network: nn.Module, pairs: Sequence[Pair], device: str = "cpu") -> np.ndarray:
    """Average precision of a network on each pair, see :func:`validate`."""
    return validate(network, pairs, device)["map"]
