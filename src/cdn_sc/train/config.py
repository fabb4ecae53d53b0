"""Configuration of a training run, read from a TOML file."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from importlib import resources
from pathlib import Path
from typing import Any

CONFIG_DIRECTORY = resources.files("cdn_sc.train") / "configs"


@dataclass(frozen=True)
class SourceConfig:
    """One source of simulated pairs.

    Parameters
    ----------
    type
        ``"scm"`` (structural causal models) or ``"screen"`` (single-cell screens).
    weight
        Relative frequency of batches from this source.
    options
        Ranges, see :mod:`cdn_sc.train.data`.
    """

    type: str
    weight: float = 1.0
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides a training run.

    Parameters
    ----------
    name
        Name of the model that is trained.
    network
        ``architecture`` and the fields of its configuration.
    sources
        Where pairs come from.
    seed
        Decides the initial weights and every pair.
    steps
        Optimisation steps in total; the learning rate follows a cosine down to zero over them, after
        ``warmup_steps``.
    genes_per_batch, max_pairs_per_batch
        A batch holds about this many genes over all its pairs, and at most this many pairs.
    learning_rate, weight_decay, clip
        AdamW (no decay on biases, norms and scalars) and the gradient norm that is clipped to.
    average_decay
        Decay of the exponential moving average of the weights that is validated and exported.
    kind_told
        Share of pairs whose kind of perturbation the network is told.
    graph_weight
        Weight of the graph loss (published architecture only).
    n_subsets
        Smallest and largest number of gene subsets for both arms together (published architecture).
    initial_weights
        Weights file to start from; empty for random weights.
    validate_every, checkpoint_every
        In steps.
    validation_pairs
        Pairs of each source in the fixed validation set.
    recommended_for
        What users should take the model for; goes into the file.
    """

    name: str
    network: dict[str, Any]
    sources: tuple[SourceConfig, ...]
    seed: int = 0
    steps: int = 1000
    genes_per_batch: int = 2000
    max_pairs_per_batch: int = 32
    learning_rate: float = 1e-3
    warmup_steps: int = 200
    weight_decay: float = 1e-5
    clip: float = 1.0
    average_decay: float = 0.999
    kind_told: float = 0.5
    graph_weight: float = 1.0
    n_subsets: tuple[int, int] = (10, 50)
    initial_weights: str = ""
    validate_every: int = 500
    checkpoint_every: int = 200
    validation_pairs: int = 200
    recommended_for: str = ""


def read_config(source: str | Path, overrides: Mapping[str, Any] | None = None) -> TrainConfig:
    """Read a configuration from a file, or one that ships with the package by its name.

    Parameters
    ----------
    source
        Path of a TOML file, or the name of a shipped one (``"gene-transformer"``).
    overrides
        Fields that replace the file's.

    Raises
    ------
    FileNotFoundError
        If there is no such file; lists the shipped names.
    ValueError
        If a field is unknown or has the wrong type.
    """
    path = Path(source)
    shipped = CONFIG_DIRECTORY / f"{source}.toml"
    if path.is_file():
        text = path.read_text()
    elif shipped.is_file():
        text = shipped.read_text()
    else:
        names = sorted(p.name.removesuffix(".toml") for p in CONFIG_DIRECTORY.iterdir() if p.name.endswith("toml"))
        raise FileNotFoundError(f"no configuration file {str(source)!r}; shipped with the package: {names}")
    return config_from_dict(tomllib.loads(text) | dict(overrides or {}))


def config_from_dict(values: Mapping[str, Any]) -> TrainConfig:
    """Build a configuration from plain values and check their names and types."""
    known = {f.name: f for f in fields(TrainConfig)}
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise ValueError(f"unknown field(s) {unknown} in the configuration; known: {sorted(known)}")
    missing = [name for name in ("name", "network", "sources") if name not in values]
    if missing:
        raise ValueError(f"the configuration lacks {missing}")
    checked = dict(values)
    for name, value in checked.items():
        default = known[name].default
        if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
            checked[name] = float(value)
        elif isinstance(default, int | float | str) and type(value) is not type(default):
            raise ValueError(f"{name} = {value!r} in the configuration; expected {type(default).__name__}")
    checked["sources"] = tuple(
        SourceConfig(s["type"], float(s.get("weight", 1.0)), dict(s.get("options", {}))) for s in values["sources"]
    )
    if "n_subsets" in checked:
        low, high = checked["n_subsets"]
        checked["n_subsets"] = (int(low), int(high))
    return TrainConfig(**checked)
