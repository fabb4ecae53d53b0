"""Batches of fresh simulated pairs; each step's batch depends on the seed and the step alone.

Options of a source ``scm``: ``genes``, a range to draw the number of genes of a batch from, or
``gene_choices``, a list to choose it from; all others go to :func:`cdn_sc.simulate.scm_pair`.

Options of a source ``screen``: ``genes``, a range; ``control_cells``, a range; ``values``, the largest number
of control cells times genes; ``groups``, the groups a network; ``selected``, the share of networks whose
panels are the most changed genes of larger ones; all others go to :func:`cdn_sc.simulate.screen_pairs`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cdn_sc.simulate import Pair, scm_pair, screen_pairs
from cdn_sc.train.config import SourceConfig, TrainConfig


def step_rng(config: TrainConfig, space: str, step: int) -> np.random.Generator:
    """Generator of one step of one seed space (``"train"``, ``"validation"``).

    The spaces' names enter the seed, so that no training or validation draw coincides with one of a test
    suite, and a run that resumes at any step draws what it would have drawn.

    Parameters
    ----------
    config
        Its seed enters too.
    space
        ``"init"``, ``"train"``, ``"inputs"`` or ``"validation"``.
    step
        Number of the step.
    """
    word = int.from_bytes(space.encode(), "big")
    return np.random.default_rng(np.random.SeedSequence(word, spawn_key=(config.seed, step)))


def draw_batch(config: TrainConfig, step: int) -> list[Pair]:
    """Pairs of one training step, all from one source and with the same number of genes."""
    rng = step_rng(config, "train", step)
    weights = np.array([source.weight for source in config.sources])
    source = config.sources[int(rng.choice(len(weights), p=weights / weights.sum()))]
    return _draw(source, config.genes_per_batch, config.max_pairs_per_batch, rng)


def validation_pairs(config: TrainConfig) -> list[Pair]:
    """The fixed validation set, ``config.validation_pairs`` of each source."""
    pairs: list[Pair] = []
    for number, source in enumerate(config.sources):
        drawn: list[Pair] = []
        step = 0
        while len(drawn) < config.validation_pairs:
            rng = step_rng(config, "validation", 1_000_000 * number + step)
            drawn += _draw(source, config.genes_per_batch // 2, config.max_pairs_per_batch, rng)
            step += 1
        pairs += drawn[: config.validation_pairs]
    return pairs


def _draw(source: SourceConfig, n_genes: int, max_pairs: int, rng: np.random.Generator) -> list[Pair]:
    if source.type == "scm":
        return _draw_scm(source.options, n_genes, max_pairs, rng)
    return _draw_screen(source.options, n_genes, max_pairs, rng)


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> int:
    return round(float(np.exp(rng.uniform(np.log(low), np.log(high)))))


def _draw_scm(options: dict[str, Any], budget: int, max_pairs: int, rng: np.random.Generator) -> list[Pair]:
    """Structural causal models; all pairs of a batch have the same number of genes."""
    options = dict(options)
    low, high = options.pop("genes", (10, 20))
    sizes = options.pop("gene_choices", None)
    genes = int(rng.choice(sizes)) if sizes else _log_uniform(rng, low, high)
    number = int(np.clip(budget // genes, 1, max_pairs))
    return [scm_pair(rng, n_genes=(genes, genes), **options) for _ in range(number)]


def _draw_screen(
    options: dict[str, Any], budget: int, max_pairs: int, rng: np.random.Generator
) -> list[Pair]:
    """Screens; some networks of a few groups each, all with the same number of genes.

    The product of genes and control cells is bounded (``values``), so that no step takes very long.
    """
    options = dict(options)
    genes = _log_uniform(rng, *options.pop("genes", (24, 600)))
    selected = float(options.pop("selected", 0.0))
    groups = int(options.pop("groups", 8))
    low, high = options.pop("control_cells", (50, 20000))
    high = max(low + 1, min(high, options.pop("values", 1_000_000) // genes))
    number = int(np.clip(budget // genes, 1, max_pairs))
    pairs: list[Pair] = []
    while len(pairs) < number:
        # some panels are what differential expression leaves of a larger one
        larger = float(rng.uniform(1.5, 4.0)) if rng.random() < selected else 1.0
        pairs += screen_pairs(
            rng,
            measured_per_gene=min(larger, max(1.0, 1000 / genes)),
            n_genes=genes,
            n_groups=min(groups, number - len(pairs)),
            n_control=_log_uniform(rng, low, high),
            **options,
        )
    return pairs
