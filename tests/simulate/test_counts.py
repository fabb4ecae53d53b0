"""Counts of a simulated screen: what moves which cells, and how strongly."""

from dataclasses import replace

import numpy as np
import pytest

from cdn_sc.simulate.counts import Technical, draw_technical, simulate_counts
from cdn_sc.simulate.perturbation import Perturbation, draw_perturbation
from cdn_sc.simulate.regulation import draw_network

N_CONTROL = 400
PLAIN = Technical(depth_spread=0.3, poor_cells=0.5, n_batches=2, batch_spread=0.1, response_spread=0.0)


@pytest.fixture(scope="module")
def network():
    rng = np.random.default_rng(4)
    network = draw_network(60, rng, strength=0.6, depth=0.4)
    while not len(network.programmes):
        network = draw_network(60, rng, strength=0.6, depth=0.4)
    return network


def nothing(n_cells):
    return Perturbation("inactive", np.zeros(0, int), np.zeros(0), np.zeros(0), 0.0, n_cells)


def counts_of(network, technical, perturbations=None, seed=0):
    given = [nothing(300), nothing(300)] if perturbations is None else perturbations
    return simulate_counts(network, given, N_CONTROL, technical, np.random.default_rng(seed))


def test_an_unspecific_response_leaves_the_control_alone(network):
    before = counts_of(network, PLAIN).counts
    after = counts_of(network, replace(PLAIN, response_spread=2.0)).counts
    np.testing.assert_array_equal(after[:N_CONTROL], before[:N_CONTROL])
    for group in (slice(N_CONTROL, N_CONTROL + 300), slice(N_CONTROL + 300, None)):
        assert np.mean(after[group] != before[group]) > 0.02
        # the whole group moves along the programmes
        change = np.log(after[group].mean(axis=0) + 0.1) - np.log(before[group].mean(axis=0) + 0.1)
        touched = (network.programmes != 0).any(axis=0)
        assert np.abs(change[touched]).mean() > 3 * np.abs(change[~touched]).mean()


def test_a_perturbation_acts_on_its_own_cells_alone(network):
    before = counts_of(network, PLAIN)
    own = before.group == 1
    gene = int(np.argmax(before.counts[own].mean(axis=0)))
    hit = Perturbation("knockdown", np.array([gene]), np.log([0.05]), np.zeros(1), 1.0, 300)
    after = counts_of(network, PLAIN, [nothing(300), hit])
    np.testing.assert_array_equal(after.responds, own)
    np.testing.assert_array_equal(after.counts[~own], before.counts[~own])
    assert after.counts[own, gene].mean() < 0.3 * before.counts[own, gene].mean()


def test_layout(network):
    found = counts_of(network, PLAIN, [nothing(30), nothing(20)])
    assert found.counts.shape == (N_CONTROL + 50, 60)
    assert found.group.tolist() == [-1] * N_CONTROL + [0] * 30 + [1] * 20
    assert set(found.batch) == {0, 1}
    # median depth 1, spread as asked for
    many = simulate_counts(network, [], 20000, PLAIN, np.random.default_rng(0))
    assert np.median(many.depth) == pytest.approx(1, abs=0.03)
    assert np.log(many.depth).std() == pytest.approx(0.3, abs=0.01)


def test_technical_variation_lies_in_its_ranges():
    drawn = [draw_technical(np.random.default_rng(seed)) for seed in range(200)]
    for name, low, high in (
        ("depth_spread", 0.15, 0.5), ("poor_cells", 0, 1), ("n_batches", 1, 4), ("batch_spread", 0, 0.15),
        ("response_spread", 0, 1),
    ):  # fmt: skip
        values = np.array([getattr(one, name) for one in drawn])
        assert low <= values.min() < low + 0.1 * (high - low) + 1e-9, name
        assert high - 0.1 * (high - low) - 1e-9 < values.max() <= high, name
    assert np.mean([one.response_spread == 0 for one in drawn]) == pytest.approx(0.5, abs=0.12)


@pytest.mark.parametrize(
    ("kind", "weakest", "strongest"),
    [
        ("knockdown", (0.4, 0.0), (0.05, 0.0)),
        ("activation", (2.0, 0.0), (10.0, 0.0)),
        ("knockout", (0.95, 0.8), (0.3, 1.0)),
        ("activity", (1.0, 0.7), (1.0, 1.0)),
    ],
)
def test_strengths_of_a_kind(kind, weakest, strongest):
    """Fold change of transcription, and share of the activity that is lost."""
    rng = np.random.default_rng(0)
    targets = np.arange(2)
    for effect, (fold, lost) in ((0, weakest), (1, strongest)):
        drawn = draw_perturbation(kind, targets, 10, rng, effect=effect)
        np.testing.assert_allclose(np.exp(drawn.strength), fold)
        np.testing.assert_allclose(drawn.activity_lost, lost)
        assert 0.6 <= drawn.penetrance <= 1
    assert len(set(draw_perturbation(kind, np.arange(9), 10, rng).strength)) == (
        9 if kind != "activity" else 1
    )
