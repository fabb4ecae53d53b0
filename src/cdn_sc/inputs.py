"""From pairs of arms to the batch that a network reads, whatever its architecture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import nn

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
    summary: Any = None,
) -> Any:
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
        What :func:`control_summary` gave for the one control array, where that is at hand.
    """
    kinds = [None] * len(arms) if kinds is None else kinds
    if network.config.architecture == "gene_transformer":
        return _gene_batch(arms, kinds, summary)
    return _graph_batch(arms, rng, n_subsets, estimator, test)


def control_summary(control: np.ndarray) -> Any:
    """What the gene transformer needs of the control cells, shared by all groups compared with them."""
    from cdn_sc.features import summarize_control

    return summarize_control(control)


def _gene_batch(arms: Sequence[Arms], kinds: Sequence[str | None], summary: Any) -> Any:
    from cdn_sc.features import gene_inputs
    from cdn_sc.nn.gene_transformer import collate_genes

    inputs, last = [], None
    for control, perturbed in arms:
        if summary is None or (last is not None and control is not last):
            summary = control_summary(control)
        last = control
        inputs.append(gene_inputs(summary, perturbed))
    return collate_genes(inputs, kinds)


def _graph_batch(
    arms: Sequence[Arms], rng: np.random.Generator, n_subsets: tuple[int, int], estimator: str, test: str
) -> Any:
    from cdn_sc.graphs import arm_inputs
    from cdn_sc.nn.batch import collate

    pairs = [
        tuple(
            arm_inputs(values, n_subsets=number, rng=rng, estimator=estimator, test=test)
            for values, number in zip(pair, n_subsets, strict=True)
        )
        for pair in arms
    ]
    return collate(pairs, rng=rng)
