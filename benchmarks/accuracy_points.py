"""What the accuracy study varies, and the score of every method at one of its points."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from cdn_sc.features._rank_tests import rank_tests, sort_genes
from cdn_sc.metrics.baselines import welch_statistic
from cdn_sc.metrics.ranking import rank_metrics, score_ranks
from cdn_sc.simulate.pair import Pair
from cdn_sc.simulate.perturbation import KINDS
from cdn_sc.simulate.scm import seeded_rng
from cdn_sc.simulate.screen import screen_pairs

TESTS = ("wilcoxon", "t_test", "kolmogorov_smirnov")
N_BOOTSTRAP = 2000
COLUMNS = (
    "axis", "value", "kind", "method", "told", "seed", "groups", "mean", "low", "high", "design", "sha256"
)  # fmt: skip


@dataclass(frozen=True)
class Setting:
    """What is the same for all groups of a point; the defaults are the middle.

    Attributes
    ----------
    perturbed_cells, control_cells, genes, targets
        Numbers.
    other_groups
        Groups of the same screen whose cells sharpen the correlations, of as many cells and the same kind;
        with 0 they come from the control cells alone.
    strength
        Mean weight of a regulatory edge, natural-log units per unit of response.
    effect
        Strength of the perturbation, from 0, the weakest of its kind, to 1, the strongest.
    penetrance
        Share of the perturbed cells that respond.
    """

    perturbed_cells: int = 100
    control_cells: int = 1000
    genes: int = 200
    strength: float = 0.6
    effect: float = 0.5
    penetrance: float = 0.8
    targets: int = 1
    other_groups: int = 0


# All but one of a point's values are those of the middle, which lies on every axis.
AXES: dict[str, tuple[float, ...]] = {
    "perturbed_cells": (20, 50, 100, 200, 500),
    "control_cells": (100, 300, 1000, 3000, 10000, 20000),
    "genes": (24, 50, 100, 200, 400, 700, 1000),
    "strength": (0.25, 0.4, 0.6, 0.9),
    "effect": (0.0, 0.25, 0.5, 0.75, 1.0),
    "penetrance": (0.2, 0.4, 0.6, 0.8, 1.0),
    "targets": (1, 2, 3),
    "other_groups": (0, 5, 15, 31, 63, 127),
}


@dataclass(frozen=True)
class Design:
    """How much is simulated for a point and kind: editions (seeds), networks an edition, groups a network."""

    seeds: int = 3
    networks: int = 5
    groups: int = 6

    def __str__(self) -> str:
        """Say it in the CSV, so that no rows of another design are taken for these."""
        return f"{self.seeds} x {self.networks} x {self.groups}"


def places(axes: list[str]) -> dict[Setting, list[tuple[str, float]]]:
    """Settings of these axes, each with all places it has: the middle is scored once for all of them."""
    found: dict[Setting, list[tuple[str, float]]] = {}
    for axis in axes:
        for value in AXES[axis]:
            change: dict[str, Any] = {axis: value}
            found.setdefault(replace(Setting(), **change), []).append((axis, value))
    return found


def score_point(
    predictor: Any, setting: Setting, where: list[tuple[str, float]], kind: str, design: Design
) -> pd.DataFrame:
    """Mean average precision of every method at one point, in the layout of `COLUMNS`.

    One row for each edition, and one with seed "all"; the intervals resample networks, since the groups of a
    network share its control cells and its structure.
    """
    networks = pd.DataFrame(
        row
        for seed in range(design.seeds)
        for network in range(design.networks)
        for row in _score_network(predictor, setting, kind, design.groups, seed, network)
    )
    rows = []
    for (method, told), all_editions in networks.groupby(["method", "told"], sort=False):
        editions = [("all", all_editions), *all_editions.groupby("seed")]
        for seed, chosen in editions:
            low, high = cluster_interval(chosen["mean"].to_numpy())
            row = {"kind": kind, "method": method, "told": told, "seed": str(seed)}
            row |= {"groups": len(chosen) * design.groups, "mean": chosen["mean"].mean()}
            row |= {"low": low, "high": high, "design": str(design), "sha256": short(predictor)}
            rows += [{"axis": axis, "value": float(value), **row} for axis, value in where]
    return pd.DataFrame(rows)[list(COLUMNS)]


def short(predictor: Any) -> str:
    """First digits of the weights' SHA-256, enough to tell files apart; empty for a network from no file."""
    return predictor.sha256[:16]


def cluster_interval(means: np.ndarray, confidence: float = 0.95) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean over networks with equally many groups each."""
    draws = np.random.default_rng(0).integers(0, means.size, (N_BOOTSTRAP, means.size))
    tail = (1 - confidence) / 2
    low, high = np.quantile(means[draws].mean(axis=1), (tail, 1 - tail))
    return float(low), float(high)


def simulate(setting: Setting, kind: str, n_groups: int, seed: int, network: int) -> list[Pair]:
    """Groups on one network of an edition.

    The stream does not depend on the setting: along an axis the same networks are met again, which leaves
    less to chance between its points. Only with another number of genes are they others.
    """
    pairs = screen_pairs(
        seeded_rng("test", seed, "accuracy study", kind, network),
        n_genes=setting.genes,
        n_groups=max(n_groups, setting.other_groups + 1) if setting.other_groups else n_groups,
        n_control=setting.control_cells,
        n_perturbed=(setting.perturbed_cells, setting.perturbed_cells),
        kinds={kind: 1.0},
        n_targets=np.eye(setting.targets)[-1].tolist(),
        strength=setting.strength,
        effect=setting.effect,
        penetrance=setting.penetrance,
        contrasts=setting.other_groups > 0,
    )
    return pairs[:n_groups]


def _score_network(
    predictor: Any, setting: Setting, kind: str, n_groups: int, seed: int, network: int
) -> list[dict[str, Any]]:
    """Mean average precision over the groups of one network, a row for every method."""
    pairs = simulate(setting, kind, n_groups, seed, network)
    sorted_control = sort_genes(pairs[0].control)
    precisions: dict[tuple[str, bool], list[float]] = {}
    for number, pair in enumerate(pairs):
        key = (seed, "accuracy study scoring", kind, network, number)
        scores = _model_scores(predictor, pair, kind, key) | _test_scores(pair, sorted_control)
        tie_break = seeded_rng("test", *key, "ties").permutation(setting.genes)
        for method, score in scores.items():
            ranks = score_ranks(score, tie_break)[pair.targets]
            precision = rank_metrics(ranks, setting.genes)["average_precision"]
            precisions.setdefault(method, []).append(precision)
    return [
        {"method": method, "told": told, "seed": seed, "mean": float(np.mean(values))}
        for (method, told), values in precisions.items()
    ]


def _model_scores(
    predictor: Any, pair: Pair, kind: str, key: tuple[int | str, ...]
) -> dict[tuple[str, bool], np.ndarray]:
    """Logits without and, where the model can be told, with the kind."""
    scores = {}
    for told in (False, True) if predictor.takes_kind else (False,):
        rng = seeded_rng("test", *key, "model")
        given = {} if pair.contrasts is None else {"contrasts": pair.contrasts}
        prediction = predictor.predict(
            pair.control, pair.perturbed, rng=rng, kind=kind if told else None, **given
        )
        scores[predictor.name, told] = prediction.logits
    return scores


def _test_scores(pair: Pair, sorted_control: np.ndarray) -> dict[tuple[str, bool], np.ndarray]:
    """The rivals of the same names in `cdn_sc.metrics.rivals`, with the control cells sorted once."""
    z, rise, fall = rank_tests(sorted_control, sort_genes(pair.perturbed))
    t = welch_statistic(pair.control, pair.perturbed)
    scores = (np.abs(z), np.abs(t), np.maximum(rise, fall))
    return {(name, False): score for name, score in zip(TESTS, scores, strict=True)}


def missing(table: pd.DataFrame, axes: list[str]) -> list[tuple[Setting, list[tuple[str, float]], str]]:
    """Points of these axes that the table has not: setting, its missing places, and kind."""
    done = set(zip(table["axis"], table["value"], table["kind"], strict=True))
    points = []
    for setting, where in places(axes).items():
        for kind in KINDS:
            absent = [(axis, value) for axis, value in where if (axis, value, kind) not in done]
            if absent:
                points.append((setting, absent, kind))
    return points
