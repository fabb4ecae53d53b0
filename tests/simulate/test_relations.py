"""Tables of known relations: as much of the truth as asked for, and as much else."""

import numpy as np
import pytest

from cdn_sc._known_relations import KnownRelations
from cdn_sc.simulate.regulation import draw_network
from cdn_sc.simulate.relations import TableQuality, draw_quality, draw_relations

N_GENES = 300


@pytest.fixture(scope="module")
def network():
    return draw_network(N_GENES, np.random.default_rng(0), strength=0.8, edges_per_gene=3.0, depth=0.0)


def drawn(network, seed=1, genes=None, **quality):
    genes = np.arange(N_GENES) if genes is None else genes
    return draw_relations(network, genes, np.random.default_rng(seed), TableQuality(**quality))


def true_weights(network):
    """Regulator x gene."""
    dense = np.zeros((N_GENES, N_GENES))
    dense[network.regulators] = network.weights.toarray().T
    return dense


@pytest.mark.parametrize("known", [0.2, 0.7])
@pytest.mark.parametrize("correct", [0.3, 0.6, 1.0])
def test_shares_are_those_asked_for(network, known, correct):
    found = drawn(network, known=known, correct=correct)
    truth = true_weights(network)
    right = truth[found.sources, found.targets] != 0
    assert right.sum() == pytest.approx(known * np.count_nonzero(truth), rel=0.2)
    assert right.mean() == pytest.approx(correct, abs=0.01)
    weights = truth[found.sources[right], found.targets[right]]
    agree = np.sign(weights) == np.sign(found.weights[right])
    assert agree.all()
    assert not (found.sources == found.targets).any()


def test_nothing_but_noise(network):
    found, as_many = drawn(network, known=0.5, correct=0.0), drawn(network, known=0.5, correct=1.0)
    truth = true_weights(network)
    assert len(found) == pytest.approx(len(as_many), rel=0.1)
    assert not truth[found.sources, found.targets].any()


def test_signs(network):
    truth = true_weights(network)
    unsigned = drawn(network, known=0.8, correct=1.0, unsigned=1.0)
    assert np.isnan(unsigned.weights).all()
    wrong = drawn(network, known=0.8, correct=1.0, wrong_sign=0.4)
    turned = np.sign(truth[wrong.sources, wrong.targets]) != np.sign(wrong.weights)
    assert turned.mean() == pytest.approx(0.4, abs=0.06)


def test_uneven_tables_know_hubs_better(network):
    truth = true_weights(network) != 0
    degree = truth.sum(axis=1)
    even, uneven = (
        np.bincount(drawn(network, known=0.4, correct=1.0, uneven=u).sources, minlength=N_GENES)
        for u in (0.0, 1.0)
    )
    hubs = degree >= np.quantile(degree[degree > 0], 0.9)
    few = (degree > 0) & (degree <= np.median(degree[degree > 0]))

    def share(found, of):
        return found[of].sum() / degree[of].sum()

    assert share(even, hubs) == pytest.approx(share(even, few), abs=0.12)
    assert share(uneven, hubs) > 1.5 * share(uneven, few)
    assert (uneven[degree > 0] == 0).mean() > (even[degree > 0] == 0).mean()


def test_a_part_of_the_genes(network):
    genes = np.random.default_rng(0).permutation(N_GENES)[:120]
    found = drawn(network, genes=genes, known=0.9, correct=1.0)
    truth = true_weights(network)
    assert found.n_genes == 120
    assert (truth[genes[found.sources], genes[found.targets]] != 0).all()
    assert len(found) == pytest.approx(0.9 * np.count_nonzero(truth[np.ix_(genes, genes)]), rel=0.15)


def test_a_reference_screen_says_what_responds(network):
    """Direct targets of strong edges first, with the sign of the regulation; less so where edges differ."""
    truth = true_weights(network)
    same, other = (drawn(network, known=1.0, reference=True, rewired=r, cells=400) for r in (0.0, 0.9))

    def strong_edges_found(found):
        table = np.zeros((N_GENES, N_GENES))
        table[found.sources, found.targets] = found.weights
        expressed = network.baseline > np.log(1.0)
        strong = (np.abs(truth) > 0.8) & expressed[None, :]
        return (np.sign(table[strong]) == np.sign(truth[strong])).mean()

    assert strong_edges_found(same) > 0.5
    assert strong_edges_found(same) > strong_edges_found(other) + 0.3
    # what responds to genes that regulate nothing is chance
    silent = np.setdiff1d(np.arange(N_GENES), network.regulators)
    noise = np.isin(same.sources, silent).sum() / (silent.size * N_GENES)
    assert noise == pytest.approx(0.0455, abs=0.01)


def test_a_simulated_reference_screen_says_the_same(network):
    """As its expectation with the error of so many cells."""
    genes = np.argsort(-network.baseline)[:80]
    quality = {"genes": genes, "known": 1.0, "reference": True, "cells": 200}
    expected, simulated = (drawn(network, **quality, simulated=each) for each in (False, True))
    tables = []
    for found in (expected, simulated):
        table = np.zeros((80, 80))
        table[found.sources, found.targets] = found.weights
        tables.append(table)
    strong = np.abs(tables[0]) > 8
    assert strong.sum() > 10
    assert (np.sign(tables[1][strong]) == np.sign(tables[0][strong])).mean() > 0.6


def test_the_network_is_left_alone(network):
    before = network.weights.copy()
    drawn(network, reference=True, rewired=0.5)
    assert (before != network.weights).nnz == 0


def test_qualities_differ():
    rng = np.random.default_rng(0)
    drawn_qualities = [draw_quality(rng) for _ in range(300)]
    assert {q.reference for q in drawn_qualities} == {True, False}
    assert min(q.known for q in drawn_qualities) < 0.2 < 0.8 < max(q.known for q in drawn_qualities)
    assert 0.05 < np.mean([q.correct == 0 for q in drawn_qualities]) < 0.2
    assert {0.0, 1.0} < {q.unsigned for q in drawn_qualities}


def test_entries_become_relations():
    found = KnownRelations.of_entries(
        5,
        np.array([0, 0, 0, 2, 3, 3, 1, 1]),
        np.array([1, 1, 2, 2, 4, 4, 0, 0]),
        np.array([1.0, 3.0, np.nan, 5.0, -1.0, 1.0, np.nan, -2.0]),
    )
    np.testing.assert_array_equal(found.sources, [0, 0, 1, 3])
    np.testing.assert_array_equal(found.targets, [1, 2, 0, 4])
    # the mean of what is known; opposite signs say nothing; no gene relates to itself
    np.testing.assert_array_equal(found.weights, [2.0, np.nan, -2.0, np.nan])
    assert len(found) == 4
    part = found.among(np.array([4, 3, 1]))
    np.testing.assert_array_equal([part.sources, part.targets], [[1], [0]])
