"""Pairs from structural causal models: fresh ones for training, and the scm240 test suite."""

from collections.abc import Iterator, Sequence
from itertools import product
from math import comb
from zlib import crc32

import numpy as np

from cdn_sc.simulate.pair import Pair
from cdn_sc.simulate.structural_model import (
    INTERVENTIONS,
    MECHANISMS,
    UNTRAINED_MECHANISM,
    SCMParameters,
    draw_intervention,
    structural_model,
)

__all__ = [
    "INTERVENTIONS",
    "MECHANISMS",
    "SIZES",
    "UNTRAINED_MECHANISM",
    "SCMParameters",
    "scm240",
    "scm240_names",
    "scm_dataset",
    "scm_pair",
    "seeded_rng",
    "structural_model",
]

SIZES = ((10, 10), (10, 20), (20, 20), (20, 40))
"""Genes and expected edges of the published test set."""


def _draw_targets(n_genes: int, n_targets: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    size = int(rng.integers(n_targets[0], min(n_targets[1], n_genes) + 1))
    return np.sort(rng.choice(n_genes, size, replace=False))


def scm_dataset(
    n_genes: int,
    n_edges: float,
    mechanism: str,
    intervention: str,
    n_cells: int,
    rng: np.random.Generator,
    *,
    dataset: int = 1,
    n_targets: tuple[int, int] = (1, 3),
    parameters: SCMParameters | None = None,
) -> Iterator[Pair]:
    """Simulate one data set of the published kind: one observational and `n_genes` interventional regimes.

    Parameters
    ----------
    n_genes, n_edges
        Genes, and expected edges of the Erdos-Renyi graph.
    mechanism, intervention
        One of `MECHANISMS` (or `UNTRAINED_MECHANISM`) and one of `INTERVENTIONS`.
    n_cells
        Cells in total, shared out evenly among the ``n_genes + 1`` regimes.
    rng
        Source of randomness.
    dataset
        Number of the data set, for the attributes.
    n_targets
        Smallest and largest number of genes an interventional regime hits; no two regimes hit the same set.
    parameters
        Strengths to draw from; the defaults where None.

    Yields
    ------
    One pair a regime; all share the control cells, the graph and the attribute `network`.

    Raises
    ------
    ValueError
        If a regime would have fewer than 2 cells, or there are fewer different sets of targets than regimes.
    """
    _check_range("n_targets", n_targets, 1)
    sets = sum(comb(n_genes, k) for k in range(n_targets[0], n_targets[1] + 1))
    if sets < n_genes:
        raise ValueError(
            f"{n_genes} regimes need as many different sets of targets, but with n_targets={n_targets} there "
            f"are {sets}"
        )
    if n_cells < 2 * (n_genes + 1):
        raise ValueError(f"n_cells is {n_cells}; {n_genes + 1} regimes need at least 2 cells each")
    model = structural_model(n_genes, n_edges, mechanism, rng, parameters)
    # the first regimes take one cell more where the total does not divide
    sizes = [len(share) for share in np.array_split(np.arange(n_cells), n_genes + 1)]
    control = model.sample(sizes[0], rng)
    seen: set[tuple[int, ...]] = set()
    for regime, size in enumerate(sizes[1:], start=1):
        targets = _draw_targets(n_genes, n_targets, rng)
        while tuple(targets) in seen:
            targets = _draw_targets(n_genes, n_targets, rng)
        seen.add(tuple(targets))
        perturbed = model.sample(size, rng, draw_intervention(intervention, targets, rng, parameters))
        attributes: dict[str, str | int | float] = {
            "mechanism": mechanism,
            "intervention": intervention,
            "genes": n_genes,
            "edges": n_edges,
            "dataset": dataset,
            "regime": regime,
            "network": f"model {crc32(control.data)}",
        }
        yield Pair(control, perturbed, targets, attributes, model.graph)


def seeded_rng(space: str, *key: int | str) -> np.random.Generator:
    """Return a generator of one seed space, such as ``"test"`` or ``"train"``.

    The name of the space is the entropy of a `numpy.random.SeedSequence` and the rest its spawn key, so
    that streams of different spaces never coincide, whatever the numbers that follow.

    Parameters
    ----------
    space
        Name of the seed space, at most 16 bytes; scm240 takes ``"test"``, training must take another.
    key
        Non-negative numbers and names that tell the streams of one space apart.

    Raises
    ------
    ValueError
        If the name is empty or too long.
    """
    if not 0 < len(space.encode()) <= 16:  # a SeedSequence pads its entropy to 16 bytes before the spawn key
        raise ValueError(f"the name of a seed space has 1 to 16 bytes, not {space!r}")
    words = tuple(_as_integer(part) for part in key)
    return np.random.default_rng(np.random.SeedSequence(_as_integer(space), spawn_key=words))


def _check_range(name: str, limits: Sequence[float], least: int) -> None:
    if len(limits) != 2 or not least <= limits[0] <= limits[1]:
        raise ValueError(
            f"{name} is {limits}; smallest and largest value are needed, in this order, from {least} up"
        )


def _as_integer(part: int | str) -> int:
    return int.from_bytes(part.encode(), "big") if isinstance(part, str) else part


def scm240_names() -> list[str]:
    """Names of the 48 published settings, as in the published file ``test_240.csv``."""
    return [
        f"p{genes}_e{edges}_n{3000 * genes}_{mechanism}_{intervention}"
        for (genes, edges), mechanism, intervention in product(SIZES, MECHANISMS, INTERVENTIONS)
    ]


def scm240(
    seed: int = 0,
    *,
    genes: int | None = None,
    n_datasets: int = 5,
    mechanisms: Sequence[str] = MECHANISMS,
    parameters: SCMParameters | None = None,
) -> Iterator[Pair]:
    """Generate the synthetic test suite: 5 data sets for each of 48 settings, 3,600 pairs.

    Every data set draws from its own stream of the seed space ``"test"``, whatever else is generated.

    Parameters
    ----------
    seed
        Which edition of the suite.
    genes
        10 or 20 for that half only; None for both.
    n_datasets
        Data sets a setting; the first ones are the same for any number.
    mechanisms
        ``(UNTRAINED_MECHANISM,)`` gives the suite of the mechanism that is never trained on.
    parameters
        Strengths to draw from; the defaults where None.

    Yields
    ------
    Pairs, data set 1 of every setting first.
    """
    if genes not in (None, 10, 20):
        raise ValueError(f"scm240 has settings of 10 and of 20 genes, not of {genes!r}")
    sizes = [size for size in SIZES if genes in (None, size[0])]
    settings = list(product(sizes, mechanisms, INTERVENTIONS))
    for dataset in range(1, n_datasets + 1):
        for (n_genes, n_edges), mechanism, intervention in settings:
            n_cells = 3000 * n_genes
            name = f"p{n_genes}_e{n_edges}_n{n_cells}_{mechanism}_{intervention}"
            rng = seeded_rng("test", seed, name, dataset)
            yield from scm_dataset(
                n_genes,
                n_edges,
                mechanism,
                intervention,
                n_cells,
                rng,
                dataset=dataset,
                parameters=parameters,
            )


def _log_uniform(rng: np.random.Generator, limits: tuple[int, int]) -> int:
    return int(np.exp(rng.uniform(np.log(limits[0]), np.log(limits[1] + 1))))


def scm_pair(
    rng: np.random.Generator,
    *,
    n_genes: tuple[int, int] = (10, 20),
    edges_per_gene: tuple[float, float] = (1.0, 2.0),
    mechanisms: Sequence[str] = MECHANISMS,
    interventions: Sequence[str] = INTERVENTIONS,
    n_control: tuple[int, int] = (100, 3000),
    n_perturbed: tuple[int, int] = (100, 3000),
    n_targets: tuple[int, int] = (1, 3),
    parameters: SCMParameters | None = None,
) -> Pair:
    """Draw one fresh pair, for training: a new model, its observational regime and one intervention.

    Parameters
    ----------
    rng
        Source of randomness; take it from `seeded_rng` with a space other than ``"test"``.
    n_genes, n_control, n_perturbed
        Smallest and largest number of genes and of cells an arm, drawn log-uniformly.
    edges_per_gene
        Range of the expected number of edges, as a multiple of the number of genes.
    mechanisms, interventions
        Choices, drawn with equal odds.
    n_targets
        Smallest and largest number of targets.
    parameters
        Strengths to draw from; the defaults where None.

    Returns
    -------
    The pair; `attributes` holds mechanism, intervention, genes and edges.

    Raises
    ------
    ValueError
        If a range is no range, or starts too low: genes and cells at 2, targets at 1, edges at 0.
    """
    for name, limits, least in (
        ("n_genes", n_genes, 2),
        ("n_control", n_control, 2),
        ("n_perturbed", n_perturbed, 2),
        ("n_targets", n_targets, 1),
        ("edges_per_gene", edges_per_gene, 0),
    ):
        _check_range(name, limits, least)
    size = _log_uniform(rng, n_genes)
    n_edges = size * rng.uniform(*edges_per_gene)
    mechanism = mechanisms[int(rng.integers(len(mechanisms)))]
    kind = interventions[int(rng.integers(len(interventions)))]
    model = structural_model(size, n_edges, mechanism, rng, parameters)
    targets = _draw_targets(size, n_targets, rng)
    intervention = draw_intervention(kind, targets, rng, parameters)
    control = model.sample(_log_uniform(rng, n_control), rng)
    perturbed = model.sample(_log_uniform(rng, n_perturbed), rng, intervention)
    attributes: dict[str, str | int | float] = {
        "mechanism": mechanism,
        "intervention": kind,
        "genes": size,
        "edges": n_edges,
    }
    return Pair(control, perturbed, targets, attributes, model.graph)
