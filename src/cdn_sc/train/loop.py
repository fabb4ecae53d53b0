"""The training loop: AdamW, averaged weights, early stopping, exact resume."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cdn_sc._files import check_file, make_folder
from cdn_sc._logging import logger
from cdn_sc._memory import keep_freed_memory
from cdn_sc._progress import progress_bar
from cdn_sc._run_lock import folder_lock, only_run
from cdn_sc.errors import InputError
from cdn_sc.models import available, build_network, load, save
from cdn_sc.simulate import Pair
from cdn_sc.train.checkpoint import CHECKPOINT, check_fit, damaged, read_checkpoint, write_checkpoint
from cdn_sc.train.config import TrainConfig, shipped_configs
from cdn_sc.train.data import pair_set, step_rng, validation_sets
from cdn_sc.train.hardware import describe_hardware
from cdn_sc.train.log import (
    LOG,
    LOG_COLUMNS,
    append_row,
    log_text,
    logged_steps,
    read_log,
    restore_log,
    truncate_log,
)
from cdn_sc.train.objective import batch_loss, validate
from cdn_sc.train.pairs import PairSet
from cdn_sc.train.prepare import PreparedStep
from cdn_sc.train.trackers import Tracker, open_trackers
from cdn_sc.train.workers import prepared_steps

TRAINABLE = ("gene_transformer", "cdn")
# what a checkpoint from before a field existed was trained with
_DEFAULTS = {f.name: f.default for f in fields(TrainConfig) if f.default is not MISSING}


def train(
    config: TrainConfig,
    folder: str | Path,
    *,
    device: str = "cpu",
    max_seconds: float | None = None,
    workers: int = 0,
    progress: bool = True,
    given: PairSet | None = None,
    start: nn.Module | None = None,
    trackers: Sequence[str] = (),
    notes: Mapping[str, Any] | None = None,
) -> Path:
    """Train a network on pairs, simulated or real.

    A run resumes from ``folder/checkpoint.pt`` where there is one, and then gives what an uninterrupted
    run would have given: batches and dropout depend on the seed and the step alone, and the states of the
    optimiser and the averaged weights are stored: after the first step, at regular steps, and when the run is
    interrupted (Ctrl-C).

    Parameters
    ----------
    config
        What to train, see :func:`cdn_sc.train.read_config`.
    folder
        Where the checkpoint, ``log.csv`` and the weights go. The log has a row for each validation: steps
        and pairs so far, seconds of training, learning rate of the next step, mean loss of the last 500
        steps, mean average precision and mean AUROC of the averaged weights on the validation set. With
        ``config.select_by`` there is one before the first step.
    device
        Torch device.
    max_seconds
        Stop, with a checkpoint, after about this time. The weights so far are written all the same.
    workers
        Processes that prepare the next steps (simulation and inputs) while this one computes the network;
        0 does all in this process. The result is the same. A script that asks for workers must start
        training below ``if __name__ == "__main__":``, since each of them imports it.
    progress
        Show a progress bar.
    given
        Pairs of the configuration's source ``"given"``; then no workers.
    start
        Network to start from, in place of ``config.initial_weights``.
    trackers
        Where validations are written besides ``log.csv``: ``"tensorboard"``, ``"wandb"``.
    notes
        Further facts for the training record of the card; JSON values.

    Returns
    -------
    Path of the weights, ``folder/<name>.safetensors``: the averaged weights at the last step (with
    ``config.select_by`` those of the best validation), with a card that holds the configuration, the SHA-256
    of the initial weights, steps, pairs, hours (simulation included, validation not), the hardware and the
    validations.

    Raises
    ------
    ValueError
        If the folder holds a checkpoint that is damaged or of another configuration or other pairs, or the
        configuration's network cannot be made, does not predict targets, or has nothing in common with its
        initial weights; if pairs are missing or cannot be read, or there are none to validate with where
        ``config.select_by`` asks for it; if a tracker is unknown or not installed; or if ``workers`` is
        negative, or there are some beside given pairs.
    WriteError
        If the folder cannot be written into or another run is at work in it, or the disk is full; the last
        checkpoint and the weights stay as they are, and the same call goes on later.
    FloatingPointError
        If the loss is not finite; the last checkpoint stays as it is.
    """
    if workers < 0:
        raise ValueError(f"workers = {workers}; a number of processes of at least 0 is needed")
    if workers and given is not None:
        raise ValueError("pairs that are handed over are not sent to other processes: take workers = 0")
    folder = Path(folder)
    make_folder(folder)
    check_file(folder / f"{config.name}.safetensors")
    keep_freed_memory()
    with only_run(folder, folder_lock(folder)):
        state = _TrainingState(config, folder, device, workers, given, start)
        _take_steps(state, max_seconds, progress, trackers)
        return state.export(notes or {})


def _take_steps(
    state: _TrainingState, max_seconds: float | None, progress: bool, trackers: Sequence[str]
) -> None:
    """Take the steps that are left, or those that the time is enough for."""
    config, folder = state.config, state.folder
    started = time.monotonic()
    steps = progress_bar(
        progress, range(state.step, config.steps), initial=state.step, total=config.steps, desc=config.name
    )
    try:
        with ExitStack() as stack:
            state.trackers = [
                stack.enter_context(closing(tracker)) for tracker in open_trackers(trackers, folder, config)
            ]
            state.validate_if_due()  # a run that was interrupted while it validated still owes that row
            prepared = stack.enter_context(
                closing(prepared_steps(config, state.network.config, state.step, state.workers, state.given))
            )
            for step in steps:
                if state.stops_early():
                    break
                loss = state.advance(prepared)
                steps.set_postfix(loss=f"{loss:.3f}", map=f"{state.last_map:.3f}")
                state.validate_if_due()
                done = step + 1
                # the first one early, so that a folder that cannot be written does not cost hours
                if done % config.checkpoint_every == 0 or done in (1, config.steps):
                    state.store()
                if max_seconds is not None and time.monotonic() - started > max_seconds:
                    state.store()
                    break
    except KeyboardInterrupt:
        state.store_if_whole()
        raise


class _TrainingState:
    """Network, optimiser, averages, best weights and log of one run."""

    def __init__(
        self,
        config: TrainConfig,
        folder: Path,
        device: str,
        workers: int,
        given: PairSet | None,
        start: nn.Module | None,
    ) -> None:
        self.config, self.folder, self.device, self.workers = config, folder, device, workers
        self.given = given
        self.trackers: list[Tracker] = []
        self.pairs_fingerprint = _fingerprint(config, given)
        self.step = 0
        self.pairs = 0
        self.seconds = 0.0
        self.last_map = float("nan")
        self.recent: list[float] = []
        with _seeded(int(step_rng(config, "init", 0).integers(2**62)), device):
            network: Any = build_network(config.network)
        self.network = network.to(device)
        architecture = self.network.config.architecture
        if architecture not in TRAINABLE:
            raise ValueError(
                f"the network is a {architecture!r}; one that predicts targets is needed: {TRAINABLE}"
            )
        self.initial_sha256 = ""
        if start is not None:
            self._start_from(start, config.initial_weights)
        elif config.initial_weights:
            self._start_from(self._load_start(config.initial_weights), config.initial_weights)
        self.average = {k: v.detach().clone() for k, v in self.network.state_dict().items()}
        self.optimiser = torch.optim.AdamW(_parameter_groups(self.network, config), lr=config.learning_rate)
        self.best: dict[str, Tensor] = {}
        self.best_score = float("-inf")
        self.best_step = 0
        self._validation: list[Sequence[Pair]] | None = None
        self._whole = True
        self._resume()

    def _start_from(self, loaded: Any, initial_weights: str) -> None:
        """Take over what another network has of the same names and shapes, such as the encoder alone."""
        self.initial_sha256 = (getattr(loaded, "card", None) or {}).get("sha256", "")
        start = loaded.state_dict()
        own = self.network.state_dict()
        taken = {
            name: value for name, value in start.items() if name in own and value.shape == own[name].shape
        }
        if not taken:
            raise ValueError(
                f"the initial weights {initial_weights!r} are of an altogether different network"
            )
        self.network.load_state_dict(taken, strict=False)
        logger.info("initial weights: %d of %d tensors taken over", len(taken), len(own))

    def _load_start(self, initial_weights: str) -> Any:
        """The model of a name or path, or what the shipped configuration of this name was trained to."""
        if initial_weights in shipped_configs() and initial_weights not in set(available()["name"]):
            path = self.folder.parent / initial_weights / f"{initial_weights}.safetensors"
            if not path.is_file():
                raise ValueError(
                    f"this configuration goes on from {initial_weights!r}: train that one first, into the "
                    f"folder {str(path.parent)!r}"
                )
            return load(path, device=self.device)
        return load(initial_weights, device=self.device)

    def _resume(self) -> None:
        path = self.folder / CHECKPOINT
        if not path.exists():
            truncate_log(self.folder / LOG, -1)  # rows of a run whose checkpoint is gone
            return
        saved = read_checkpoint(path, self.device)
        before, now = _DEFAULTS | json.loads(saved["config"]), json.loads(_json(self.config))
        if before != now:
            differing = sorted(k for k in before.keys() | now.keys() if before.get(k) != now.get(k))
            raise ValueError(
                f"{path} belongs to another configuration (other {', '.join(differing)}); train into an "
                "empty folder, or with the configuration that the run began with"
            )
        if saved["given"] != self.pairs_fingerprint:
            raise ValueError(
                f"{path} belongs to a run on other pairs; train into an empty folder, or with the pairs that "
                "the run began with"
            )
        check_fit(saved, self.network, self.optimiser, path)
        # rates and decays are the configuration's; of the optimiser only its averages come from the file
        groups = self.optimiser.state_dict()["param_groups"]
        try:
            self.network.load_state_dict(saved["network"])
            self.optimiser.load_state_dict({"state": saved["optimiser"]["state"], "param_groups": groups})
        except Exception as error:  # whatever states of other shapes make torch raise
            raise damaged(path, error) from error
        self.average = saved["average"]
        self.step, self.pairs, self.seconds = saved["step"], saved["pairs"], saved["seconds"]
        self.recent, self.last_map = saved["recent"], saved["last_map"]
        if saved["best"]:
            self.best, self.best_score = saved["best"], saved["best_score"]
            self.best_step = saved["best_step"]
        if saved["log"]:
            restore_log(self.folder / LOG, saved["log"])
        else:  # a checkpoint of an earlier version
            truncate_log(self.folder / LOG, self.step)
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
            "given": self.pairs_fingerprint,
            "best": self.best,
            "best_score": self.best_score,
            "best_step": self.best_step,
            "log": log_text(self.folder / LOG, self.step),
        }
        write_checkpoint(self.folder / CHECKPOINT, state)

    def store_if_whole(self) -> None:
        """Write the checkpoint, unless the last step was stopped while it changed the weights."""
        if self._whole:
            self.store()
            logger.info("interrupted: stored a checkpoint at step %d", self.step)

    def advance(self, prepared: Iterator[PreparedStep]) -> float:
        """One optimisation step, the next of the prepared ones; returns the loss."""
        begin = time.monotonic()
        config, step = self.config, self.step
        ready = next(prepared)
        rate = learning_rate(config, step)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.network.train()
        with _seeded(ready.dropout_seed, self.device):
            loss = batch_loss(self.network, ready.batch, config, device=self.device)
        value = float(loss.detach())
        if not np.isfinite(value):
            raise FloatingPointError(f"the loss is {value} at step {step}; a lower learning rate may help")
        # members get the gradients of their own losses, not of the mean, and each a norm of its own:
        # they learn as each would alone
        members = list(getattr(self.network, "members", [self.network]))
        self.optimiser.zero_grad(set_to_none=True)
        (loss * len(members)).backward()
        for member in members:
            nn.utils.clip_grad_norm_(member.parameters(), config.clip)
        self._whole = False
        self.optimiser.step()
        # a short warm-up of the average keeps the initial weights from lingering
        decay = min(config.average_decay, (step + 1) / (step + 10))
        update_average(self.average, self.network.state_dict(), decay)
        self.step = step + 1
        self.pairs += len(ready.batch.labels)
        self.seconds += time.monotonic() - begin
        self.recent = [*self.recent[-499:], value]
        self._whole = True
        return value

    def validate_if_due(self) -> None:
        """Validate if the log has to have a row of this step, and has none."""
        due = self.step % self.config.validate_every == 0 or self.step == self.config.steps
        wanted = self.step > 0 or bool(self.config.select_by)
        if wanted and due and self.step not in logged_steps(self.folder / LOG):
            self.validate()

    def stops_early(self) -> bool:
        """Whether the last validations, as many as the patience, brought nothing better."""
        waited = (self.step - self.best_step) // self.config.validate_every
        return 0 < self.config.patience <= waited

    def validate(self) -> None:
        """Measure the averaged weights on the fixed validation set, keep the best, and write the log."""
        if self._validation is None:
            self._validation = validation_sets(self.config, self.given)
        current = {k: v.detach().clone() for k, v in self.network.state_dict().items()}
        try:
            self.network.load_state_dict(self.average)
            found = [validate(self.network, pairs, self.device) for pairs in self._validation]
        finally:
            self.network.load_state_dict(current)
        scores = {name: _mean(np.concatenate([of[name] for of in found])) for name in ("map", "auroc")}
        self.last_map = scores["map"]
        if self.config.select_by:
            self._keep_best(scores[self.config.select_by])
        loss = float(np.mean(self.recent)) if self.recent else float("nan")
        rate = learning_rate(self.config, self.step)
        row = (self.step, self.pairs, round(self.seconds, 1), rate, loss, scores["map"], scores["auroc"])
        append_row(self.folder / LOG, row)
        for tracker in self.trackers:
            tracker.log(self.step, dict(zip(LOG_COLUMNS[1:], row[1:], strict=True)))
        listed = ", ".join(
            f"{s.type} {_mean(of['map']):.4f}" for s, of in zip(self.config.sources, found, strict=True)
        )
        logger.info(
            "step %d: %svalidation mAP %.4f (%s), AUROC %.4f",
            self.step, f"loss {loss:.4f}, " if self.recent else "", scores["map"], listed, scores["auroc"],
        )  # fmt: skip

    def _keep_best(self, score: float) -> None:
        if np.isnan(score):
            raise InputError(
                f"select_by = {self.config.select_by!r}, but no pair can be validated: the validation pairs "
                "are missing, or every gene of them is a target."
            )
        # a validation that was interrupted and comes again is no worse than itself
        if score > self.best_score or self.best_step == self.step:
            self.best = {name: value.detach().clone() for name, value in self.average.items()}
            self.best_score, self.best_step = score, self.step

    def export(self, notes: Mapping[str, Any]) -> Path:
        """Write the averaged weights with their configuration and training record."""
        with torch.random.fork_rng(devices=[]):  # fresh weights would move the global generator
            network = build_network(self.config.network)
        exported = self.best or self.average
        network.load_state_dict({k: v.cpu() for k, v in exported.items()})
        path = self.folder / f"{self.config.name}.safetensors"
        training = {
            "configuration": _json(self.config),
            "initial_weights_sha256": self.initial_sha256,
            "steps": self.step,
            "pairs": self.pairs,
            "hours": round(self.seconds / 3600, 3),
            "hardware": describe_hardware(self.device, self.workers),
            "validation_map": None if np.isnan(self.last_map) else self.last_map,
            "validations": read_log(self.folder / LOG),
        }
        if self.best:
            training |= {"best_step": self.best_step, f"best_{self.config.select_by}": self.best_score}
        card = {
            "name": self.config.name,
            "version": self.config.version,
            "recommended_for": self.config.recommended_for,
            "training": training | dict(notes),
        }
        save(network, path, card)
        return path


def learning_rate(config: TrainConfig, step: int) -> float:
    """Linear warm-up, then a cosine down to zero at the last step, or no change."""
    warm = min(1.0, (step + 1) / max(config.warmup_steps, 1))
    if config.schedule == "constant":
        return config.learning_rate * warm
    return config.learning_rate * warm * 0.5 * (1.0 + float(np.cos(np.pi * min(1.0, step / config.steps))))


@torch.no_grad()
def update_average(average: dict[str, Tensor], current: Mapping[str, Tensor], decay: float) -> None:
    """Move an exponential moving average in place; tensors that are no floats are copied."""
    for name, value in current.items():
        if value.is_floating_point():
            average[name].lerp_(value, 1.0 - decay)
        else:
            average[name].copy_(value)


@contextmanager
def _seeded(seed: int, device: str) -> Iterator[None]:
    """Seed torch's global generators, the only ones of its initialisers and dropout; put them back after."""
    others = [torch.device(device)] if torch.device(device).type == "cuda" else []
    with torch.random.fork_rng(devices=others):
        torch.manual_seed(seed)
        yield


def _parameter_groups(network: nn.Module, config: TrainConfig) -> list[dict[str, Any]]:
    decayed = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    return [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]


def _fingerprint(config: TrainConfig, given: PairSet | None) -> str:
    """Tells the pairs of a run that are not simulated from others; empty where all are simulated."""
    sets = (pair_set(source, given) for source in config.sources)
    return " ".join(pairs.fingerprint for pairs in sets if pairs is not None)


def _mean(values: np.ndarray) -> float:
    """Mean of those that are numbers; NaN if none is."""
    numbers = values[~np.isnan(values)]
    return float(numbers.mean()) if numbers.size else float("nan")


def _json(config: TrainConfig) -> str:
    return json.dumps(asdict(config), sort_keys=True)
