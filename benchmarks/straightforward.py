"""The straightforward path of the published network, which the speed benchmarks compare with.

A plain reading of its description: the N x N probabilities of every draw in numpy, causal-learn on every
subset, full masked attention, both arms sampled and encoded anew for every group. It shares nothing with the
package but the weights.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

import straightforward_network
from cdn_sc.graphs.estimate import estimate

SUBSET_GENES, SUBSET_CELLS = 5, 500
TOKENS = {(0, 0): 1, (-1, 1): 2, (1, -1): 3, (1, 1): 4, (1, 2): 5, (2, 1): 6, (2, 2): 7}


@dataclass
class Arm:
    """What the network reads of one arm."""

    tokens: np.ndarray
    pairs: np.ndarray
    correlation: np.ndarray
    mean_variance: np.ndarray


def sample(
    values: np.ndarray, n_subsets: int, rng: np.random.Generator
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Genes and cells of every subset: half by the random score, half by the correlation score."""
    n_cells, n_genes = values.shape
    met = np.zeros((n_genes, n_genes))
    all_genes, all_cells = [], []
    for t in range(n_subsets):
        score = np.ones((n_genes, n_genes))
        if t >= (n_subsets + 1) // 2:
            score = np.abs(np.nan_to_num(np.corrcoef(values[draw_cells(n_cells, rng)].T)))
        np.fill_diagonal(score, 0.0)
        probability = score / np.sqrt(1.0 + met)
        chosen: list[int] = []
        while len(chosen) < min(SUBSET_GENES, n_genes):
            weight = probability[chosen].sum(axis=0) if chosen else probability.sum(axis=0)
            weight[chosen] = 0.0
            chosen.append(int(rng.choice(n_genes, p=weight / weight.sum())))
        met[np.ix_(chosen, chosen)] += 1
        all_genes.append(np.array(chosen))
        all_cells.append(draw_cells(n_cells, rng))
    return all_genes, all_cells


def draw_cells(n_cells: int, rng: np.random.Generator) -> np.ndarray:
    """Rows of a subset's cells."""
    return rng.choice(n_cells, min(SUBSET_CELLS, n_cells), replace=False)


def read_arm(values: np.ndarray, n_subsets: int, rng: np.random.Generator) -> Arm:
    """Sample an arm, run causal-learn on every subset, write tokens and statistics."""
    genes, cells = sample(values, n_subsets, rng)
    subsets = [values[np.ix_(c, g)] for c, g in zip(cells, genes, strict=True)]
    graphs, succeeded = estimate(subsets, estimator="causal-learn")
    pairs = sorted({(i, j) for g in genes for i in g for j in g if i != j})
    place = {pair: column for column, pair in enumerate(pairs)}
    tokens = np.zeros((len(genes), len(pairs)), dtype=np.int64)
    for t, (chosen, graph) in enumerate(zip(genes, graphs, strict=True)):
        for a, i in enumerate(chosen):
            for b, j in enumerate(chosen):
                if i != j:
                    tokens[t, place[i, j]] = TOKENS[int(graph[a, b]), int(graph[b, a])]
    used = values[cells[(n_subsets + 1) // 2 - 1]]
    correlation = np.nan_to_num(np.corrcoef(used.T)).astype(np.float32)
    statistics = np.stack([used.mean(axis=0), used.var(axis=0)], axis=1).astype(np.float32)
    return Arm(tokens[succeeded], np.array(pairs) + 1, correlation, statistics)


def predict(
    network: nn.Module,
    control: np.ndarray,
    perturbed: np.ndarray,
    rng: np.random.Generator,
    n_subsets: int = 50,
) -> np.ndarray:
    """Logits of one group, from the values of its cells and of the control cells (cells x genes)."""
    config: Any = network.config
    arms = read_arm(control, n_subsets, rng), read_arm(perturbed, n_subsets, rng)
    permutations = np.stack([rng.permutation(config.num_vars + 1) for _ in range(6)])
    with torch.inference_mode():
        weights = network.state_dict()
        return straightforward_network.logits(weights, config, *arms, permutations).numpy()
