"""Simulated single-cell perturbation screens, as pairs for training and as AnnData for users."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING
from zlib import crc32

import numpy as np

from cdn_sc._contrasts import contrasts_of_screen
from cdn_sc.simulate.counts import (
    ScreenCounts,
    Technical,
    draw_technical,
    log_normalise,
    measure_samples,
    simulate_counts,
    simulate_states,
)
from cdn_sc.simulate.pair import Pair
from cdn_sc.simulate.perturbation import KINDS, Perturbation, check_kinds, choose_targets, draw_perturbation
from cdn_sc.simulate.regulation import RegulatoryNetwork, draw_network
from cdn_sc.simulate.relations import TableQuality, draw_relations

if TYPE_CHECKING:
    from anndata import AnnData

# A gene that is hardly ever seen cannot be told apart by anything; where the evidence is the gene's
# correlation with what it regulates, it must be seen more often than where its own counts change.
MIN_TARGET_MEAN = {"knockdown": 0.03, "activation": 0.03, "knockout": 0.15, "activity": 0.15}
# more than twice what training draws at most (0.9): beyond, log rates only pile up at their limits
MAX_STRENGTH = 2.0
N_TARGETS_WEIGHTS = (0.75, 0.15, 0.10)
# Of screens drawn widely: down to regulators seen in few of a hundred cells, and inhibitors of several genes
LEAST_TARGET_MEAN = 0.01
N_TARGETS_WIDE = (0.62, 0.14, 0.10, 0.08, 0.06)
# Samples of many cells vary by a share of what cells do; so many are single cells whose proteins are measured
SAMPLE_VARIATION = (0.1, 0.6)
FEWEST_SINGLE_CELLS = 300


def screen_pairs(
    rng: np.random.Generator,
    *,
    n_genes: int,
    n_groups: int,
    n_control: int,
    n_perturbed: tuple[int, int] = (20, 500),
    kinds: Mapping[str, float] | None = None,
    n_targets: Sequence[float] | None = None,
    strength: float | None = None,
    hidden_share: float | None = None,
    measured_per_gene: float = 1.0,
    of_interest: float = 0.0,
    effect: float | None = None,
    penetrance: float | None = None,
    contrasts: bool = False,
    wide: bool = False,
    samples: bool = False,
    relations: TableQuality | None = None,
) -> list[Pair]:
    """Draw a fresh network and simulate some groups on it, log-normalised and ready to score.

    Parameters
    ----------
    rng
        Source of all randomness.
    n_genes
        Measured genes.
    n_groups
        Perturbed groups; all pairs share one array of control values.
    n_control
        Control cells.
    n_perturbed
        Smallest and largest number of perturbed cells, drawn log-uniformly per group.
    kinds
        Kind of perturbation to relative frequency; all of ``KINDS`` alike when None.
    n_targets
        Relative frequencies of one, two, three ... targets; up to three when None, with `wide` up to five.
    strength
        Mean weight of a regulatory edge, see :func:`cdn_sc.simulate.regulation.draw_network`.
    hidden_share
        Genes that take part without being measured, as a share of those that are; drawn from [0, 0.5]
        when None.
    measured_per_gene
        Above 1, this many times `n_genes` are measured, and the `n_genes` of them with the largest absolute
        Welch t in any of the groups are kept: what a limit on the panel leaves. Nothing looks at the targets;
        those left out are counted in ``Pair.n_missing``.
    of_interest
        With `measured_per_gene` above 1: this share of the genes is chosen at random from the rest, in place
        of the weakest, as a user adds genes of interest to those that changed.
    effect, penetrance
        As of :func:`cdn_sc.simulate.perturbation.draw_perturbation`; drawn when None.
    contrasts
        Whether pairs carry how the cells of the groups vary within these, as
        ``predict_targets(correlations="screen")`` uses them.
    wide
        Draw networks, perturbations, batches and cell types from wider ranges, see `wide` of
        :func:`cdn_sc.simulate.regulation.draw_network`,
        :func:`cdn_sc.simulate.perturbation.draw_perturbation` and
        :func:`cdn_sc.simulate.counts.draw_technical`; targets may be genes that are seldom seen.
    samples
        Whether each "cell" is a sample of many, all of which respond (from 300 control cells on: a single
        cell whose proteins are measured), see :func:`cdn_sc.simulate.counts.measure_samples`.
    relations
        Draw a table of relations of this quality, as a user may have of the genes, one for all groups: see
        :func:`cdn_sc.simulate.relations.draw_relations`; none when None.

    Returns
    -------
    One :class:`~cdn_sc.simulate.Pair` a group, with ``attributes`` ``kind``, ``genes``, ``control_cells``,
    ``perturbed_cells``, ``n_targets`` and ``network``, a name that the groups of one call share.

    Raises
    ------
    ValueError
        If a kind is unknown, a size is too small, or a share, strength or frequency cannot be one.
    """
    kinds = dict.fromkeys(KINDS, 1.0) if kinds is None else kinds
    if n_targets is None:
        n_targets = N_TARGETS_WIDE if wide else N_TARGETS_WEIGHTS
    check_kinds(kinds)
    _check_frequencies("kinds", list(kinds.values()))
    _check_frequencies("n_targets", n_targets)
    _check_cells(n_control, n_perturbed)
    _check_shares(hidden_share=hidden_share, penetrance=penetrance, of_interest=of_interest)
    _check_strength(strength)
    if len(n_targets) > n_genes:
        raise ValueError(
            f"groups of up to {len(n_targets)} targets need as many genes, but n_genes is {n_genes}"
        )
    share = float(rng.uniform(0.0, 0.5)) if hidden_share is None else hidden_share
    n_measured = round(n_genes * max(measured_per_gene, 1.0))
    network = draw_network(n_measured + round(share * n_measured), rng, strength=strength, wide=wide)
    measured = _measured_genes(network, n_measured, rng)
    is_measured = np.isin(np.arange(network.n_genes), measured)
    least = float(np.exp(rng.uniform(np.log(LEAST_TARGET_MEAN), np.log(0.15)))) if wide else 1.0
    perturbations = [
        _draw_group(network, kinds, n_targets, n_perturbed, is_measured, rng, effect, penetrance, wide, least)
        for _ in range(n_groups)
    ]
    technical = draw_technical(rng, wide=wide)
    if samples:
        group, values = _simulate_samples(network, perturbations, n_control, technical, rng)
        values = values[:, measured]
    else:
        screen_counts = simulate_counts(network, perturbations, n_control, technical, rng)
        group, values = screen_counts.group, _normalised(screen_counts, measured, rng)
    graph = network.graph()[np.ix_(measured, measured)]
    control = np.ascontiguousarray(values[:n_control])
    parts = [values[group == index] for index in range(n_groups)]
    kept = np.arange(n_measured)
    if n_measured > n_genes:
        kept = _most_changed(control, parts, n_genes - round(of_interest * n_genes))
        rest = np.setdiff1d(np.arange(n_measured), kept)
        added = rng.choice(rest, n_genes - kept.size, replace=False)
        kept = np.sort(np.concatenate([kept, added]))
        control, parts = _columns(control, kept), [_columns(part, kept) for part in parts]
        graph = graph[np.ix_(kept, kept)]
    others = contrasts_of_screen(n_control, parts) if contrasts else None
    known = None if relations is None else draw_relations(network, measured[kept], rng, relations)
    pairs = []
    for perturbation, part in zip(perturbations, parts, strict=True):
        attributes: dict[str, str | int | float] = {
            "kind": perturbation.kind,
            "genes": n_genes,
            "control_cells": n_control,
            "perturbed_cells": perturbation.n_cells,
            "n_targets": len(perturbation.targets),
            "network": f"screen {crc32(control.data)}",
        }
        direction = np.zeros(network.n_genes)
        direction[perturbation.targets] = perturbation.directions
        direction = direction[measured[kept]]
        hit = np.flatnonzero(direction)
        pairs.append(
            Pair(
                control,
                part,
                hit,
                attributes,
                graph,
                others,
                n_missing=len(perturbation.targets) - hit.size,
                directions=direction[hit],
                relations=known,
            )
        )
    return pairs


def _simulate_samples(
    network: RegulatoryNetwork,
    perturbations: Sequence[Perturbation],
    n_control: int,
    technical: Technical,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Group of each sample, and samples x genes."""
    variation = 1.0
    if n_control < FEWEST_SINGLE_CELLS:
        variation = float(rng.uniform(*SAMPLE_VARIATION))
        perturbations = [replace(perturbation, penetrance=1.0) for perturbation in perturbations]
    states = simulate_states(network, perturbations, n_control, technical, rng, own_variation=variation)
    return states.group, measure_samples(network, states, rng)


def _measured_genes(network: RegulatoryNetwork, number: int, rng: np.random.Generator) -> np.ndarray:
    """Indices, ascending, of the measured genes: typical panels leave out what is hardly expressed."""
    order = np.argsort(-network.baseline + rng.gumbel(0.0, 1.0, network.n_genes))
    return np.sort(order[:number])


def _draw_group(
    network: RegulatoryNetwork,
    kinds: Mapping[str, float],
    n_targets: Sequence[float],
    n_cells: tuple[int, int],
    among: np.ndarray,
    rng: np.random.Generator,
    effect: float | None,
    penetrance: float | None,
    wide: bool,
    least: float,
) -> Perturbation:
    """Draw kind, number of targets, cells and targets of one group of a training screen."""
    names, weights = list(kinds), np.array(list(kinds.values()), dtype=float)
    kind = str(rng.choice(names, p=weights / weights.sum()))
    number = _draw_number(n_targets, rng)
    cells = round(float(np.exp(rng.uniform(np.log(n_cells[0]), np.log(n_cells[1])))))
    targets = choose_targets(network, kind, number, _eligible(network, kind, among, least), rng)
    return draw_perturbation(kind, targets, cells, rng, penetrance=penetrance, effect=effect, wide=wide)


def _draw_number(frequencies: Sequence[float], rng: np.random.Generator) -> int:
    """1, 2, 3 ... with these relative frequencies."""
    weights = np.asarray(frequencies, dtype=float)
    return 1 + int(rng.choice(weights.size, p=weights / weights.sum()))


def _normalised(screen_counts: ScreenCounts, measured: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Log-normalised values of the measured genes, by the panel's totals or the cells', on some scale."""
    counts = screen_counts.counts[:, measured]
    by_panel = rng.random() < 0.5
    totals = counts.sum(axis=1) if by_panel else 1e3 * screen_counts.depth
    scale = 1.0 if rng.random() < 0.7 else float(np.exp(rng.uniform(np.log(0.3), np.log(20.0))))
    return log_normalise(counts, totals, scale)


def _columns(values: np.ndarray, kept: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values[:, kept])


def _most_changed(control: np.ndarray, groups: Sequence[np.ndarray], number: int) -> np.ndarray:
    """Indices, ascending, of the genes with the largest absolute Welch t in any of the groups."""
    mean, variance = control.mean(axis=0), control.var(axis=0) / len(control)
    strength = np.zeros(control.shape[1])
    for cells in groups:
        error = np.sqrt(variance + cells.var(axis=0) / len(cells) + 1e-9)
        strength = np.maximum(strength, np.abs(cells.mean(axis=0) - mean) / error)
    return np.sort(np.argsort(-strength, kind="stable")[:number])


def _eligible(network: RegulatoryNetwork, kind: str, among: np.ndarray, least: float = 1.0) -> np.ndarray:
    """Genes seen often enough to be found; always at least the five highest of those allowed."""
    eligible = among & (network.baseline > np.log(min(MIN_TARGET_MEAN[kind], least)))
    eligible[np.argsort(np.where(among, -network.baseline, np.inf))[:5]] = True
    return eligible & among


def screen(
    n_genes: int = 200,
    n_groups: int | Mapping[str, int] = 8,
    *,
    n_control: int = 1000,
    n_perturbed: int | tuple[int, int] = 150,
    n_targets: Sequence[float] = (1.0,),
    strength: float | None = None,
    penetrance: float | None = None,
    n_inactive: int = 0,
    dropout: float = 0.0,
    seed: int = 0,
) -> AnnData:
    """Simulate a single-cell perturbation screen with known targets.

    A random regulatory network with hubs, feedback and latent programmes gives each cell its log rates;
    depth, batches and a negative binomial give counts. See the page "Simulation" of the documentation for
    how realistic it is.

    Parameters
    ----------
    n_genes
        Number of genes, at least 24.
    n_groups
        Number of perturbed groups, kinds in turn, or a mapping of kind to number of groups. Kinds:
        ``knockdown``, ``activation``, ``knockout``, ``activity``.
    n_control
        Number of control cells.
    n_perturbed
        Cells of each perturbed group, or the smallest and largest number.
    n_targets
        Relative frequencies of one, two, three ... targets in a group.
    strength
        Mean weight of a regulatory edge, in natural-log units per unit of response; drawn when None.
    penetrance
        Share of a group's cells that respond; drawn from [0.6, 1] per group when None.
    n_inactive
        Further groups whose guide does nothing (``kind`` "inactive", no target).
    dropout
        Share of the counts that are set to 0 at random, beyond what depth and noise leave out.
    seed
        The same seed gives the same screen.

    Returns
    -------
    AnnData with raw counts in ``X`` (CSR, float32), cells x genes, and

    `obs["perturbation"]` : categorical
        ``"control"`` or the group's name, the targets joined by ``+`` and its kind in brackets.
    `obs["kind"]`, `obs["batch"]`, `obs["responds"]`, `obs["depth"]`
        Kind of the group, batch, whether the cell responds, relative sequencing depth.
    `uns["targets"]` : dict
        Group name -> array of the target genes' names; inactive groups have no entry.
    `uns["network"]` : dict
        Arrays ``regulator``, ``gene`` (names) and ``weight`` (natural-log units) of the true regulatory
        edges.

    Raises
    ------
    ValueError
        If a kind is unknown, a size is too small, a share or `strength` cannot be one, or `seed` is no seed.
    """
    if n_genes < 24:
        raise ValueError(f"n_genes is {n_genes}; a screen needs at least 24 genes")
    if isinstance(n_groups, Mapping):
        plan = [kind for kind, number in n_groups.items() for _ in range(number)]
    else:
        plan = [KINDS[i % len(KINDS)] for i in range(n_groups)]
    check_kinds(n_groups if isinstance(n_groups, Mapping) else plan)
    numbers = list(n_groups.values()) if isinstance(n_groups, Mapping) else [n_groups]
    if min([*numbers, n_inactive]) < 0:
        raise ValueError(
            f"n_groups is {n_groups} and n_inactive {n_inactive}; numbers of groups cannot be negative"
        )
    cell_range = n_perturbed if isinstance(n_perturbed, Sequence) else (n_perturbed, n_perturbed)
    _check_cells(n_control, cell_range)
    _check_shares(penetrance=penetrance, dropout=dropout)
    _check_strength(strength)
    _check_frequencies("n_targets", n_targets)
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise ValueError(f"seed is {seed!r}; a whole number of at least 0 is needed")

    rng = np.random.default_rng(np.random.SeedSequence([int(seed), *b"screen"]))
    network = draw_network(n_genes, rng, strength=strength)
    perturbations, used = [], np.zeros(n_genes, dtype=bool)
    for kind in plan:
        n = _draw_number(n_targets, rng)
        unused = ~used if np.count_nonzero(~used) >= n else np.ones(n_genes, dtype=bool)
        targets = choose_targets(network, kind, n, _eligible(network, kind, unused), rng)
        used[targets] = True
        cells = int(rng.integers(cell_range[0], cell_range[1] + 1))
        perturbations.append(draw_perturbation(kind, targets, cells, rng, penetrance=penetrance))
    nothing = np.zeros(0)
    for _ in range(n_inactive):
        cells = int(rng.integers(cell_range[0], cell_range[1] + 1))
        perturbations.append(Perturbation("inactive", nothing.astype(int), nothing, nothing, 0.0, cells))
    simulated = simulate_counts(network, perturbations, n_control, draw_technical(rng), rng)
    if dropout > 0:
        simulated.counts[rng.random(simulated.counts.shape) < dropout] = 0.0
    return _to_anndata(simulated, network, perturbations)


def _check_shares(**shares: float | None) -> None:
    for name, value in shares.items():
        if value is not None and not 0 <= value <= 1:
            raise ValueError(f"{name} is {value}; it is a share, from 0 to 1")


def _check_strength(strength: float | None) -> None:
    if strength is not None and not 0 <= strength <= MAX_STRENGTH:
        raise ValueError(
            f"strength is {strength}; the mean weight of an edge lies between 0 and {MAX_STRENGTH:g} "
            "natural-log units"
        )


def _check_frequencies(name: str, values: Sequence[float]) -> None:
    weights = np.asarray(values, dtype=float)
    if weights.ndim != 1 or not weights.size or not np.all(weights >= 0) or not weights.sum() > 0:
        raise ValueError(f"{name} is {values}; frequencies of at least 0 are needed, not all of them 0")


def _check_cells(n_control: int, n_perturbed: tuple[int, int]) -> None:
    if n_control < 2:
        raise ValueError(f"n_control is {n_control}; at least 2 control cells are needed")
    low, high = n_perturbed
    if not 2 <= low <= high or low != int(low) or high != int(high):
        raise ValueError(
            f"n_perturbed is {n_perturbed}; whole numbers of at least 2 cells a group are needed, and the "
            "smaller number first"
        )


def _group_names(genes: np.ndarray, perturbations: Sequence[Perturbation]) -> list[str]:
    """Targets and kind of each group; repeats are numbered from 2."""
    names: list[str] = []
    seen: Counter[str] = Counter()
    for perturbation in perturbations:
        name = f"{'+'.join(genes[perturbation.targets]) or 'no_target'} ({perturbation.kind})"
        seen[name] += 1
        names.append(f"{name} #{seen[name]}" if seen[name] > 1 else name)
    return names


def _to_anndata(
    simulated: ScreenCounts, network: RegulatoryNetwork, perturbations: Sequence[Perturbation]
) -> AnnData:
    import anndata
    import pandas as pd
    from scipy import sparse

    width = len(str(network.n_genes))
    genes = np.array([f"gene_{i:0{width}d}" for i in range(1, network.n_genes + 1)])
    names = _group_names(genes, perturbations)
    labels = np.array([*names, "control"])[simulated.group]
    kinds = np.array([*(p.kind for p in perturbations), "control"])[simulated.group]
    obs = pd.DataFrame(
        {
            "perturbation": pd.Categorical(labels, categories=["control", *names]),
            "kind": pd.Categorical(kinds),
            "batch": pd.Categorical([f"batch_{b + 1}" for b in simulated.batch]),
            "responds": simulated.responds,
            "depth": simulated.depth,
        },
        index=[f"cell_{i}" for i in range(1, simulated.group.size + 1)],
    )
    rows, columns = network.weights.nonzero()
    return anndata.AnnData(
        sparse.csr_matrix(simulated.counts),
        obs=obs,
        var=pd.DataFrame(index=genes),
        uns={
            "targets": {
                n: genes[p.targets] for n, p in zip(names, perturbations, strict=True) if p.targets.size
            },
            "network": {
                "regulator": genes[network.regulators[columns]],
                "gene": genes[rows],
                "weight": network.weights.toarray()[rows, columns],
            },
        },
    )
