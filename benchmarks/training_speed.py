"""Pairs a second in training, everything included: simulation, inputs, both passes and the optimiser.

    python benchmarks/training_speed.py --genes 20 100 300 --output docs/results

For the published architecture before and after, on the same pairs and the same weights: `plain` samples with
numpy and causal-learn, computes each pair by the dense masked network (`straightforward_network.py`), and
takes the same optimiser step; `ours` is what `cdn-sc train` does in one process. No dropout, no graph loss.
The gene transformer has no plain reading; its row says how much of the time goes into simulation and inputs.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

import straightforward
import straightforward_network
from cdn_sc.models import build_network
from cdn_sc.simulate import Pair
from cdn_sc.train.config import TrainConfig, config_from_dict
from cdn_sc.train.data import draw_batch, step_rng
from cdn_sc.train.losses import target_loss
from cdn_sc.train.objective import batch_loss
from cdn_sc.train.prepare import prepare_step
from common import machine, peak_memory, reset_peak_memory, write_table

GENES_PER_BATCH = 300
CELLS = (500, 3000)
NETWORKS: dict[str, dict[str, Any]] = {
    "cdn": {"architecture": "cdn", "dropout": 0.0},
    "gene_transformer": {"architecture": "gene_transformer"},
}


def configuration(architecture: str, n_genes: int) -> TrainConfig:
    """Training on pairs of one number of genes: structural models, or screens for the gene transformer."""
    source: dict[str, Any] = {
        "type": "scm",
        "options": {"gene_choices": [n_genes], "n_control": CELLS, "n_perturbed": CELLS},
    }
    if architecture == "gene_transformer":
        source = {
            "type": "screen",
            "options": {"genes": [n_genes, n_genes], "control_cells": CELLS, "n_perturbed": [50, 500]},
        }
    return config_from_dict(
        {
            "name": f"speed-{architecture}-{n_genes}",
            "network": NETWORKS[architecture],
            "sources": [source],
            "genes_per_batch": GENES_PER_BATCH,
            "max_pairs_per_batch": 16,
            "graph_weight": 0.0,
            "n_subsets": [10, 24],
        }
    )


Step = Callable[[int], tuple[int, float]]
"""From the number of a step to its pairs and the seconds spent on simulation and inputs."""


def our_step(config: TrainConfig, network: Any, optimiser: torch.optim.Optimizer) -> Step:
    """A training step as `cdn_sc.train` takes it."""

    def take(step: int) -> tuple[int, float]:
        started = perf_counter()
        batch = prepare_step(config, network.config, step).batch
        prepared = perf_counter() - started
        descend(batch_loss(network, batch, config, device="cpu"), network, optimiser, config)
        return len(batch.labels), prepared

    return take


def plain_step(config: TrainConfig, network: Any, optimiser: torch.optim.Optimizer) -> Step:
    """The same step by the straightforward path, one pair after another."""

    def take(step: int) -> tuple[int, float]:
        started = perf_counter()
        pairs = draw_batch(config, step)
        rng = step_rng(config, "inputs", step)
        n_subsets = max(2, int(rng.integers(*config.n_subsets))) // 2
        arms = [
            [straightforward.read_arm(values, n_subsets, rng) for values in (pair.control, pair.perturbed)]
            for pair in pairs
        ]
        prepared = perf_counter() - started
        losses = [
            plain_loss(network, *pair_arms, pair, rng) for pair, pair_arms in zip(pairs, arms, strict=True)
        ]
        descend(torch.stack(losses).mean(), network, optimiser, config)
        return len(pairs), prepared

    return take


def plain_loss(
    network: Any,
    control: straightforward.Arm,
    perturbed: straightforward.Arm,
    pair: Pair,
    rng: np.random.Generator,
) -> Tensor:
    """Loss of one pair by the dense network, with gradients."""
    weights = dict(network.named_parameters())
    identities = np.stack([rng.permutation(network.config.num_vars + 1) for _ in range(6)])
    logits = straightforward_network.logits(weights, network.config, control, perturbed, identities)
    labels = torch.zeros(1, len(logits))
    labels[0, torch.as_tensor(np.asarray(pair.targets))] = 1.0
    return target_loss(logits[None], labels, torch.ones(1, len(logits), dtype=torch.bool))


def descend(loss: Tensor, network: Any, optimiser: torch.optim.Optimizer, config: TrainConfig) -> None:
    """One step of the optimiser."""
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), config.clip)
    optimiser.step()


def rate(
    make: Callable[..., Step], config: TrainConfig, steps: int, *, warm_up: bool
) -> tuple[float, float, float]:
    """Pairs a second (median over steps), the share of simulation and inputs, and the peak memory in GB."""
    torch.manual_seed(0)
    network = build_network(config.network).train()
    step = make(config, network, torch.optim.AdamW(network.parameters(), lr=config.learning_rate))
    if warm_up:
        step(0)
    reset_peak_memory()
    before, rates, shares = peak_memory(), [], []
    for number in range(1, steps + 1):
        started = perf_counter()
        pairs, prepared = step(number)
        seconds = perf_counter() - started
        rates.append(pairs / seconds)
        shares.append(prepared / seconds)
    return median(rates), median(shares), (peak_memory() - before) / 1024


def measure(architecture: str, n_genes: int, steps: int, plain_steps: int) -> dict[str, object]:
    """One row of the table; without plain steps its columns stay empty."""
    config = configuration(architecture, n_genes)
    plain, plain_memory = float("nan"), float("nan")
    if architecture == "cdn" and plain_steps:
        plain, _, plain_memory = rate(plain_step, config, plain_steps, warm_up=False)
    ours, share, memory = rate(our_step, config, steps, warm_up=True)
    return {
        "architecture": architecture,
        "genes": n_genes,
        "plain pairs / s": plain,
        "ours pairs / s": ours,
        "ratio": ours / plain,
        "simulation and inputs": share,
        "plain GB": plain_memory,
        "ours GB": memory,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--genes", type=int, nargs="+", default=[20, 100, 300])
    parser.add_argument("--architectures", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--plain-steps", type=int, default=3)
    parser.add_argument(
        "--plain-genes", type=int, default=300, help="largest panel of the plain path (memory: some GB)"
    )
    parser.add_argument("--output", type=Path, help="folder for training_speed.csv and training_speed.md")
    options = parser.parse_args(arguments)
    rows = [
        measure(name, n, options.steps, options.plain_steps if n <= options.plain_genes else 0)
        for name in options.architectures
        for n in options.genes
    ]
    note = (
        f"Median of {options.steps} steps ({options.plain_steps} plain), {GENES_PER_BATCH} genes "
        f"over all pairs of a step. {machine()}."
    )
    write_table("training_speed", pd.DataFrame(rows), note, options.output)


if __name__ == "__main__":
    main()
