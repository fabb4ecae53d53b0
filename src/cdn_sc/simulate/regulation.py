"""Random gene-regulatory networks and the steady state of cells under perturbation.

Expression is modelled in natural-log units around each gene's baseline. A regulator with log activity u
adds w * response(u) to each gene it regulates, where response(u) = s tanh(u / s) saturates. Losing a
regulator's activity removes that contribution, whether or not its transcript moves.
"""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

N_ITERATIONS = 8
# Largest gain of the linearised network: below 1 the fixed-point iteration converges
MAX_GAIN = 0.7
# Effect at which a regulator's influence levels off
USUAL_SATURATION = 2.0


@dataclass(frozen=True)
class RegulatoryNetwork:
    """A network with the cell-to-cell variation around it.

    Parameters
    ----------
    regulators
        Indices of the genes that regulate others.
    weights
        Regulated genes x regulators, CSR: the change of a gene's log rate per unit of response.
    activity
        Log activity of each regulator in an unperturbed cell, above the point of no effect.
    baseline
        Log mean count of each gene at median depth.
    noise
        Standard deviation of each gene's own variation, log units.
    programmes
        Latent programmes x genes: loadings of cell-to-cell variation shared by many genes.
    dispersion
        Negative binomial dispersion of each gene: variance = mean + dispersion * mean^2.
    saturation
        s, the largest effect of a regulator on what it regulates, in units of the weights.
    """

    regulators: np.ndarray
    weights: sparse.csr_array
    activity: np.ndarray
    baseline: np.ndarray
    noise: np.ndarray
    programmes: np.ndarray
    dispersion: np.ndarray
    saturation: float = USUAL_SATURATION

    @property
    def n_genes(self) -> int:
        """Number of genes."""
        return self.baseline.size

    def graph(self) -> np.ndarray:
        """Boolean genes x genes, true at [i, j] where i regulates j."""
        adjacency = np.zeros((self.n_genes, self.n_genes), dtype=bool)
        genes, columns = self.weights.nonzero()
        adjacency[self.regulators[columns], genes] = True
        return adjacency

    def out_degree(self) -> np.ndarray:
        """Number of genes that each gene regulates."""
        degree = np.zeros(self.n_genes, dtype=int)
        degree[self.regulators] = np.bincount(self.weights.nonzero()[1], minlength=self.regulators.size)
        return degree


def response(activity: np.ndarray, saturation: float = USUAL_SATURATION) -> np.ndarray:
    """Effect of a regulator's log activity on what it regulates, in (-saturation, saturation)."""
    return saturation * np.tanh(activity / saturation)


def draw_network(
    n_genes: int,
    rng: np.random.Generator,
    *,
    strength: float | None = None,
    edges_per_gene: float | None = None,
    depth: float | None = None,
    wide: bool = False,
) -> RegulatoryNetwork:
    """Draw a random network with hubs and feedback.

    Parameters
    ----------
    n_genes
        Number of genes, at least 5.
    rng
        Source of all randomness.
    strength
        Mean absolute weight of an edge; drawn from [0.25, 0.9] when None.
    edges_per_gene
        Mean number of regulators of a gene; drawn from [1, 4] when None.
    depth
        Mean of the genes' log mean counts; drawn from [-2.4, 0.4] when None.
    wide
        Draw from a wider range of networks: weights up to 2, effects that level off late, cascades that damp
        little, and in a third of the networks programmes that are several times as strong as any edge.

    Raises
    ------
    ValueError
        If there are fewer than 5 genes.
    """
    if n_genes < 5:
        raise ValueError(f"n_genes is {n_genes}; a regulatory network needs at least 5 genes")
    saturation, most_gain, strong_programmes = USUAL_SATURATION, MAX_GAIN, False
    if wide:
        # regulated genes may move more than what regulates them (Hill coefficients up to 4)
        strength = float(np.exp(rng.uniform(np.log(0.25), np.log(2.0)))) if strength is None else strength
        saturation, most_gain = float(rng.uniform(1.5, 5.0)), float(rng.uniform(0.5, 0.95))
        strong_programmes = bool(rng.random() < 1 / 3)
    strength = float(rng.uniform(0.25, 0.9)) if strength is None else strength
    edges_per_gene = float(rng.uniform(1.0, 4.0)) if edges_per_gene is None else edges_per_gene
    depth = float(rng.uniform(-2.4, 0.4)) if depth is None else depth

    n_regulators = max(2, round(n_genes * rng.uniform(0.1, 0.5)))
    regulators = rng.choice(n_genes, n_regulators, replace=False)
    # log-normal popularity makes a few hubs and many regulators of few genes
    popularity = np.exp(rng.normal(0.0, rng.uniform(0.3, 1.5), n_regulators))
    adjacency = rng.random((n_genes, n_regulators)) < np.minimum(
        edges_per_gene * popularity / popularity.sum(), 0.6
    )
    adjacency[regulators, np.arange(n_regulators)] = False
    size = strength * rng.uniform(0.4, 1.6, adjacency.shape)
    positive = rng.random(n_regulators) < rng.uniform(0.4, 1.0)
    # a regulator mostly activates or mostly represses
    sign = np.where((rng.random(adjacency.shape) < 0.85) == positive, 1.0, -1.0)
    dense = adjacency * size * sign
    activity = rng.uniform(0.3, 2.5, n_regulators)
    # only what regulators do to each other can run away
    dense[regulators] *= min(1.0, most_gain / max(_gain(dense, regulators), 1e-9))

    n_programmes = int(rng.integers(1, 8)) if rng.random() < 0.9 else 0
    programmes = rng.normal(0.0, 1.0, (n_programmes, n_genes)) * (
        rng.random((n_programmes, n_genes)) < rng.uniform(0.05, 0.5)
    )
    programmes *= rng.uniform(0.05, 0.5, (n_programmes, 1))
    if strong_programmes:
        programmes *= rng.uniform(2.0, 4.0)
    noise = rng.uniform(0.08, 0.4) * np.exp(rng.normal(0.0, 0.6, n_genes))
    noise[regulators] *= rng.uniform(1.2, 3.0)
    baseline = np.clip(rng.normal(depth, rng.uniform(1.0, 2.2), n_genes), -4.5, 4.5)
    dispersion = rng.uniform(0.01, 0.15) * np.exp(rng.normal(0.0, 0.9, n_genes))
    return RegulatoryNetwork(
        regulators=regulators,
        weights=sparse.csr_array(dense.astype(np.float32)),
        activity=activity.astype(np.float32),
        baseline=baseline.astype(np.float32),
        noise=noise.astype(np.float32),
        programmes=programmes.astype(np.float32),
        dispersion=dispersion.astype(np.float32),
        saturation=saturation,
    )


def _gain(weights: np.ndarray, regulators: np.ndarray) -> float:
    """Spectral radius of the regulator-to-regulator part in absolute values, by power iteration."""
    among = np.abs(weights[regulators])
    vector = np.ones(among.shape[1])
    radius = 0.0
    for _ in range(30):
        vector = among @ vector
        radius = float(np.linalg.norm(vector) / np.sqrt(vector.size))
        if radius == 0.0:
            return 0.0
        vector = vector / np.linalg.norm(vector) * np.sqrt(vector.size)
    return radius


def steady_state(network: RegulatoryNetwork, drive: np.ndarray, activity_kept: np.ndarray) -> np.ndarray:
    """Log expression of cells, relative to baseline, at the network's fixed point.

    Parameters
    ----------
    network
        The network.
    drive
        Genes x cells: what enters each gene from outside (noise, programmes, a knockdown), log units.
    activity_kept
        Regulators x cells: share of the regulator's effect that is left; above 1 where it grew.

    Returns
    -------
    Genes x cells, float32, natural-log units, within [-8, 5].
    """
    level = network.activity[:, None]
    usual = response(level, network.saturation)
    state = drive.astype(np.float32, copy=True)
    for _ in range(N_ITERATIONS):
        effect = response(state[network.regulators] + level, network.saturation) * activity_kept - usual
        state = network.weights @ effect.astype(np.float32)
        state += drive
    return np.clip(state, -8.0, 5.0)
