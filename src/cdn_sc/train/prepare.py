"""What a training step needs apart from the weights: decided by configuration, network sizes and step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cdn_sc._threads import one_blas_thread
from cdn_sc.inputs import make_batch
from cdn_sc.nn import CDNBatch, GeneBatch
from cdn_sc.nn.gene_transformer import KIND_NAMES, kind_indices
from cdn_sc.simulate import Pair
from cdn_sc.train.config import TrainConfig
from cdn_sc.train.data import draw_batch, step_rng
from cdn_sc.train.pairs import PairSet


@dataclass(frozen=True)
class PreparedBatch:
    """Inputs and truth of B pairs, padded to N genes, on the CPU.

    Parameters
    ----------
    inputs
        What the network reads.
    labels
        B x N, 1 for targets, float32.
    mask
        B x N, true for genes, false for padding.
    kinds
        B, place in ``KIND_NAMES`` of the kind less 1; -1 where there is none, or the network is told one.
    directions
        B x N, of targets 1 where what they do grew and -1 where it was lost; 0 else, and where not known.
    graphs
        B x N x N, true at [b, i, j] for an edge i -> j; None unless the graph loss needs it.
    """

    inputs: GeneBatch | CDNBatch
    labels: Tensor
    mask: Tensor
    kinds: Tensor
    directions: Tensor
    graphs: Tensor | None


@dataclass(frozen=True)
class PreparedStep:
    """A batch and the seed of the step's dropout."""

    batch: PreparedBatch
    dropout_seed: int


def prepare_step(config: TrainConfig, sizes: Any, step: int, given: PairSet | None = None) -> PreparedStep:
    """Draw the pairs of a training step and compute the network's inputs.

    Parameters
    ----------
    config
        The training run.
    sizes
        The network's configuration (``network.config``); weights are not needed.
    step
        Number of the step; with the configuration it decides everything.
    given
        Pairs of the source ``"given"``.
    """
    # matrix products and inverses round differently on other numbers of threads
    with one_blas_thread():
        pairs = draw_batch(config, step, given)
        rng = step_rng(config, "inputs", step)
        dropout_seed = int(rng.integers(2**62))
        return PreparedStep(prepare_batch(pairs, config, sizes, rng), dropout_seed)


def prepare_batch(
    pairs: Sequence[Pair], config: TrainConfig, sizes: Any, rng: np.random.Generator
) -> PreparedBatch:
    """Compute a network's inputs from pairs, and what its logits are compared with.

    Parameters
    ----------
    pairs
        The pairs; a pair whose ``attributes`` hold no ``kind`` is never told its kind.
    config
        Share of kinds told, rightly or wrongly, subsets, weight of the graph loss.
    sizes
        The network's configuration (``network.config``).
    rng
        Decides which kinds are told, and the inputs.
    """
    told = rng.random(len(pairs)) < config.kind_told
    true = [str(p.attributes["kind"]) if "kind" in p.attributes else None for p in pairs]
    kinds = [kind if t else None for kind, t in zip(true, told, strict=True)]
    if config.kind_wrong > 0:  # else nothing is drawn, so that other configurations' draws stay
        wrong = rng.random(len(pairs)) < config.kind_wrong
        others = rng.choice(KIND_NAMES[1:], len(pairs))
        kinds = [
            str(other) if kind is not None and w else kind
            for kind, other, w in zip(kinds, others, wrong, strict=True)
        ]
    # drawn for both arms together, as the published networks were trained
    low, high = config.n_subsets
    n_subsets = max(2, int(rng.integers(low, max(high, low + 1)))) // 2
    network: Any = SimpleNamespace(config=sizes)  # all that inputs depend on
    inputs = make_batch(
        network,
        [(p.control, p.perturbed) for p in pairs],
        contrasts=[p.contrasts for p in pairs],
        relations=[p.relations for p in pairs],
        rng=rng,
        kinds=kinds,
        n_subsets=(n_subsets, n_subsets),
    )
    with_graphs = config.graph_weight and getattr(sizes, "graph_head", False)
    graphs = _graphs(pairs) if with_graphs and all(p.graph is not None for p in pairs) else None
    asked = kind_indices([None if told else kind for kind, told in zip(true, kinds, strict=True)]) - 1
    return PreparedBatch(inputs, *_labels(pairs), asked, _directions(pairs), graphs)


def _directions(pairs: Sequence[Pair]) -> Tensor:
    directions = torch.zeros(
        len(pairs), max(p.control.shape[1] for p in pairs), dtype=torch.float32, device="cpu"
    )
    for b, pair in enumerate(pairs):
        if pair.directions is not None:
            places = torch.from_numpy(np.asarray(pair.targets, dtype=np.int64))
            directions[b, places] = torch.from_numpy(np.asarray(pair.directions, dtype=np.float32))
    return directions


def _labels(pairs: Sequence[Pair]) -> tuple[Tensor, Tensor]:
    n = max(p.control.shape[1] for p in pairs)
    labels = torch.zeros(len(pairs), n, dtype=torch.float32, device="cpu")
    mask = torch.zeros(len(pairs), n, dtype=torch.bool, device="cpu")
    for b, pair in enumerate(pairs):
        labels[b, torch.from_numpy(np.asarray(pair.targets, dtype=np.int64))] = 1.0
        mask[b, : pair.control.shape[1]] = True
    return labels, mask


def _graphs(pairs: Sequence[Pair]) -> Tensor:
    n = max(p.control.shape[1] for p in pairs)
    graphs = torch.zeros(len(pairs), n, n, dtype=torch.bool, device="cpu")
    for b, pair in enumerate(pairs):
        genes = pair.control.shape[1]
        graphs[b, :genes, :genes] = torch.from_numpy(np.asarray(pair.graph, dtype=bool))
    return graphs
