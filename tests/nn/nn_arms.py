"""Small random arms and the arms of the parity cases."""

from types import SimpleNamespace

import numpy as np
import torch

from cdn_sc.nn import CDNConfig

SMALL = {
    "num_vars": 30,
    "max_subsets": 40,
    "channels": 16,
    "heads": 4,
    "blocks": 2,
    "encoder_ffn": 6,
    "comparison_ffn": 12,
}


def small_config(form="concat", **changes):
    return CDNConfig(**(SMALL | {"form": form} | changes))


def small_network(network_class, config, seed=0):
    """Network with weights drawn from a seed, so large that attention is not flat."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        network = network_class(config)
    for parameter in network.parameters():
        spread = 0.2 if parameter.ndim > 1 else 0.3
        parameter.data = spread * torch.randn(parameter.shape, generator=generator)
    for name, parameter in network.named_parameters():
        if "layer_norm" in name and name.endswith("weight"):
            parameter.data += 1
    return network.eval()


def random_arm(rng, n_genes, n_subsets, silent=()):
    """Arm with random tokens in the shape that sampling gives: subsets of 5 genes, ordered pairs."""
    size = min(5, n_genes)
    subsets = [rng.choice(n_genes, size, replace=False) for _ in range(n_subsets)]
    held = [[(i + 1, j + 1) for i in subset for j in subset if i != j] for subset in subsets]
    pairs = sorted({pair for row in held for pair in row})
    tokens = np.zeros((n_subsets, len(pairs)), np.int8)
    for t, row in enumerate(held):
        for pair in row:
            tokens[t, pairs.index(pair)] = rng.integers(1, 8)
    values = rng.standard_normal((40, n_genes)) @ rng.standard_normal((n_genes, n_genes))
    correlation = np.corrcoef(values.T).astype(np.float32)
    mean_variance = np.stack([values.mean(0), values.var(0)], 1).astype(np.float32)
    for gene in silent:
        correlation[gene] = correlation[:, gene] = 0
        mean_variance[gene] = 0
    return SimpleNamespace(
        tokens=tokens,
        pairs=np.array(pairs, np.int64).reshape(-1, 2),
        correlation=correlation,
        mean_variance=mean_variance,
    )


def empty_arm(rng, n_genes):
    """Arm of which no subset was left."""
    arm = random_arm(rng, n_genes, 1)
    arm.tokens, arm.pairs = np.zeros((0, 0), np.int8), np.zeros((0, 2), np.int64)
    return arm


def parity_arm(case, which):
    """Arm of a parity case: `which` is "obs" (control) or "int" (perturbed)."""
    entries = case[f"edge_tokens_{which}"]
    pairs = case[f"edge_nodes_1based_{which}"]
    tokens = np.zeros((len(entries), len(pairs)), entries.dtype)
    np.put_along_axis(tokens, case[f"edge_index_{which}"], entries, axis=1)
    return SimpleNamespace(
        tokens=tokens,
        pairs=pairs,
        correlation=case[f"corr_{which}"],
        mean_variance=case[f"mean_var_{which}"],
    )
