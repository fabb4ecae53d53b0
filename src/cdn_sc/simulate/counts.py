"""From a screen's design to counts, and from counts to log-normalised values."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cdn_sc.simulate.perturbation import Perturbation
from cdn_sc.simulate.regulation import RegulatoryNetwork, steady_state


@dataclass(frozen=True)
class ScreenCounts:
    """Counts of a simulated screen.

    Parameters
    ----------
    counts
        Cells x genes, float32 holding integers; the control cells first, then each group in order.
    group
        Per cell: -1 control, otherwise the index of its perturbation.
    responds
        Per cell: whether the perturbation acts in it.
    depth
        Per cell: relative sequencing depth, median about 1.
    batch
        Per cell: index of its batch.
    """

    counts: np.ndarray
    group: np.ndarray
    responds: np.ndarray
    depth: np.ndarray
    batch: np.ndarray


@dataclass(frozen=True)
class Technical:
    """Technical variation of one screen.

    Parameters
    ----------
    depth_spread
        Standard deviation of the log sequencing depth of cells.
    poor_cells
        How far the distribution of log depth leans towards poor cells, in [0, 1]: 0 normal, 1 a Gumbel
        distribution with its tail to the left.
    n_batches
        Number of batches, which cells of all arms share.
    batch_spread
        Standard deviation of each gene's log shift between batches.
    response_spread
        Standard deviation of the shift of latent programmes in each perturbed arm (slower growth,
        stress), in units of their loadings: changes that say nothing of the target.
    """

    depth_spread: float
    poor_cells: float
    n_batches: int
    batch_spread: float
    response_spread: float


def draw_technical(rng: np.random.Generator) -> Technical:
    """Draw the technical variation of a screen: how deep, how many batches, how unspecific its responses."""
    return Technical(
        depth_spread=float(rng.uniform(0.15, 0.5)),
        poor_cells=float(rng.uniform(0.0, 1.0)),
        n_batches=int(rng.integers(1, 5)),
        batch_spread=float(rng.uniform(0.0, 0.15)),
        response_spread=float(rng.choice([0.0, rng.uniform(0.0, 1.0)])),
    )


def simulate_counts(
    network: RegulatoryNetwork,
    perturbations: Sequence[Perturbation],
    n_control: int,
    technical: Technical,
    rng: np.random.Generator,
) -> ScreenCounts:
    """Simulate the counts of control cells and of every perturbed group.

    Each cell has its own variation of every gene, latent programmes, depth and batch; the network's
    steady state gives its log rates, a negative binomial its counts.

    Parameters
    ----------
    network
        Regulatory network, baselines and noise of the genes.
    perturbations
        What each perturbed group undergoes, and its number of cells.
    n_control
        Number of control cells.
    technical
        Depth and batches.
    rng
        Source of all randomness.
    """
    sizes = np.array([n_control, *(p.n_cells for p in perturbations)])
    group = np.repeat(np.arange(-1, len(perturbations)), sizes)
    n_cells, n_genes, n_regulators = group.size, network.n_genes, network.regulators.size

    drive = rng.standard_normal((n_genes, n_cells), dtype=np.float32) * network.noise[:, None]
    factors = rng.standard_normal((len(network.programmes), n_cells), dtype=np.float32)
    arm_shift = rng.normal(0.0, technical.response_spread, (len(network.programmes), sizes.size))
    arm_shift[:, 0] = 0.0
    drive += network.programmes.T @ (factors + arm_shift[:, group + 1].astype(np.float32))

    kept = np.ones((n_regulators, n_cells), dtype=np.float32)
    responds = np.zeros(n_cells, dtype=bool)
    position = np.full(n_genes, -1)
    position[network.regulators] = np.arange(n_regulators)
    start = n_control
    for perturbation in perturbations:
        cells = start + np.flatnonzero(rng.random(perturbation.n_cells) < perturbation.penetrance)
        start += perturbation.n_cells
        responds[cells] = True
        for target, strength, lost in zip(
            perturbation.targets, perturbation.strength, perturbation.activity_lost, strict=True
        ):
            drive[target, cells] += strength
            if position[target] >= 0:
                kept[position[target], cells] *= 1.0 - lost

    state = steady_state(network, drive, kept)
    batch = rng.integers(0, technical.n_batches, n_cells)
    batch_shift = rng.normal(0.0, technical.batch_spread, (n_genes, technical.n_batches)).astype(np.float32)
    depth = np.exp(technical.depth_spread * _log_depth(technical.poor_cells, n_cells, rng)).astype(np.float32)
    state += network.baseline[:, None]
    state += batch_shift[:, batch]
    rate = np.exp(np.clip(state, -12.0, 7.0)) * depth
    shape = (1.0 / network.dispersion)[:, None]
    rate *= rng.standard_gamma(np.broadcast_to(shape, rate.shape), dtype=np.float32) / shape
    counts = rng.poisson(rate.T).astype(np.float32)
    return ScreenCounts(counts, group, responds, depth, batch)


def _log_depth(poor_cells: float, n_cells: int, rng: np.random.Generator) -> np.ndarray:
    """Log depths of median about 0 and variance 1, with a left tail of the given weight."""
    normal = rng.standard_normal(n_cells)
    # a Gumbel variable has its median at -log(log 2) and the variance pi^2 / 6
    tail = -(rng.gumbel(0.0, 1.0, n_cells) + np.log(np.log(2.0))) * np.sqrt(6.0) / np.pi
    return np.sqrt(1.0 - poor_cells**2) * normal + poor_cells * tail


def log_normalise(counts: np.ndarray, totals: np.ndarray, scale: float = 1.0) -> np.ndarray:
    """Normalise counts: log1p of counts over each cell's total relative to the median total, times `scale`.

    Parameters
    ----------
    counts
        Cells x genes.
    totals
        What stands for each cell's depth; below 1 counts as 1.
    scale
        Factor on the normalised counts.

    Returns
    -------
    Cells x genes, float32.
    """
    totals = np.maximum(totals, 1.0)
    return np.log1p(counts * (scale * np.median(totals) / totals)[:, None].astype(np.float32))
