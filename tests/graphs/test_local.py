"""The local causal edges of one gene in two arms."""

import numpy as np
import pytest

from cdn_sc.graphs.local import local_edges
from cdn_sc.graphs.sample import sample_arm
from cdn_sc.graphs.tokens import EDGES, NO_EDGE


def arm(n_cells, seed, *, weight=1.0, n_genes=20):
    """Gene 0 drives gene 1 (with this weight) and gene 2; all others are noise."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n_cells, n_genes))
    values[:, 1] += weight * values[:, 0]
    values[:, 2] += values[:, 0]
    return values.astype(np.float32)


def edges(control, perturbed, *, gene=0, n_subsets=120, n_shuffles=39, seed=0):
    rng = np.random.default_rng(seed)
    return local_edges(control, perturbed, gene, n_subsets=n_subsets, n_shuffles=n_shuffles, rng=rng)


def shares(found):
    """Share of the subsets with an edge, arms x neighbours."""
    return found.seen[:, :, NO_EDGE + 1 :].sum(axis=2) / found.subsets


def test_an_edge_that_is_lost_and_one_that_is_kept():
    found = edges(arm(400, 0), arm(200, 1, weight=0))
    share = dict(zip(found.neighbours, shares(found).T, strict=True))
    assert share[1][0] > 0.9
    assert share[1][1] < 0.3
    assert min(share[2]) > 0.9
    chance = dict(zip(found.neighbours, found.chance, strict=True))
    assert chance[1] <= 0.05
    assert chance[2] > 0.3


def test_labels_as_they_are_count_as_one_shuffle():
    found = edges(arm(400, 0), arm(400, 1, weight=0), n_shuffles=19)
    chance = dict(zip(found.neighbours, found.chance, strict=True))
    assert chance[1] == pytest.approx(1 / 20)
    twice = np.rint(found.chance * 20)
    np.testing.assert_allclose(found.chance, twice / 20)
    assert found.chance.max() <= 1
    same = edges(arm(100, 0), arm(100, 0), n_shuffles=19)
    assert same.chance[(shares(same) == 0).all(axis=0)] == pytest.approx(1)


def test_counts():
    found = edges(arm(100, 0), arm(80, 1), n_shuffles=0)
    assert found.neighbours.tolist() == list(range(1, 20))
    assert found.subsets.sum() == 4 * 120
    np.testing.assert_array_equal(found.seen.sum(axis=2), [found.subsets] * 2)
    assert found.seen.shape == (2, 19, len(EDGES))
    assert (found.seen[:, :, 0] == 0).all()
    assert np.isnan(found.chance).all()


def test_ends_are_seen_from_the_gene():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(2000, 5))
    values[:, 2] += values[:, 0] + values[:, 1]  # 0 and 1 meet in 2, so that their edges point to it
    found = edges(values, values, gene=2, n_subsets=10, n_shuffles=0)
    into = found.seen[:, found.neighbours.searchsorted([0, 1]), EDGES.index("<-o")]
    assert (into >= 7).all()
    found = edges(values, values, n_subsets=10, n_shuffles=0)
    assert (found.seen[:, found.neighbours.searchsorted(2), EDGES.index("o->")] >= 7).all()


def test_a_larger_arm_does_not_show_more_edges_for_that():
    control, perturbed = arm(3000, 0, weight=0.25), arm(60, 1, weight=0.25)
    found = edges(control, perturbed, n_shuffles=0)
    alike = edges(control[:60], perturbed, n_shuffles=0)
    power = shares(edges(control, control, n_shuffles=0))[0, 0]
    assert power > 0.9
    assert shares(found)[0, 0] < 0.8
    assert abs(shares(found)[0].mean() - shares(alike)[0].mean()) < 0.1


def test_nothing_changed_is_rarely_called_a_change():
    small = [
        edges(arm(150, 2 * seed), arm(100, 2 * seed + 1), n_subsets=60, seed=seed).chance <= 0.05
        for seed in range(12)
    ]
    assert np.concatenate(small).mean() < 0.08


def test_a_shift_of_means_alone_is_no_change():
    control, perturbed = arm(200, 0, weight=0), arm(200, 1, weight=0)
    same = edges(control, perturbed)
    shifted = edges(control, perturbed + np.float32(5))
    np.testing.assert_allclose(shares(shifted), shares(same), atol=0.02)
    np.testing.assert_allclose(shifted.chance, same.chance, atol=0.15)


def test_same_seed_same_edges():
    one, two = (edges(arm(100, 0), arm(80, 1), n_shuffles=5) for _ in range(2))
    np.testing.assert_array_equal(one.seen, two.seen)
    np.testing.assert_array_equal(one.chance, two.chance)
    other = edges(arm(100, 0), arm(80, 1), n_shuffles=5, seed=1)
    assert (one.subsets != other.subsets).any()


def test_a_gene_that_is_silent_in_one_arm_has_no_edges_there():
    perturbed = arm(100, 1)
    perturbed[:, 0] = 0
    found = edges(arm(100, 0), perturbed)
    assert shares(found)[1].max() == 0
    assert shares(found)[0].max() > 0.9


def test_bad_input():
    values = arm(50, 0)
    with pytest.raises(ValueError, match="n_subsets must be at least 2"):
        edges(values, values, n_subsets=1)
    with pytest.raises(ValueError, match="focus must be a column from 0 to 19, got 20"):
        edges(values, values, gene=20)
    with pytest.raises(ValueError, match="NaN"):
        edges(np.where(values > 3, np.nan, values) * np.nan, values)


def test_focus_is_first_in_every_subset_and_the_others_follow_the_law():
    values = arm(300, 0)
    genes = sample_arm(values, 400, np.random.default_rng(0), focus=7).genes
    assert (genes[:, 0] == 7).all()
    assert all(len(set(subset)) == 5 for subset in genes.tolist())
    # Half of the subsets go by correlation, of which gene 0 has most with 1 and 2.
    genes = sample_arm(values, 400, np.random.default_rng(0), focus=0).genes
    counts = np.bincount(genes[:, 1:].ravel(), minlength=20)
    assert counts[[1, 2]].min() > counts[3:].max()
    assert counts[3:].min() > 0
