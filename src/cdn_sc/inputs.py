"""From pairs of arms to the batch that a network reads, whatever its architecture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import nn

    from cdn_sc._known_relations import KnownRelations
    from cdn_sc.nn import CDNBatch, GeneBatch

Arms = tuple[np.ndarray, np.ndarray]


def make_batch(
    network: nn.Module,
    arms: Sequence[Arms],
    *,
    rng: np.random.Generator,
    kinds: Sequence[str | None] | None = None,
    n_subsets: tuple[int, int] = (50, 50),
    estimator: str = "fci",
    test: str = "fisherz",
    contrasts: Sequence[np.ndarray | None] | None = None,
    relations: Sequence[KnownRelations | None] | None = None,
) -> GeneBatch | CDNBatch:
    """Prepare comparisons for a network.

    Parameters
    ----------
    network
        A network of ours; its configuration names the architecture.
    arms
        Control and perturbed values, cells x genes each, float32. Comparisons that share one control
        array also share what is computed from it.
    rng
        Source of the sampled subsets (published architecture; the gene transformer draws nothing).
    kinds
        Kind of perturbation of each comparison where known.
    n_subsets
        Gene subsets of the control and of the perturbed arm (published architecture).
    estimator, test
        Estimator of the local graphs and its independence test (published architecture).
    contrasts
        For each comparison, how cells of other conditions vary within these, contrasts x genes (gene
        transformer, see :func:`cdn_sc.features.summarize_control`).
    relations
        For each comparison, what is known beforehand of which gene regulates which (gene transformer).

    Returns
    -------
    The batch that ``network(batch)`` takes, on the CPU.

    Raises
    ------
    ValueError
        If the arms differ in genes, have fewer than 2 cells, or a kind, estimator or test is unknown.
    """
    config: Any = network.config
    if config.architecture == "gene_transformer":
        kinds = [None] * len(arms) if kinds is None else kinds
        nothing = [None] * len(arms)
        return _gene_batch(arms, kinds, contrasts or nothing, relations or nothing)
    return _graph_batch(arms, rng, n_subsets, estimator, test, config.num_vars)


def _gene_batch(
    arms: Sequence[Arms],
    kinds: Sequence[str | None],
    contrasts: Sequence[np.ndarray | None],
    relations: Sequence[KnownRelations | None],
) -> GeneBatch:
    from cdn_sc.features import GeneInputs, gene_inputs, summarize_control
    from cdn_sc.nn.gene_transformer import collate_genes

    inputs: list[GeneInputs] = []
    for run in _runs(arms, contrasts, relations):
        control = summarize_control(arms[run.start][0], contrasts[run.start])
        inputs.append(
            gene_inputs(control, *(perturbed for _, perturbed in arms[run]), relations=relations[run.start])
        )
    return collate_genes(inputs, kinds)


def _runs(
    arms: Sequence[Arms],
    contrasts: Sequence[np.ndarray | None],
    relations: Sequence[KnownRelations | None],
) -> list[slice]:
    """Comparisons in a row that share their control cells, contrasts and relations."""
    of_screens = [
        (id(control), id(more), id(known))
        for (control, _), more, known in zip(arms, contrasts, relations, strict=True)
    ]
    starts = [i for i in range(len(arms)) if not i or of_screens[i] != of_screens[i - 1]]
    return [slice(start, stop) for start, stop in zip(starts, [*starts[1:], len(arms)], strict=True)]


def _graph_batch(
    arms: Sequence[Arms],
    rng: np.random.Generator,
    n_subsets: tuple[int, int],
    estimator: str,
    test: str,
    num_vars: int,
) -> CDNBatch:
    from cdn_sc.graphs import arm_inputs
    from cdn_sc.nn import collate

    options: dict[str, Any] = {"rng": rng, "estimator": estimator, "test": test}
    pairs = [
        (
            arm_inputs(control, n_subsets=n_subsets[0], **options),
            arm_inputs(perturbed, n_subsets=n_subsets[1], **options),
        )
        for control, perturbed in arms
    ]
    return collate(pairs, rng=rng, num_vars=num_vars)
