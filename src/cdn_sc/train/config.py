"""Configuration of a training run, read from a TOML file."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from importlib import resources
from pathlib import Path
from typing import Any

from cdn_sc.train.options import SOURCE_OPTIONS, check_options

CONFIG_DIRECTORY = resources.files("cdn_sc.train") / "configs"
AT_LEAST_ONE = (
    "steps", "genes_per_batch", "max_pairs_per_batch", "validate_every", "checkpoint_every",
    "validation_pairs",
)  # fmt: skip
AT_MOST = {
    "steps": 10**9, "genes_per_batch": 10**6, "max_pairs_per_batch": 10**4, "validation_pairs": 10**5,
}  # fmt: skip
MOST_SUBSETS = 10_000
# Nested keys of a TOML file cost the square of its length.
LARGEST_FILE = 16 << 10
SHARES = ("kind_told", "kind_wrong", "average_decay")
NOT_NEGATIVE = ("seed", "warmup_steps", "learning_rate", "weight_decay", "graph_weight", "patience")
POSITIVE = ("clip",)
CHOICES = {"schedule": ("cosine", "constant"), "select_by": ("", "auroc", "map")}


@dataclass(frozen=True)
class SourceConfig:
    """One source of pairs.

    Parameters
    ----------
    type
        ``"scm"`` (structural causal models) or ``"screen"`` (single-cell screens), both simulated;
        ``"published"`` (a folder of pairs in the published layout, :mod:`cdn_sc.train.published`) or
        ``"given"`` (the pairs that :func:`cdn_sc.train.train` is handed).
    weight
        Relative frequency of batches from this source.
    options
        Ranges, names as in ``SOURCE_OPTIONS``; see :mod:`cdn_sc.train.data`.

    Raises
    ------
    ValueError
        If the type or the name of an option is unknown, an option's value cannot be used, or the weight is
        negative.
    """

    type: str
    weight: float = 1.0
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.type not in SOURCE_OPTIONS:
            raise ValueError(f"unknown type of source {self.type!r}; known: {', '.join(SOURCE_OPTIONS)}")
        check_options(self.type, self.options)
        if not 0 <= self.weight < math.inf:
            raise ValueError(
                f"the weight of a source {self.type!r} is {self.weight}; a number of at least 0 is needed"
            )


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides a training run.

    Parameters
    ----------
    name
        Name of the model that is trained, and of its file: letters, digits, ``.``, ``_`` and ``-``.
    network
        ``architecture`` and the fields of its configuration.
    sources
        Where pairs come from.
    seed
        Decides the initial weights and every pair.
    steps
        Optimisation steps in total, fewer where ``patience`` ends the run.
    schedule
        ``"cosine"``: the learning rate follows a cosine down to zero over the steps, after ``warmup_steps``;
        ``"constant"``: it stays, after them.
    genes_per_batch, max_pairs_per_batch
        A batch of simulated pairs holds about this many genes over all its pairs, and at most this many
        pairs; a batch of other pairs holds ``max_pairs_per_batch``.
    cells_kept
        Pairs that are not simulated: smallest share of the perturbed cells that a step sees, the share and
        the cells drawn anew each time; 1 for all of them.
    learning_rate, weight_decay, clip
        AdamW (no decay on biases and norms) and the gradient norm that is clipped to.
    average_decay
        Decay of the exponential moving average of the weights that is validated and exported.
    kind_told
        Share of pairs whose kind of perturbation the network is told.
    kind_wrong
        Share of these that are told some kind at random, so that the network takes it as a hint (gene
        transformer only).
    graph_weight
        Weight of the graph loss (published architecture with a graph head only).
    n_subsets
        Range of the number of gene subsets for both arms together, the end not included (published
        architecture); each arm gets half, rounded down.
    initial_weights
        Weights to start from: the name of a model, a path, or the name of a shipped configuration that was
        trained into a folder of its name beside this run's; empty for random weights.
    validate_every, checkpoint_every
        In steps.
    validation_pairs
        Pairs of each source in the fixed validation set (of pairs that are not simulated, at most).
    select_by
        Export the averaged weights of the best validation by ``"auroc"`` or ``"map"``, that before the first
        step included; empty for those of the last step.
    patience
        With ``select_by``, stop after this many validations without a better one; 0 for never.
    version
        Version of the model; goes into the file.
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
    kind_wrong: float = 0.0
    graph_weight: float = 1.0
    n_subsets: tuple[int, int] = (10, 50)
    initial_weights: str = ""
    validate_every: int = 500
    checkpoint_every: int = 200
    validation_pairs: int = 200
    schedule: str = "cosine"
    cells_kept: float = 1.0
    select_by: str = ""
    patience: int = 0
    version: str = ""
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
        If the file is not TOML, or a field, a type of source or an option of one is unknown, missing or
        has the wrong type.
    """
    path = Path(source)
    if path.is_file() and path.stat().st_size > LARGEST_FILE:
        raise ValueError(
            f"the configuration {str(source)!r} has {path.stat().st_size:,} bytes; a TOML file of a training "
            f"run has {LARGEST_FILE:,} at most"
        )
    shipped = CONFIG_DIRECTORY / f"{source}.toml"
    if path.is_file():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"the configuration {str(source)!r} is no text file: {error}") from error
    elif shipped.is_file():
        text = shipped.read_text(encoding="utf-8")
    else:
        names = ", ".join(map(repr, shipped_configs()))
        raise FileNotFoundError(f"no configuration file {str(source)!r}; shipped with the package: {names}")
    try:
        values = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # numbers of any length, lists of any depth
        raise ValueError(f"the configuration {str(source)!r} is no TOML file: {error}") from error
    return config_from_dict(values | dict(overrides or {}))


def locate_pairs(
    config: TrainConfig, folder: str | Path | None = None, splits: str | Path | None = None
) -> TrainConfig:
    """Say where the pairs of a configuration's published sources are.

    Parameters
    ----------
    config
        The configuration.
    folder, splits
        As of :func:`cdn_sc.train.published.read_published`; None leaves what the configuration says.

    Raises
    ------
    ValueError
        If the configuration has no source ``"published"`` to which they could apply.
    """
    given = {name: str(path) for name, path in (("folder", folder), ("splits", splits)) if path is not None}
    if given and all(source.type != "published" for source in config.sources):
        found = ", ".join(repr(source.type) for source in config.sources)
        raise ValueError(
            f"{' and '.join(given)} of pairs given, but the configuration {config.name!r} has no source "
            f"'published'; its sources: {found}"
        )
    return replace(
        config,
        sources=tuple(
            replace(source, options=source.options | given) if source.type == "published" else source
            for source in config.sources
        ),
    )


def shipped_configs() -> list[str]:
    """Names of the configurations that ship with the package."""
    names = (entry.name for entry in CONFIG_DIRECTORY.iterdir())
    return sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml"))


def config_from_dict(values: Mapping[str, Any]) -> TrainConfig:
    """Build a configuration from plain values and check their names and types.

    Raises
    ------
    ValueError
        If a field, a type of source or an option of one is unknown, missing or has the wrong type.
    """
    known = {f.name: f for f in fields(TrainConfig)}
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise ValueError(f"unknown field(s) {unknown} in the configuration; known: {sorted(known)}")
    missing = [name for name, f in known.items() if f.default is MISSING and name not in values]
    if missing:
        raise ValueError(f"the configuration lacks {missing}")
    checked = {name: _checked(name, value, known[name].default) for name, value in values.items()}
    if "architecture" not in checked["network"]:
        raise ValueError("the configuration's network lacks its architecture")
    if checked.get("kind_wrong") and checked["network"]["architecture"] != "gene_transformer":
        raise ValueError("kind_wrong is for the architecture 'gene_transformer' only")
    if checked.get("patience") and not checked.get("select_by"):
        raise ValueError("patience needs select_by, which says what the best validation is")
    sources = tuple(_source(value) for value in checked["sources"])
    if not sum(source.weight for source in sources) > 0:
        raise ValueError("the configuration needs a source of positive weight")
    return TrainConfig(**(checked | {"sources": sources}))


def _checked(name: str, value: Any, default: Any) -> Any:
    """Return a field's value in the type that it has by default; integers will do for floats."""
    if name == "network":
        expected, fits = "a table", isinstance(value, Mapping)
    elif name == "sources":
        expected = "a list of tables"
        fits = isinstance(value, list | tuple) and all(isinstance(v, Mapping | SourceConfig) for v in value)
    elif name == "name":
        expected = "str of letters, digits, '.', '_' and '-', a letter or digit first: it names a file"
        fits = type(value) is str and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", value) is not None
    elif name == "n_subsets":
        expected = f"two integers of at least 2, the smaller one first, at most {MOST_SUBSETS:,}"
        fits = _two_integers(value)
        value = tuple(value) if fits else value
    elif name in CHOICES:
        expected, fits = f"one of {', '.join(map(repr, CHOICES[name]))}", value in CHOICES[name]
    elif name == "cells_kept":
        expected, fits = "a share above 0, up to 1", type(value) in (int, float) and 0 < value <= 1
        value = float(value) if fits else value
    elif name in AT_LEAST_ONE:
        most = AT_MOST.get(name, 10**9)
        expected = f"an integer of at least 1 and at most {most:,}"
        fits = type(value) is int and 1 <= value <= most
    elif name in SHARES:
        expected, fits = "a number between 0 and 1", type(value) in (int, float) and 0 <= value <= 1
        value = float(value) if fits else value
    elif isinstance(default, float):
        expected, fits = "a number", type(value) in (int, float)
        if name in POSITIVE:
            expected, fits = "a number above 0", fits and 0 < value < math.inf
        elif name in NOT_NEGATIVE:
            expected, fits = "a number of at least 0", fits and 0 <= value < math.inf
        value = float(value) if fits else value
    elif name in NOT_NEGATIVE:
        expected, fits = "an integer of at least 0", type(value) is int and value >= 0
    else:
        kind = str if default is MISSING else type(default)
        expected, fits = kind.__name__, type(value) is kind
    if not fits:
        raise ValueError(f"{name} = {value!r} in the configuration; expected {expected}")
    return value


def _two_integers(value: Any) -> bool:
    integers = isinstance(value, list | tuple) and len(value) == 2 and all(type(v) is int for v in value)
    return integers and 2 <= value[0] <= value[1] <= MOST_SUBSETS


def _source(value: Mapping[str, Any] | SourceConfig) -> SourceConfig:
    if isinstance(value, SourceConfig):
        return value
    unknown = sorted(set(value) - {"type", "weight", "options"})
    if unknown or "type" not in value:
        found = f"has the unknown field(s) {unknown}" if unknown else "lacks 'type'"
        raise ValueError(f"a source of the configuration {found}; known: type, weight, options")
    weight, options = value.get("weight", 1.0), value.get("options", {})
    if type(weight) not in (int, float) or not isinstance(options, Mapping):
        raise ValueError(
            f"a source of the configuration needs a number as weight and a table as options: {value}"
        )
    return SourceConfig(value["type"], float(weight), dict(options))
