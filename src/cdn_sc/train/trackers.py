"""Other places that follow a run, beside its table: TensorBoard and Weights & Biases, where asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from cdn_sc.errors import InputError, did_you_mean
from cdn_sc.train.config import TrainConfig


class Tracker(Protocol):
    """Takes the values of each validation."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Take the values of a step."""

    def close(self) -> None:
        """Write what is left."""


class _TensorBoard:
    def __init__(self, folder: Path, config: TrainConfig) -> None:
        module = _imported("torch.utils.tensorboard", "tensorboard", "tensorboard")
        self._writer: Any = module.SummaryWriter(str(folder / "tensorboard"))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


class _WeightsAndBiases:
    def __init__(self, folder: Path, config: TrainConfig) -> None:
        wandb = _imported("wandb", "wandb", "wandb")
        self._run: Any = wandb.init(
            project="cdn-sc", name=config.name, dir=str(folder), config=asdict(config)
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        self._run.finish()


_TRACKERS: dict[str, Callable[[Path, TrainConfig], Tracker]] = {
    "tensorboard": _TensorBoard,
    "wandb": _WeightsAndBiases,
}


def open_trackers(names: Sequence[str], folder: Path, config: TrainConfig) -> list[Tracker]:
    """Open the trackers of these names.

    Parameters
    ----------
    names
        Of ``"tensorboard"`` (into ``folder/tensorboard``) and ``"wandb"`` (as its own settings say).
    folder
        Folder of the run.
    config
        The run.

    Raises
    ------
    InputError
        If a name is unknown, or its package is not installed.
    """
    names = [names] if isinstance(names, str) else list(names)
    for name in names:
        if name not in _TRACKERS:
            raise InputError(f"there is no tracker {name!r}. {did_you_mean(name, _TRACKERS)}")
    return [_TRACKERS[name](folder, config) for name in names]


def _imported(module: str, tracker: str, package: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        raise InputError(
            f"the tracker {tracker!r} needs the package {package}, which is not installed "
            f"(pip install {package}); without it, log.csv has the same values."
        ) from error
