"""Regulatory networks: their steady state on networks small enough to solve by hand, and their draws."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy import sparse

from cdn_sc.simulate.counts import Technical, draw_technical, log_normalise, simulate_counts
from cdn_sc.simulate.perturbation import KINDS, Perturbation, choose_targets, draw_perturbation
from cdn_sc.simulate.regulation import RegulatoryNetwork, draw_network, response, steady_state


def chain(weights, n_genes=3, baseline=2.0, dispersion=0.05, noise=0.0):
    """Gene 0 regulates 1, gene 1 regulates 2, and so on, with these weights."""
    dense = np.zeros((n_genes, n_genes - 1), dtype=np.float32)
    dense[np.arange(1, n_genes), np.arange(n_genes - 1)] = weights
    return RegulatoryNetwork(
        regulators=np.arange(n_genes - 1),
        weights=sparse.csr_array(dense),
        activity=np.ones(n_genes - 1, dtype=np.float32),
        baseline=np.full(n_genes, baseline, dtype=np.float32),
        noise=np.full(n_genes, noise, dtype=np.float32),
        programmes=np.zeros((0, n_genes), dtype=np.float32),
        dispersion=np.full(n_genes, dispersion, dtype=np.float32),
    )


def test_response():
    assert response(np.array(0.0)) == 0
    assert response(np.array(50.0)) == pytest.approx(2)
    assert response(np.array(-50.0)) == pytest.approx(-2)
    assert (response(np.array(1e-4)) / 1e-4) == pytest.approx(1, abs=1e-6)


def test_steady_state_of_a_chain():
    network = chain([0.8, -0.5])
    drive, kept = np.zeros((3, 3), dtype=np.float32), np.ones((2, 3), dtype=np.float32)
    drive[0, 1] = -2.0  # a knockdown of gene 0
    kept[0, 2] = 0.0  # an inhibitor of gene 0
    state = steady_state(network, drive, kept)
    np.testing.assert_allclose(state[:, 0], 0, atol=1e-6)
    first = 0.8 * (response(-2.0 + 1.0) - response(1.0))
    np.testing.assert_allclose(state[:2, 1], [-2.0, first], rtol=1e-5)
    assert state[2, 1] == pytest.approx(-0.5 * (response(first + 1.0) - response(1.0)), rel=1e-5)
    assert state[0, 2] == 0  # the transcript does not move
    assert state[1, 2] == pytest.approx(-0.8 * response(1.0), rel=1e-5)
    assert state[2, 2] > 0  # released from repression


def test_steady_state_is_a_fixed_point():
    rng = np.random.default_rng(0)
    network = draw_network(60, rng)
    drive = rng.normal(0, 0.3, (60, 4)).astype(np.float32)
    kept = np.ones((network.regulators.size, 4), dtype=np.float32)
    state = steady_state(network, drive, kept)
    level = network.activity[:, None]
    effect = response(state[network.regulators] + level) - response(level)
    np.testing.assert_allclose(network.weights @ effect + drive, state, atol=0.02)
    np.testing.assert_array_equal(steady_state(network, 100 * np.ones_like(drive), kept).max(), 5.0)


@pytest.mark.parametrize("seed", range(5))
def test_drawn_networks(seed):
    network = draw_network(80, np.random.default_rng(seed), edges_per_gene=2.0)
    graph = network.graph()
    assert not graph.diagonal().any()
    assert 0.5 < graph.sum() / 80 < 3
    np.testing.assert_array_equal(network.out_degree(), graph.sum(axis=1))
    # loops do not amplify: the gain of the absolute weights among regulators stays below 1
    among = np.abs(network.weights.toarray()[network.regulators])
    assert np.abs(np.linalg.eigvals(among)).max() < 0.8
    assert (network.noise > 0).all()
    assert (network.dispersion > 0).all()


def test_too_few_genes():
    with pytest.raises(ValueError, match=r"n_genes is 4; .* at least 5 genes"):
        draw_network(4, np.random.default_rng(0))


@pytest.mark.parametrize("kind", KINDS)
def test_strengths_of_each_kind(kind):
    rng = np.random.default_rng(0)
    drawn = draw_perturbation(kind, np.arange(200), 10, rng)
    fold, lost = np.exp(drawn.strength), drawn.activity_lost
    low, high = {
        "knockdown": (0.05, 0.4),
        "activation": (2, 10),
        "knockout": (0.3, 0.95),
        "activity": (1, 1),
    }[kind]
    assert (fold >= low - 1e-9).all()
    assert (fold <= high + 1e-9).all()
    if kind in ("knockdown", "activation"):
        assert (lost == 0).all()
    else:
        assert lost.min() >= 0.7
        assert lost.max() <= 1
    assert 0.6 <= drawn.penetrance <= 1
    assert draw_perturbation(kind, np.arange(2), 10, rng, penetrance=0.25).penetrance == 0.25


def test_unknown_kind():
    with pytest.raises(ValueError, match="unknown kind of perturbation 'drug'; known: knockdown, activation"):
        draw_perturbation("drug", np.arange(1), 5, np.random.default_rng(0))


def test_inhibited_genes_are_regulators():
    rng = np.random.default_rng(1)
    network = draw_network(60, rng, edges_per_gene=3.0)
    everything = np.ones(60, dtype=bool)
    for _ in range(20):
        (target,) = choose_targets(network, "activity", 1, everything, rng)
        assert network.out_degree()[target] >= 3
    eligible = np.arange(60) < 3
    assert set(choose_targets(network, "knockdown", 5, eligible, rng).tolist()) == {0, 1, 2}


def test_counts_have_the_negative_binomial_mean_and_variance():
    network = chain([0.0, 0.0], dispersion=0.2)
    technical = Technical(
        depth_spread=0.0, poor_cells=0.0, n_batches=1, batch_spread=0.0, response_spread=0.0
    )
    drawn = simulate_counts(network, [], 20_000, technical, np.random.default_rng(0))
    mean = np.exp(2.0)
    np.testing.assert_allclose(drawn.counts.mean(axis=0), mean, rtol=0.02)
    np.testing.assert_allclose(drawn.counts.var(axis=0), mean + 0.2 * mean**2, rtol=0.05)
    assert (drawn.depth == 1).all()
    assert (drawn.group == -1).all()


def test_counts_of_perturbed_cells():
    network = chain([0.9, 0.9])
    hit = np.array([0])
    groups = [
        Perturbation("knockdown", hit, np.log([0.1]), np.zeros(1), 1.0, 3000),
        Perturbation("activity", hit, np.zeros(1), np.ones(1), 0.5, 3000),
    ]
    drawn = simulate_counts(network, groups, 3000, Technical(0.0, 0.0, 1, 0.0, 0.0), np.random.default_rng(0))
    means = [drawn.counts[drawn.group == g].mean(axis=0) for g in (-1, 0, 1)]
    assert means[1][0] == pytest.approx(0.1 * means[0][0], rel=0.1)
    assert means[1][1] < 0.5 * means[0][1]
    assert means[2][0] == pytest.approx(means[0][0], rel=0.05)
    assert drawn.responds[drawn.group == 1].mean() == pytest.approx(0.5, abs=0.04)
    inhibited = drawn.counts[(drawn.group == 1) & drawn.responds].mean(axis=0)
    assert inhibited[1] == pytest.approx(means[0][1] * np.exp(-0.9 * response(1.0)), rel=0.05)
    spared = drawn.counts[(drawn.group == 1) & ~drawn.responds].mean(axis=0)
    np.testing.assert_allclose(spared, means[0], rtol=0.08)


def test_technical_variation_is_drawn():
    drawn = [draw_technical(np.random.default_rng(seed)) for seed in range(30)]
    assert {t.n_batches for t in drawn} == {1, 2, 3, 4}
    assert 0.0 in {t.response_spread for t in drawn}
    assert all(0.15 <= t.depth_spread <= 0.5 for t in drawn)


def test_log_normalise():
    counts = np.array([[1, 3], [2, 6], [0, 0]], dtype=np.float32)
    found = log_normalise(counts, counts.sum(axis=1), scale=2.0)
    # median total 4: the second cell is halved; a cell of nothing divides by 1
    np.testing.assert_allclose(found, np.log1p([[2, 6], [2, 6], [0, 0]]), rtol=1e-6)
    assert found.dtype == np.float32


def test_an_inhibited_gene_regulates_three_genes_where_there_are_such():
    """Out of regulators of one, two, three and five genes; the others where no better one is eligible."""
    degrees = np.zeros(20, dtype=int)
    degrees[:4] = 1, 2, 3, 5
    network = SimpleNamespace(n_genes=20, out_degree=lambda: degrees)
    rng = np.random.default_rng(0)
    everyone = np.ones(20, dtype=bool)
    drawn = [int(choose_targets(network, "activity", 1, everyone, rng)[0]) for _ in range(300)]
    assert set(drawn) == {2, 3}
    # more genes, more often: as the root of their number
    assert np.mean(np.array(drawn) == 3) == pytest.approx(5**0.5 / (5**0.5 + 3**0.5), abs=0.1)
    weak = [int(choose_targets(network, "activity", 1, degrees < 3, rng)[0]) for _ in range(300)]
    assert set(weak) >= {0, 1}
    assert np.isin(weak, [0, 1]).mean() > 0.95
