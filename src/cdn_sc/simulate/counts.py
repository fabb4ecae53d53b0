"""From a screen's design to counts, and from counts to log-normalised values."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

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
    """Technical variation of one screen, and cell types.

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
    type_shares
        Share of each cell type in the screen.
    type_spread
        Standard deviation of the log shift between types of the third of the genes that differ.
    evenness
        How alike the arms are in their shares of batches and types: the concentration of a Dirichlet
        distribution around the screen's shares; None for equal shares.
    """

    depth_spread: float
    poor_cells: float
    n_batches: int
    batch_spread: float
    response_spread: float
    type_shares: tuple[float, ...] = (1.0,)
    type_spread: float = 0.0
    evenness: float | None = None


@dataclass(frozen=True)
class ScreenStates:
    """The expression of all cells of a screen before it is measured.

    Parameters
    ----------
    group, responds
        See :class:`ScreenCounts`.
    state
        Genes x cells, natural-log units relative to baseline.
    """

    group: np.ndarray
    responds: np.ndarray
    state: np.ndarray


def draw_technical(rng: np.random.Generator, *, wide: bool = False) -> Technical:
    """Draw the technical variation of a screen: how deep, how many batches, how unspecific its responses.

    Parameters
    ----------
    rng
        Source of randomness.
    wide
        In half of the screens, arms of different shares of the batches; in a third of them, 2 to 4 cell
        types.
    """
    usual = Technical(
        depth_spread=float(rng.uniform(0.15, 0.5)),
        poor_cells=float(rng.uniform(0.0, 1.0)),
        n_batches=int(rng.integers(1, 5)),
        batch_spread=float(rng.uniform(0.0, 0.15)),
        response_spread=float(rng.choice([0.0, rng.uniform(0.0, 1.0)])),
    )
    if not wide:
        return usual
    n_types = int(rng.integers(2, 5)) if rng.random() < 1 / 3 else 1
    return replace(
        usual,
        batch_spread=float(rng.uniform(0.0, 0.3)),
        type_shares=tuple(rng.dirichlet(np.full(n_types, 3.0))),
        type_spread=float(rng.uniform(0.2, 1.0)),
        evenness=float(np.exp(rng.uniform(np.log(10.0), np.log(1000.0)))) if rng.random() < 0.5 else None,
    )


def simulate_states(
    network: RegulatoryNetwork,
    perturbations: Sequence[Perturbation],
    n_control: int,
    technical: Technical,
    rng: np.random.Generator,
    *,
    own_variation: float = 1.0,
) -> ScreenStates:
    """Simulate the expression of control cells and of every perturbed group, before it is measured.

    Parameters
    ----------
    network, perturbations, n_control, technical, rng
        As of :func:`simulate_counts`.
    own_variation
        Standard deviation of what is random in a cell, as a share of a single cell's: less than 1 where each
        "cell" is a sample of many.
    """
    sizes = np.array([n_control, *(p.n_cells for p in perturbations)])
    group = np.repeat(np.arange(-1, len(perturbations)), sizes)
    n_cells, n_genes, n_regulators = group.size, network.n_genes, network.regulators.size

    drive = rng.standard_normal((n_genes, n_cells), dtype=np.float32) * network.noise[:, None]
    factors = rng.standard_normal((len(network.programmes), n_cells), dtype=np.float32)
    if own_variation != 1.0:
        drive *= np.float32(own_variation)
        factors *= np.float32(own_variation)
    arm_shift = rng.normal(0.0, technical.response_spread, (len(network.programmes), sizes.size))
    arm_shift[:, 0] = 0.0
    drive += network.programmes.T @ (factors + arm_shift[:, group + 1].astype(np.float32))
    if len(technical.type_shares) > 1:
        of_type = rng.normal(0.0, technical.type_spread, (n_genes, len(technical.type_shares)))
        of_type *= rng.random(of_type.shape) < 1 / 3
        drive += of_type.astype(np.float32)[:, _in_shares(technical.type_shares, group, technical, rng)]

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
    return ScreenStates(group, responds, steady_state(network, drive, kept))


def _in_shares(
    shares: Sequence[float] | np.ndarray, group: np.ndarray, technical: Technical, rng: np.random.Generator
) -> np.ndarray:
    """Draw for each cell which of the shares it belongs to, each arm with shares of its own."""
    expected = np.asarray(shares)
    of_arms = rng.dirichlet(
        expected * (technical.evenness or 1e6) + 1e-3, size=int(group.max(initial=-1)) + 2
    )
    upper = np.cumsum(of_arms, axis=1)[group + 1]
    return np.minimum((rng.random(group.size)[:, None] > upper).sum(axis=1), len(expected) - 1)


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
        Depth, batches and cell types.
    rng
        Source of all randomness.
    """
    states = simulate_states(network, perturbations, n_control, technical, rng)
    group, state = states.group, states.state
    if technical.evenness is None:
        batch = rng.integers(0, technical.n_batches, group.size)
    else:
        equal = np.full(technical.n_batches, 1.0 / technical.n_batches)
        batch = _in_shares(equal, group, technical, rng)
    shift = (network.n_genes, technical.n_batches)
    batch_shift = rng.normal(0.0, technical.batch_spread, shift).astype(np.float32)
    log_depth = _log_depth(technical.poor_cells, group.size, rng)
    depth = np.exp(technical.depth_spread * log_depth).astype(np.float32)
    state += network.baseline[:, None]
    state += batch_shift[:, batch]
    rate = np.exp(np.clip(state, -12.0, 7.0)) * depth
    shape = (1.0 / network.dispersion)[:, None]
    rate *= rng.standard_gamma(np.broadcast_to(shape, rate.shape), dtype=np.float32) / shape
    counts = rng.poisson(rate.T).astype(np.float32)
    return ScreenCounts(counts, group, states.responds, depth, batch)


def measure_samples(network: RegulatoryNetwork, states: ScreenStates, rng: np.random.Generator) -> np.ndarray:
    """Measure samples of many cells, or proteins, on a logarithmic scale.

    Parameters
    ----------
    network
        Its baselines are the genes' usual levels.
    states
        Of the samples, with little variation of their own.
    rng
        Draws how exact the measurement is, the unit, and whether values are differences from a reference.

    Returns
    -------
    Samples x genes, float32: no counts, no zeros, values below 0 are usual.
    """
    error = rng.uniform(0.03, 0.4) * np.exp(rng.normal(0.0, 0.4, network.n_genes))
    values = states.state.T + rng.standard_normal(states.state.T.shape) * error
    if rng.random() < 0.5:
        values += network.baseline + 6.0
    if rng.random() < 0.3:
        # what a sample is loaded with moves all of its values
        values += rng.normal(0.0, rng.uniform(0.02, 0.2), (len(values), 1))
    if rng.random() < 0.3:
        values /= values[states.group < 0].std(axis=0) + 0.05
    return np.asarray(values * rng.uniform(0.4, 1.5), dtype=np.float32)


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
