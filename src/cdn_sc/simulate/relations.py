"""Tables of known relations as users have them: partial, partly wrong, of edges or of total effects."""

from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse

from cdn_sc._known_relations import KnownRelations
from cdn_sc.simulate.counts import draw_technical, log_normalise, simulate_counts
from cdn_sc.simulate.perturbation import draw_perturbation
from cdn_sc.simulate.regulation import RegulatoryNetwork, steady_state

# Log fold change of the genes that a reference screen knocked down
REFERENCE_STRENGTH = -1.5
# A gene responds in a reference screen from this standardised change on: weak responses weigh little, but
# there are many of them
RESPONDS = 2.0
# Control cells of a reference screen that is simulated
REFERENCE_CONTROLS = 2000


@dataclass(frozen=True)
class TableQuality:
    """How good a table of relations is.

    Parameters
    ----------
    known
        Share of the true edges that are in the table; of a reference screen the share of genes perturbed.
    correct
        Share of the table's entries that are true edges; the others are random. With 0 there are as many
        entries as if `known` of them were true, and none is. Without effect on a reference screen.
    uneven
        How much more is known of genes that regulate many, from 0, and of how many genes nothing at all.
    unsigned
        Share of the entries whose sign is not known.
    wrong_sign
        Share of the true entries with the wrong sign.
    of_regulators
        Share of the wrong entries that are about genes that do regulate some, as in tables of transcription
        factors; the others are about any gene.
    reference
        Whether the table says what perturbing genes did in a screen of related cells, in place of edges.
    rewired
        Of a reference screen: share of the edges that lead to another gene than here.
    cells, threshold
        Of a reference screen: cells of each perturbed gene, and the standardised change from which a gene
        counts as responding.
    simulated
        Of a reference screen: simulate all of its cells, in place of their expected change and its error.
    """

    known: float = 0.5
    correct: float = 0.5
    uneven: float = 0.0
    unsigned: float = 0.0
    wrong_sign: float = 0.0
    of_regulators: float = 0.0
    reference: bool = False
    rewired: float = 0.0
    cells: int = 100
    threshold: float = RESPONDS
    simulated: bool = False


def draw_quality(rng: np.random.Generator) -> TableQuality:
    """Draw the quality of a table for training: from nearly nothing to nearly everything, right or wrong."""
    return TableQuality(
        known=float(rng.uniform(0.1, 0.95)),
        correct=float(rng.uniform(0.2, 0.95)) if rng.random() < 0.9 else 0.0,
        uneven=float(rng.choice([0.0, rng.uniform(0.0, 1.0)])),
        unsigned=float(rng.choice([0.0, 1.0, rng.uniform(0.0, 1.0)], p=[0.6, 0.2, 0.2])),
        wrong_sign=float(rng.uniform(0.0, 0.1)),
        of_regulators=float(rng.choice([0.0, rng.uniform(0.0, 1.0)])),
        reference=bool(rng.random() < 0.35),
        rewired=float(rng.uniform(0.0, 0.7)),
        cells=round(float(np.exp(rng.uniform(np.log(20.0), np.log(500.0))))),
        threshold=float(rng.uniform(1.5, 4.0)),
    )


def draw_relations(
    network: RegulatoryNetwork, genes: np.ndarray, rng: np.random.Generator, quality: TableQuality
) -> KnownRelations:
    """Draw a table of relations among some genes of a network.

    Parameters
    ----------
    network
        The true network.
    genes
        Indices of the genes that the table is about.
    rng
        Source of randomness.
    quality
        How much of the truth it holds, and how much else.

    Returns
    -------
    Relations, genes counted by their place among `genes`.
    """
    place = np.full(network.n_genes, -1)
    place[genes] = np.arange(genes.size)
    if quality.reference:
        return _reference(network, genes, place, rng, quality)
    return _curated(network, place, genes.size, rng, quality)


def _curated(
    network: RegulatoryNetwork,
    place: np.ndarray,
    n_genes: int,
    rng: np.random.Generator,
    quality: TableQuality,
) -> KnownRelations:
    edges = network.weights.tocoo()
    sources, targets = place[network.regulators[edges.col]], place[edges.row]
    among = (sources >= 0) & (targets >= 0)
    sources, targets, weights = sources[among], targets[among], edges.data[among]
    degree = np.bincount(sources, minlength=n_genes)
    usual = degree[sources].mean() if sources.size else 1.0
    chance = quality.known * (degree[sources] / usual) ** quality.uneven
    # of some genes nothing is known at all
    chance *= (rng.random(n_genes) >= 0.5 * quality.uneven)[sources]
    taken = rng.random(sources.size) < chance
    number = int(taken.sum())
    if quality.correct > 0:
        n_wrong = round(number * (1.0 - quality.correct) / quality.correct)
    else:
        n_wrong, taken = number, np.zeros_like(taken)
    sign = np.sign(weights[taken]) * np.where(rng.random(int(taken.sum())) < quality.wrong_sign, -1.0, 1.0)
    edges_here = sources * n_genes + targets
    wrong = _wrong_entries(sources, edges_here, n_genes, n_wrong, quality.of_regulators, rng)
    values = np.concatenate([sign, rng.choice([-1.0, 1.0], len(wrong), p=[0.3, 0.7])])
    if rng.random() < 0.5:
        values *= np.exp(rng.normal(0.0, 0.5, values.size))
    values[rng.random(values.size) < quality.unsigned] = np.nan
    return KnownRelations.of_entries(
        n_genes,
        np.concatenate([sources[taken], wrong // n_genes]),
        np.concatenate([targets[taken], wrong % n_genes]),
        values,
    )


def _wrong_entries(
    sources: np.ndarray,
    edges: np.ndarray,
    n_genes: int,
    number: int,
    of_regulators: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """So many pairs that are no edges, as source x genes + target."""
    regulators = sources if sources.size else np.arange(n_genes)
    found = np.zeros(0, dtype=np.int64)
    for _ in range(8):  # of a tiny panel there may not be so many
        lacking = number - found.size
        if lacking <= 0:
            break
        known = rng.random(lacking) < of_regulators
        first = np.where(known, rng.choice(regulators, lacking), rng.integers(0, n_genes, lacking))
        second = rng.integers(0, n_genes, lacking)
        drawn = (first * n_genes + second)[first != second]
        found = np.union1d(found, drawn[~np.isin(drawn, edges)])
    return rng.permutation(found)


def _reference(
    network: RegulatoryNetwork,
    genes: np.ndarray,
    place: np.ndarray,
    rng: np.random.Generator,
    quality: TableQuality,
) -> KnownRelations:
    """What knocking genes down did to the others in a screen of cells with a related network."""
    related = _related_network(network, rng, quality.rewired)
    perturbed = np.flatnonzero(rng.random(genes.size) < quality.known)
    changes = _simulated_changes if quality.simulated else _expected_changes
    change = changes(related, genes, perturbed, rng, quality.cells)
    # the screen has few control cells beside: what it calls a response is partly chance
    sources, targets = np.nonzero(np.abs(change) > quality.threshold)
    return KnownRelations.of_entries(genes.size, perturbed[sources], targets, -change[sources, targets])


def _related_network(
    network: RegulatoryNetwork, rng: np.random.Generator, rewired: float
) -> RegulatoryNetwork:
    """The same regulators in another cell line: some edges lead elsewhere, all have other weights."""
    edges = network.weights.tocoo()
    rows = edges.row.copy()
    moved = rng.random(rows.size) < rewired
    rows[moved] = rng.integers(0, network.n_genes, int(moved.sum()))
    values = edges.data * np.exp(rng.normal(0.0, 0.3, rows.size))
    values *= np.where(rng.random(rows.size) < 0.05, -1.0, 1.0)
    weights = sparse.csr_array((values.astype(np.float32), (rows, edges.col)), network.weights.shape)
    return replace(network, weights=weights)


def _expected_changes(
    network: RegulatoryNetwork, genes: np.ndarray, perturbed: np.ndarray, rng: np.random.Generator, cells: int
) -> np.ndarray:
    """Standardised change of all genes after each knockdown: expected, and the error of so many cells."""
    drive = np.zeros((network.n_genes, perturbed.size), dtype=np.float32)
    drive[genes[perturbed], np.arange(perturbed.size)] = REFERENCE_STRENGTH
    kept = np.ones((network.regulators.size, perturbed.size), dtype=np.float32)
    change = steady_state(network, drive, kept)[genes].T  # perturbed x genes
    shared = (network.programmes[:, genes] ** 2).sum(axis=0)
    spread = network.noise[genes] ** 2 + shared + network.dispersion[genes] + np.exp(-network.baseline[genes])
    return change / np.sqrt(spread * 2.0 / cells) + rng.standard_normal(change.shape)


def _simulated_changes(
    network: RegulatoryNetwork, genes: np.ndarray, perturbed: np.ndarray, rng: np.random.Generator, cells: int
) -> np.ndarray:
    """Welch's t of all genes after a knockdown of each, from counts of a screen."""
    perturbations = [draw_perturbation("knockdown", genes[[gene]], cells, rng) for gene in perturbed]
    counts = simulate_counts(network, perturbations, REFERENCE_CONTROLS, draw_technical(rng), rng)
    measured = counts.counts[:, genes]
    values = log_normalise(measured, measured.sum(axis=1))
    control = values[counts.group < 0]
    mean, error = control.mean(axis=0), control.var(axis=0, ddof=1) / len(control)
    change = np.zeros((perturbed.size, genes.size))
    for row in range(perturbed.size):
        found = values[counts.group == row]
        difference = found.mean(axis=0) - mean
        change[row] = difference / np.sqrt(error + found.var(axis=0, ddof=1) / len(found) + 1e-9)
    return change
