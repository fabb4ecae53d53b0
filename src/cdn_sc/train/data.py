"""Batches of pairs, simulated afresh or given; each step's batch depends on the seed and the step alone.

Options of a source ``scm``: ``genes``, a range to draw the number of genes of a batch from, or
``gene_choices``, a list to choose it from; all others go to :func:`cdn_sc.simulate.scm_pair`.

Options of a source ``screen``: ``genes``, a range; ``control_cells``, a range; ``values``, the largest number
of control cells times genes; ``groups``, the groups a network; ``large``, the share of batches that are four
groups of screens with ``large_genes`` genes, a range, and ``large_values`` values at most; ``selected``, the
share of networks whose panels are the most changed genes of larger ones, half of these with some genes of
interest among them;
``contrasts``, the share of networks whose correlations come from the cells of all conditions; ``wide``, the
share of networks drawn from wider ranges; ``samples``, the share of batches of few samples, or of proteins,
in place of cells; ``relations``, the share of networks with a table of known relations; all others go to
:func:`cdn_sc.simulate.screen_pairs`.

Options of a source ``published``: ``folder`` and ``splits``, as of
:func:`cdn_sc.train.published.read_published`. A source ``given`` has none: its pairs are handed over.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from cdn_sc.errors import InputError
from cdn_sc.simulate import Pair, scm_pair, screen_pairs
from cdn_sc.simulate.relations import draw_quality
from cdn_sc.train.config import SourceConfig, TrainConfig
from cdn_sc.train.pairs import PairSet, epoch_positions, with_fewer_cells
from cdn_sc.train.published import PublishedSet, read_published

# Groups of a screen of very many genes in a batch: few, since each costs as much as a batch of small ones.
PAIRS_OF_LARGE = 4
# Among batches of samples: proteins measured in single cells, on panels of at most so many
SHARE_OF_PROTEINS, MOST_PROTEINS = 0.25, 100


def read_published_once(folder: str, splits: str) -> PublishedSet:
    """Open a folder in the published layout, or give what was opened if its table is still the same file."""
    try:
        status = Path(splits).expanduser().stat()
    except OSError:  # the reader says what is wrong
        return read_published(folder, splits)
    return _read_published(folder, splits, (status.st_mtime_ns, status.st_size, status.st_ino))


@lru_cache(maxsize=4)
def _read_published(folder: str, splits: str, _version: tuple[int, ...]) -> PublishedSet:
    return read_published(folder, splits)


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


def draw_batch(config: TrainConfig, step: int, given: PairSet | None = None) -> list[Pair]:
    """Pairs of one training step, all from one source; simulated ones with the same number of genes.

    Parameters
    ----------
    config
        The training run.
    step
        Number of the step.
    given
        Pairs of the source ``"given"``.
    """
    rng = step_rng(config, "train", step)
    weights = tuple(source.weight for source in config.sources)
    number = _choose(weights, rng)
    source = config.sources[number]
    pairs = pair_set(source, given)
    if pairs is None:
        return _draw(source, config.genes_per_batch, config.max_pairs_per_batch, rng)
    turn = _earlier_turns(config, weights, number, step)
    positions = epoch_positions(len(pairs.training), config.max_pairs_per_batch, turn, config.seed)
    drawn = (pairs.training[int(position)] for position in positions)
    if config.cells_kept < 1:
        return [with_fewer_cells(pair, config.cells_kept, rng) for pair in drawn]
    return list(drawn)


def _choose(weights: tuple[float, ...], rng: np.random.Generator) -> int:
    shares = np.array(weights)
    return int(rng.choice(len(weights), p=shares / shares.sum()))


def _earlier_turns(config: TrainConfig, weights: tuple[float, ...], number: int, step: int) -> int:
    """Steps before this one that took the same source: its epochs go by them, so that no pair is left out."""
    if sum(weight > 0 for weight in weights) == 1:
        return step
    chosen = _chosen_sources(config.seed, weights)
    while len(chosen) < step:
        chosen.append(_choose(weights, step_rng(config, "train", len(chosen))))
    return chosen[:step].count(number)


@lru_cache(maxsize=4)
def _chosen_sources(seed: int, weights: tuple[float, ...]) -> list[int]:
    """Source of each step so far of the runs of a seed; grows as they go on."""
    return []


def pair_set(source: SourceConfig, given: PairSet | None = None) -> PairSet | None:
    """Return the pairs of a source that are there already; None for a simulator.

    Parameters
    ----------
    source
        The source.
    given
        Pairs of a source ``"given"``.

    Raises
    ------
    InputError
        If the source's pairs were not handed over, cannot be read, or hold none to learn from.
    """
    pairs: PairSet | None = None
    if source.type == "given":
        if given is None:
            raise InputError("the configuration has a source 'given': hand its pairs to train(given=...).")
        pairs = given
    elif source.type == "published":
        pairs = _published(source.options)
    if pairs is not None and not len(pairs.training):
        raise InputError(f"the source {source.type!r} has no pairs to learn from.")
    return pairs


def _published(options: dict[str, Any]) -> PublishedSet:
    absent = [name for name in ("folder", "splits") if not options.get(name)]
    if absent:
        raise InputError(
            f"the source 'published' lacks its {' and '.join(absent)}: name the folder of the pairs and the "
            "table of splits (on the command line --data and --splits)."
        )
    return read_published_once(options["folder"], options["splits"])


def validation_sets(config: TrainConfig, given: PairSet | None = None) -> list[Sequence[Pair]]:
    """The fixed validation set, apart by source.

    Parameters
    ----------
    config
        The training run.
    given
        Pairs of the source ``"given"``.

    Returns
    -------
    Of each source ``config.validation_pairs`` pairs, or all where there are fewer; those that are not
    simulated are read when they are asked for.
    """
    found: list[Sequence[Pair]] = []
    for number, source in enumerate(config.sources):
        pairs = pair_set(source, given)
        if pairs is not None:
            found.append(pairs.validation[: config.validation_pairs])
            continue
        drawn: list[Pair] = []
        step = 0
        while len(drawn) < config.validation_pairs:
            rng = step_rng(config, "validation", 1_000_000 * number + step)
            drawn += _draw(source, config.genes_per_batch // 2, config.max_pairs_per_batch, rng)
            step += 1
        found.append(drawn[: config.validation_pairs])
    return found


def validation_pairs(config: TrainConfig, given: PairSet | None = None) -> list[Pair]:
    """All pairs of :func:`validation_sets`, one source after another."""
    return list(chain.from_iterable(validation_sets(config, given)))


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
    sizes, values = options.pop("genes", (24, 600)), options.pop("values", 1_000_000)
    large_sizes = options.pop("large_genes", (1000, 4000))
    large_values = options.pop("large_values", 6_000_000)
    large = bool(rng.random() < options.pop("large", 0.0))
    genes = _log_uniform(rng, *(large_sizes if large else sizes))
    selected = float(options.pop("selected", 0.0))
    contrasts = float(options.pop("contrasts", 0.0))
    wide = float(options.pop("wide", 0.0))
    relations = float(options.pop("relations", 0.0))
    samples = bool(rng.random() < share) if (share := options.pop("samples", 0.0)) else False
    groups = int(options.pop("groups", 8))
    low, high = options.pop("control_cells", (50, 20000))
    high = max(low + 1, min(high, (large_values if large else values) // genes))
    if samples:
        low, high, options["n_perturbed"] = _numbers_of_samples(genes, high, rng)
    number = PAIRS_OF_LARGE if large else int(np.clip(budget // genes, 1, max_pairs))
    pairs: list[Pair] = []
    while len(pairs) < number:
        # some panels are what differential expression leaves of a larger one, or that and a few more
        larger = float(rng.uniform(1.5, 4.0)) if rng.random() < selected else 1.0
        of_interest = float(np.exp(rng.uniform(np.log(0.01), np.log(0.5)))) if rng.random() < 0.5 else 0.0
        pairs += screen_pairs(
            rng,
            measured_per_gene=min(larger, max(1.0, 1000 / genes)),
            of_interest=of_interest,
            contrasts=bool(rng.random() < contrasts),
            **_variety(rng, wide, relations),
            samples=samples,
            n_genes=genes,
            n_groups=min(groups, number - len(pairs)),
            n_control=_log_uniform(rng, low, high),
            **options,
        )
    return pairs


def _variety(rng: np.random.Generator, wide: float, relations: float) -> dict[str, Any]:
    """Options of one network; nothing is drawn for what never happens, so that other draws stay."""
    chosen: dict[str, Any] = {}
    if wide:
        chosen["wide"] = bool(rng.random() < wide)
    if relations and rng.random() < relations:
        chosen["relations"] = draw_quality(rng)
    return chosen


def _numbers_of_samples(genes: int, most: int, rng: np.random.Generator) -> tuple[int, int, tuple[int, int]]:
    """Range of the control samples of a batch, and of the samples a group."""
    if rng.random() < SHARE_OF_PROTEINS and genes <= MOST_PROTEINS:
        return 300, max(301, min(most, 5000)), (100, 800)
    return 4, 100, (2, 60) if rng.random() < 0.4 else (2, 12)
