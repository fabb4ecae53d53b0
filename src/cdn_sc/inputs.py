"""From pairs of arms to the batch that a network reads, whatever its architecture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import nn

    from cdn_sc.features import ControlSummary, GeneInputs
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
    summary: ControlSummary | None = None,
    own_only: Sequence[bool] | None = None,
    contrasts: Sequence[np.ndarray | None] | None = None,
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
    summary
        What :func:`control_summary` gave for the first control array, where that is at hand.
    own_only
        For each comparison, whether what the other genes say about a gene is withheld (gene transformer);
        never when None.
    contrasts
        For each comparison, how cells of other conditions vary within these, contrasts x genes (gene
        transformer, see :func:`control_summary`).

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
        own_only = [False] * len(arms) if own_only is None else own_only
        return _gene_batch(
            arms, kinds, summary, own_only, [None] * len(arms) if contrasts is None else contrasts
        )
    return _graph_batch(arms, rng, n_subsets, estimator, test, config.num_vars)


def control_summary(control: np.ndarray, contrasts: np.ndarray | None = None) -> ControlSummary:
    """What the gene transformer needs of the control cells, shared by all groups compared with them.

    Parameters
    ----------
    control
        Control cells x genes, float32.
    contrasts
        How cells of other conditions vary within these, contrasts x genes, which sharpens the correlations.
    """
    from cdn_sc.features import summarize_control

    return summarize_control(control, contrasts)


def _gene_batch(
    arms: Sequence[Arms],
    kinds: Sequence[str | None],
    summary: ControlSummary | None,
    own_only: Sequence[bool],
    contrasts: Sequence[np.ndarray | None],
) -> GeneBatch:
    from cdn_sc.features import gene_inputs, withhold_others
    from cdn_sc.nn.gene_transformer import collate_genes

    inputs: list[GeneInputs] = []
    last: tuple[np.ndarray, np.ndarray | None] | None = None
    last_perturbed: np.ndarray | None = None
    for (control, perturbed), withheld, others in zip(arms, own_only, contrasts, strict=True):
        same = last is None or (control is last[0] and others is last[1])
        if summary is None or not same:
            summary, last_perturbed = control_summary(control, others), None
        last = control, others
        if perturbed is not last_perturbed:
            found, last_perturbed = gene_inputs(summary, perturbed), perturbed
        inputs.append(withhold_others(found) if withheld else found)
    return collate_genes(inputs, kinds)


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
