"""The training loop: fresh pairs, AdamW, averaged weights, exact resume."""

from __future__ import annotations

import csv
import json
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from cdn_sc._logging import logger
from cdn_sc.inputs import make_batch
from cdn_sc.metrics.ranking import rank_metrics, score_ranks
from cdn_sc.models import build_network, load, save
from cdn_sc.simulate import Pair
from cdn_sc.train.config import TrainConfig
from cdn_sc.train.data import draw_batch, step_rng, validation_pairs
from cdn_sc.train.losses import graph_loss, target_loss

CHECKPOINT = "checkpoint.pt"
LOG = "log.csv"
LOG_COLUMNS = ("step", "pairs", "seconds", "learning_rate", "loss", "validation_map")


def train(
    config: TrainConfig,
    folder: str | Path,
    *,
    device: str = "cpu",
    max_seconds: float | None = None,
    progress: bool = True,
) -> Path:
    """Train a network on simulated pairs.

    A run resumes from ``folder/checkpoint.pt`` where there is one, and then gives what an uninterrupted
    run would have given: batches depend on the seed and the step alone, and the states of the optimiser,
    the averaged weights and torch's generator are stored.

    Parameters
    ----------
    config
        What to train, see :func:`cdn_sc.train.read_config`.
    folder
        Where the checkpoint, ``log.csv`` (loss and validation mean average precision) and the weights go.
    device
        Torch device.
    max_seconds
        Stop, with a checkpoint, after about this time. The weights so far are written all the same.
    progress
        Show a progress bar.

    Returns
    -------
    Path of the weights, ``folder/<name>.safetensors``: the averaged weights at the last step.

    Raises
    ------
    ValueError
        If the folder holds a checkpoint of another configuration.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    state = _TrainingState(config, folder, device)
    started = time.monotonic()
    steps = tqdm(
        range(state.step, config.steps), initial=state.step, total=config.steps, desc=config.name,
        disable=not progress,
    )  # fmt: skip
    for step in steps:
        loss = state.advance(step)
        steps.set_postfix(loss=f"{loss:.3f}", map=f"{state.last_map:.3f}")
        done = step + 1
        if done % config.validate_every == 0 or done == config.steps:
            state.validate()
        if done % config.checkpoint_every == 0 or done == config.steps:
            state.store()
        if max_seconds is not None and time.monotonic() - started > max_seconds:
            state.store()
            break
    return state.export()


class _TrainingState:
    """Network, optimiser, averages and log of one run."""

    def __init__(self, config: TrainConfig, folder: Path, device: str) -> None:
        self.config, self.folder, self.device = config, folder, device
        self.step = 0
        self.pairs = 0
        self.seconds = 0.0
        self.last_map = float("nan")
        self.recent: list[float] = []
        torch_seed = int(step_rng(config, "init", 0).integers(2**62))
        # torch's initialisers draw from the global generator only; it is put back afterwards
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(torch_seed)
            self.network = build_network(config.network).to(device)
        if config.initial_weights:
            start = load(config.initial_weights, device=device).state_dict()
            missing, unexpected = self.network.load_state_dict(start, strict=False)
            logger.info("initial weights: %d missing, %d unexpected", len(missing), len(unexpected))
        self.average = {k: v.detach().clone() for k, v in self.network.state_dict().items()}
        self.optimiser = torch.optim.AdamW(_parameter_groups(self.network, config), lr=config.learning_rate)
        self._validation: list[Pair] | None = None
        self._resume()

    def _resume(self) -> None:
        path = self.folder / CHECKPOINT
        if not path.exists():
            return
        saved = torch.load(path, map_location=self.device, weights_only=True)
        if saved["config"] != _json(self.config):
            raise ValueError(
                f"{path} belongs to another configuration; train into an empty folder, or with the one "
                "that the run began with"
            )
        self.network.load_state_dict(saved["network"])
        self.optimiser.load_state_dict(saved["optimiser"])
        self.average = saved["average"]
        self.step, self.pairs, self.seconds = saved["step"], saved["pairs"], saved["seconds"]
        self.recent, self.last_map = saved["recent"], saved["last_map"]
        _truncate_log(self.folder / LOG, self.step)
        logger.info("resumed %s at step %d", path, self.step)

    def store(self) -> None:
        """Write the checkpoint, replacing the last one in one move."""
        state = {
            "config": _json(self.config),
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "average": self.average,
            "step": self.step,
            "pairs": self.pairs,
            "seconds": self.seconds,
            "recent": self.recent,
            "last_map": self.last_map,
        }
        temporary = self.folder / f"{CHECKPOINT}.tmp"
        torch.save(state, temporary)
        os.replace(temporary, self.folder / CHECKPOINT)

    def advance(self, step: int) -> float:
        """One optimisation step; returns the loss."""
        begin = time.monotonic()
        config = self.config
        pairs = draw_batch(config, step)
        rate = learning_rate(config, step)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.network.train()
        rng = step_rng(config, "inputs", step)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(2**62)))  # dropout
            loss = self._loss(pairs, rng)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), config.clip)
        self.optimiser.step()
        # a short warm-up of the average keeps the initial weights from lingering
        decay = min(config.average_decay, (step + 1) / (step + 10))
        with torch.no_grad():
            for name, value in self.network.state_dict().items():
                self.average[name].lerp_(value, 1.0 - decay)
        self.step = step + 1
        self.pairs += len(pairs)
        self.seconds += time.monotonic() - begin
        value = float(loss.detach())
        self.recent = [*self.recent[-499:], value]
        return value

    def _loss(self, pairs: list[Pair], rng: np.random.Generator) -> Tensor:
        config = self.config
        told = rng.random(len(pairs)) < config.kind_told
        kinds = [
            str(p.attributes["kind"]) if t and "kind" in p.attributes else None
            for p, t in zip(pairs, told, strict=True)
        ]
        # half of the subsets an arm (model.md, section 1)
        low, high = config.n_subsets
        n_subsets = max(2, int(rng.integers(low, max(high, low + 1)))) // 2
        batch = make_batch(
            self.network,
            [(p.control, p.perturbed) for p in pairs],
            rng=rng,
            kinds=kinds,
            n_subsets=(n_subsets, n_subsets),
        ).to(self.device)
        labels, mask = _labels(pairs, self.device)
        if self.network.config.architecture == "gene_transformer":
            return target_loss(self.network(batch), labels, mask)
        network: Any = self.network
        code = network.encode_arm(batch.control)
        logits = network.compare(
            code,
            network.encode_arm(batch.perturbed),
            batch.control.mean_variance,
            batch.perturbed.mean_variance,
            batch.n_genes if batch.control.padded else None,
        )
        loss = target_loss(logits, labels, mask)
        if config.graph_weight and all(p.graph is not None for p in pairs):
            graph = torch.zeros(*mask.shape, mask.shape[1], dtype=torch.bool)
            for b, pair in enumerate(pairs):
                n = pair.control.shape[1]
                graph[b, :n, :n] = torch.from_numpy(np.asarray(pair.graph, dtype=bool))
            loss = loss + config.graph_weight * graph_loss(
                network.graph_logits(code), graph.to(self.device), mask
            )
        return loss

    def validate(self) -> None:
        """Mean average precision of the averaged weights on the fixed validation set, into the log."""
        if self._validation is None:
            self._validation = validation_pairs(self.config)
        current = {k: v.detach().clone() for k, v in self.network.state_dict().items()}
        self.network.load_state_dict(self.average)
        try:
            self.last_map = mean_average_precision(self.network, self._validation, self.device)
        finally:
            self.network.load_state_dict(current)
        loss = float(np.mean(self.recent)) if self.recent else float("nan")
        row = (self.step, self.pairs, round(self.seconds, 1), learning_rate(self.config, self.step), loss)
        path = self.folder / LOG
        new = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow(LOG_COLUMNS)
            writer.writerow([*row, self.last_map])
        logger.info("step %d: loss %.4f, validation mAP %.4f", self.step, loss, self.last_map)

    def export(self) -> Path:
        """Write the averaged weights with their configuration and training record."""
        network = build_network(self.config.network)
        network.load_state_dict({k: v.cpu() for k, v in self.average.items()})
        path = self.folder / f"{self.config.name}.safetensors"
        training = {
            "configuration": _json(self.config),
            "steps": self.step,
            "pairs": self.pairs,
            "hours": round(self.seconds / 3600, 3),
            "hardware": f"{self.device}, {torch.get_num_threads()} thread(s)",
            "validation_map": self.last_map,
        }
        card = {"name": self.config.name, "recommended_for": self.config.recommended_for, "training": training}
        save(network, path, card)
        return path


def learning_rate(config: TrainConfig, step: int) -> float:
    """Linear warm-up, then a cosine down to zero at the last step."""
    warm = min(1.0, (step + 1) / max(config.warmup_steps, 1))
    return config.learning_rate * warm * 0.5 * (1.0 + float(np.cos(np.pi * min(1.0, step / config.steps))))


@torch.no_grad()
def mean_average_precision(
    network: nn.Module, pairs: list[Pair], device: str = "cpu", *, told: bool = False
) -> float:
    """Mean average precision of a network over pairs; subsets are drawn from a fixed seed."""
    network.eval()
    scores = []
    for number, pair in enumerate(pairs):
        rng = np.random.default_rng(number)
        kind = str(pair.attributes["kind"]) if told and "kind" in pair.attributes else None
        batch = make_batch(network, [(pair.control, pair.perturbed)], rng=rng, kinds=[kind])
        logits = network(batch.to(device))[0].cpu().numpy()
        labels = np.zeros(logits.size, dtype=bool)
        labels[pair.targets] = True
        ranks = score_ranks(logits, rng.permutation(logits.size))
        scores.append(rank_metrics(ranks[labels], logits.size)["average_precision"])
    return float(np.mean(scores))


def _labels(pairs: list[Pair], device: str) -> tuple[Tensor, Tensor]:
    n = max(p.control.shape[1] for p in pairs)
    labels = torch.zeros(len(pairs), n)
    mask = torch.zeros(len(pairs), n, dtype=torch.bool)
    for b, pair in enumerate(pairs):
        labels[b, torch.from_numpy(np.asarray(pair.targets, dtype=np.int64))] = 1.0
        mask[b, : pair.control.shape[1]] = True
    return labels.to(device), mask.to(device)


def _parameter_groups(network: nn.Module, config: TrainConfig) -> list[dict[str, Any]]:
    decayed = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    return [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]


def _json(config: TrainConfig) -> str:
    return json.dumps(asdict(config), sort_keys=True)


def _truncate_log(path: Path, step: int) -> None:
    """Drop rows past the checkpoint, which the resumed run writes again."""
    if not path.exists():
        return
    rows = list(csv.reader(path.open(newline="")))
    kept = [rows[0], *(row for row in rows[1:] if int(row[0]) <= step)]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(kept)
