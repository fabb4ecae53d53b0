from collections import Counter
from itertools import permutations

import numpy as np
import pytest
from scipy.stats import chi2_contingency, chisquare

from cdn_sc.graphs import sample as module
from cdn_sc.graphs.estimate import pearson_correlation
from cdn_sc.graphs.sample import global_statistics, sample_arm

CASES = ["case_0_n6", "case_1_n10", "case_2_n20", "case_3_n50", "case_4_n120"]


def correlated(n_cells: int, n_genes: int, seed: int = 0) -> np.ndarray:
    """Cells whose genes correlate strongly with their neighbours, hardly with the others."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(n_cells, n_genes + 1))
    return (noise[:, 1:] + 0.9 * noise[:, :-1]).astype(np.float32)


# The law of the draw, written down plainly --------------------------------------------------------------


def probabilities(score: np.ndarray, met: np.ndarray, chosen: list[int]) -> np.ndarray:
    """Return the probability of each gene to come next, from the N x N matrix."""
    matrix = score / np.sqrt(1 + met)
    weights = matrix[chosen].sum(axis=0) if chosen else matrix.sum(axis=0)
    weights[chosen] = 0
    return weights / weights.sum()


def score_matrix(values: np.ndarray, by_correlation: bool) -> np.ndarray:
    n_genes = values.shape[1]
    score = np.abs(np.corrcoef(values.T.astype(float))) if by_correlation else np.ones((n_genes, n_genes))
    np.fill_diagonal(score, 0)
    return score


def probability_of(genes: tuple[int, ...], score: np.ndarray, met: np.ndarray) -> float:
    drawn = [probabilities(score, met, list(genes[:place]))[gene] for place, gene in enumerate(genes)]
    return float(np.prod(drawn))


def reference_subsets(values: np.ndarray, n_subsets: int, rng: np.random.Generator) -> list[list[int]]:
    """Subsets of one arm with at most 500 cells, where every draw takes all cells."""
    n_genes = values.shape[1]
    met = np.zeros((n_genes, n_genes))
    scores = [score_matrix(values, by_correlation) for by_correlation in (False, True)]
    subsets = []
    for t in range(n_subsets):
        chosen: list[int] = []
        for _ in range(5):
            score = scores[t >= (n_subsets + 1) // 2]
            chosen.append(int(rng.choice(n_genes, p=probabilities(score, met, chosen))))
        met[np.ix_(chosen, chosen)] += 1
        subsets.append(chosen)
    return subsets


def membership_of(met: np.ndarray) -> np.ndarray:
    """Bits that say in which earlier subsets each gene was, if each of those held one pair."""
    pairs = [(i, j) for i in range(len(met)) for j in range(i) for _ in range(met[i, j])]
    membership = np.zeros((len(met), 1 + len(pairs) // 63), np.int64)
    for subset, pair in enumerate(pairs):
        membership[list(pair), subset // 63] |= 1 << (subset % 63)
    return membership


# Draws --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by_correlation", [False, True])
def test_law_of_one_subset(by_correlation):
    values = correlated(100, 6)
    by_gene = np.ascontiguousarray(values.T)
    met = np.random.default_rng(1).integers(0, 20, size=(6, 6)).astype(np.int32)
    met += met.T
    score = score_matrix(values, by_correlation)
    orders = list(permutations(range(6), 3))
    expected = np.array([probability_of(genes, score, met) for genes in orders])
    np.testing.assert_allclose(expected.sum(), 1)

    rng, n_draws = np.random.default_rng(2), 40_000
    cells, scratch, genes = np.arange(100), np.empty((6, 100), np.float32), np.zeros(3, np.int64)
    counts: Counter = Counter()
    membership = membership_of(met)
    for _ in range(n_draws):
        module._draw_genes(by_gene, cells, by_correlation, membership, rng, scratch, -1, genes)
        counts[tuple(genes.tolist())] += 1
    observed = np.array([counts[genes] for genes in orders])
    assert chisquare(observed, n_draws * expected).pvalue > 0.001
    # The test has the power to tell this law from that without the earlier meetings.
    unweighted = np.array([probability_of(genes, score, np.zeros((6, 6))) for genes in orders])
    assert chisquare(observed, n_draws * unweighted).pvalue < 1e-6


@pytest.mark.parametrize("chosen", [[], [4], [2, 0]])
@pytest.mark.parametrize("by_correlation", [False, True])
def test_law_when_enumerated(by_correlation, chosen):
    values = correlated(100, 6)
    by_gene = np.ascontiguousarray(values.T)
    met = np.arange(36, dtype=np.int32).reshape(6, 6)
    met += met.T
    expected = probabilities(score_matrix(values, by_correlation), met, chosen)
    rng, n_draws = np.random.default_rng(3), 20_000
    drawn = np.zeros(6, bool)
    drawn[chosen] = True
    scratch, state = np.empty((6, 100), np.float32), np.zeros(6, np.int8)
    arguments = (drawn, by_gene, np.arange(100), by_correlation, membership_of(met), rng, scratch, state)
    draws = [module._draw_enumerated(np.array(chosen, np.int64), *arguments) for _ in range(n_draws)]
    observed = np.bincount(draws, minlength=6)
    assert not observed[chosen].any()
    left = ~drawn
    assert chisquare(observed[left], n_draws * expected[left]).pvalue > 0.001


def test_law_of_a_whole_arm():
    values = correlated(60, 7)
    n_arms, n_subsets = 3000, 4
    rng = np.random.default_rng(4)
    ours = Counter(tuple(np.sort(sample_arm(values, n_subsets, rng).genes[-1])) for _ in range(n_arms))
    theirs = Counter(tuple(sorted(reference_subsets(values, n_subsets, rng)[-1])) for _ in range(n_arms))
    subsets = sorted(set(ours) | set(theirs))
    table = np.array([[counts[subset] for subset in subsets] for counts in (ours, theirs)])
    table = table[:, table.sum(axis=0) >= 10]
    assert chi2_contingency(table).pvalue > 0.001
    assert chisquare(table[0]).pvalue < 1e-6  # far from uniform


def test_correlation_score_prefers_correlated_genes():
    rng = np.random.default_rng(5)
    values = rng.normal(size=(300, 40)).astype(np.float32)
    values[:, :10] += 3 * rng.normal(size=(300, 1)).astype(np.float32)
    genes = sample_arm(values, 60, rng).genes
    in_module = (genes < 10).mean(axis=1)
    assert in_module[30:].mean() > 1.5 * in_module[:30].mean()


def test_shape_and_range_of_a_sample():
    values = correlated(700, 30)
    sample = sample_arm(values, 11, np.random.default_rng(6))
    assert sample.genes.shape == (11, 5)
    assert all(len(set(genes)) == 5 for genes in sample.genes.tolist())
    assert sample.genes.min() >= 0
    assert sample.genes.max() < 30
    assert sample.cells.shape == (11, 500)
    assert (np.diff(sample.cells, axis=1) > 0).all()
    assert sample.cells.max() < 700
    assert len({tuple(cells) for cells in sample.cells.tolist()}) == 11
    np.testing.assert_array_equal(sample.n_samples, 500)


def test_statistics_belong_to_the_cells_drawn():
    values = correlated(700, 8)
    values[:, 5] = 0.3
    sample = sample_arm(values, 5, np.random.default_rng(7))
    for subset, correlation in zip(sample.subset_values(values), sample.correlations, strict=True):
        np.testing.assert_allclose(correlation, pearson_correlation(subset), atol=1e-12)
    last_random = values[sample.cells[2]]
    correlation, mean_variance = global_statistics(last_random)
    np.testing.assert_array_equal(sample.correlation, correlation)
    np.testing.assert_array_equal(sample.mean_variance, mean_variance)


@pytest.mark.parametrize("n_cells", [600, 1500])
def test_every_cell_is_as_likely(n_cells):
    values = correlated(n_cells, 5)
    rng = np.random.default_rng(8)
    counts, together = np.zeros(n_cells), 0
    for _ in range(40):
        for cells in sample_arm(values, 10, rng).cells:
            assert (np.diff(cells) > 0).all()
            counts[cells] += 1
            together += np.isin([0, 1], cells).all()
    share = 500 / n_cells
    # 400 draws: binomial counts of each cell, and of a pair of cells hardly less than the square
    assert abs(((counts - 400 * share) ** 2).mean() / (400 * share * (1 - share)) - 1) < 0.3
    assert abs(together - 400 * share**2) < 4 * np.sqrt(400 * share**2 * (1 - share**2))


def test_meetings_are_counted():
    values = correlated(30, 8)
    genes = sample_arm(values, 200, np.random.default_rng(0)).genes
    met = np.array([[sum({i, j} <= set(subset) for subset in genes) for j in range(8)] for i in range(8)])
    membership = np.zeros((8, 4), np.int64)
    for t, subset in enumerate(genes):
        membership[subset, t // 63] |= 1 << (t % 63)
    counted = [[module._meetings(membership[i], membership[j]) for j in range(8)] for i in range(8)]
    np.testing.assert_array_equal(counted, met)


def test_same_state_same_sample():
    values = correlated(650, 20)
    first, again, other = (sample_arm(values, 6, np.random.default_rng(seed)) for seed in (9, 9, 10))
    np.testing.assert_array_equal(first.genes, again.genes)
    np.testing.assert_array_equal(first.cells, again.cells)
    assert (first.genes != other.genes).any()


def test_layout_and_type_do_not_matter():
    values = correlated(600, 12)
    expected = sample_arm(values, 6, np.random.default_rng(11))
    frozen = np.asfortranarray(values)
    frozen.flags.writeable = False
    for variant in (frozen, values.astype(np.float64), values.tolist()):
        sample = sample_arm(variant, 6, np.random.default_rng(11))
        np.testing.assert_array_equal(sample.genes, expected.genes)
        np.testing.assert_array_equal(sample.correlations, expected.correlations)


@pytest.mark.parametrize("n_genes", [2, 3, 4, 5])
def test_few_genes_are_all_taken(n_genes):
    sample = sample_arm(correlated(50, n_genes), 4, np.random.default_rng(12))
    np.testing.assert_array_equal(np.sort(sample.genes), np.tile(np.arange(n_genes), (4, 1)))
    assert sample.correlations.shape == (4, n_genes, n_genes)


@pytest.mark.parametrize("n_varying", [0, 1, 3])
def test_hardly_a_gene_varies(n_varying):
    values = np.full((30, 40), 0.1, np.float32)
    values[:, :n_varying] = correlated(30, n_varying)[:, :n_varying]
    sample = sample_arm(values, 12, np.random.default_rng(13))
    assert all(len(set(genes)) == 5 for genes in sample.genes.tolist())
    by_correlation = sample.genes[6:]
    if n_varying == 3:  # those that correlate come first, then the random score takes over
        np.testing.assert_array_equal(np.sort(by_correlation[:, :3]), np.tile([0, 1, 2], (6, 1)))
    assert len(np.unique(by_correlation)) > 10
    assert np.isnan(sample.correlations[:, -1, -1]).any()
    assert (np.diag(sample.correlation) == (np.arange(40) < n_varying)).all()


# Global statistics --------------------------------------------------------------------------------------


# The arms of at most 500 cells: of the others, the cells that were drawn are not on record.
@pytest.mark.parametrize(("case", "arm"), [("case_0_n6", "obs"), *((case, "int") for case in CASES)])
def test_published_statistics(shared_dir, case, arm):
    with np.load(shared_dir / "parity" / f"{case}.npz") as file:
        values = file[f"X_{arm}"]
        correlation, mean_variance = global_statistics(values)
        np.testing.assert_allclose(correlation, file[f"corr_{arm}"], atol=2e-7)
        np.testing.assert_allclose(mean_variance, file[f"mean_var_{arm}"], rtol=1e-6, atol=1e-6)


def test_statistics_of_a_constant_gene():
    values = correlated(40, 4)
    values[:, 1] = 0.1
    correlation, mean_variance = global_statistics(values)
    assert not correlation[1].any()
    assert not correlation[:, 1].any()
    np.testing.assert_array_equal(mean_variance[1], np.float32([0.1, 0]))
    np.testing.assert_allclose(mean_variance[0], [values[:, 0].mean(), values[:, 0].var()], rtol=1e-5)
    assert correlation.dtype == mean_variance.dtype == np.float32


@pytest.mark.parametrize(
    ("values", "n_subsets", "message"),
    [
        (np.ones(5), 2, "cells x genes"),
        (np.ones((5, 1)), 2, "at least 2"),
        (np.ones((1, 5)), 2, "at least 2"),
        (np.ones((5, 5)), 0, "n_subsets"),
        (np.full((5, 5), np.nan), 2, "NaN or infinity"),
        (np.full((5, 5), np.inf), 2, "NaN or infinity"),
    ],
)
def test_bad_arguments(values, n_subsets, message):
    with pytest.raises(ValueError, match=message):
        sample_arm(values, n_subsets, np.random.default_rng(0))


@pytest.mark.parametrize("n_genes", [6, 300])
@pytest.mark.parametrize("extreme", [1e-41, 1e18])
def test_values_at_the_ends_of_single_precision(n_genes, extreme):
    values = correlated(400, n_genes)
    values[:, 2] = 0
    values[7, 2], values[8, 2] = extreme, -extreme
    correlation, mean_variance = global_statistics(values)
    expected = np.corrcoef(values[:, :6].astype(float).T)
    np.testing.assert_allclose(correlation[:6, :6], expected, atol=1e-6)
    assert np.isfinite(mean_variance).all()
    sample = sample_arm(values, 40, np.random.default_rng(0), focus=2)
    drawn = sample.correlations[20:, 0, 1:]
    assert np.isfinite(drawn).all()
    assert (np.abs(drawn) > 0).all()


def test_standardised_whatever_the_size():
    values = np.array([3e38, -3e38, 0, 1e38, 0, 0], np.float32)
    expected = values.astype(float) - values.astype(float).mean()
    for precision in (np.float32, np.float64):
        result = np.empty(6, precision)
        mean, squares = module._standardise(values, np.arange(6), result)
        np.testing.assert_allclose(result, expected / np.linalg.norm(expected), atol=1e-6)
        np.testing.assert_allclose([mean, squares], [values.astype(float).mean(), (expected**2).sum()])
