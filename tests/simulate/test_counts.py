"""Counts of a simulated screen: what moves which cells, and how strongly."""

from dataclasses import replace

import numpy as np
import pytest

from cdn_sc.simulate.counts import (
    Technical,
    draw_technical,
    measure_samples,
    simulate_counts,
    simulate_states,
)
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


def test_wide_perturbations_reach_further():
    rng = np.random.default_rng(0)
    drawn = {
        kind: [draw_perturbation(kind, np.array([3]), 50, rng, wide=True) for _ in range(400)]
        for kind in ("activity", "knockout", "knockdown", "activation")
    }
    strength, lost = (
        {kind: np.array([getattr(p, name)[0] for p in of_kind]) for kind, of_kind in drawn.items()}
        for name in ("strength", "activity_lost")
    )
    # inhibitors and agonists, with feedback on their own transcript or without, either way
    assert (lost["activity"] < 0).mean() == pytest.approx(0.25, abs=0.08)
    assert lost["activity"].min() < -1.5
    assert lost["activity"].max() <= 1
    assert (strength["activity"] == 0).mean() == pytest.approx(0.5, abs=0.08)
    assert (strength["activity"] > 0.5).any()
    assert (strength["activity"] < -0.5).any()
    grew = np.array([p.directions[0] for p in drawn["activity"]])
    np.testing.assert_array_equal(grew, np.where(lost["activity"] < 0, 1, -1))
    # some knockouts leave no transcript; some knockdowns leave most of it
    assert (strength["knockout"] < np.log(0.06)).mean() == pytest.approx(1 / 3, abs=0.1)
    assert (strength["knockdown"] > np.log(0.7)).mean() == pytest.approx(0.2, abs=0.08)
    for kind, direction in (("knockout", -1), ("knockdown", -1), ("activation", 1)):
        assert {p.directions[0] for p in drawn[kind]} == {direction}


def test_wide_screens_differ_in_shares_of_batches_and_types():
    rng = np.random.default_rng(0)
    drawn = [draw_technical(rng, wide=True) for _ in range(300)]
    assert np.mean([t.evenness is not None for t in drawn]) == pytest.approx(0.5, abs=0.1)
    assert np.mean([len(t.type_shares) > 1 for t in drawn]) == pytest.approx(1 / 3, abs=0.1)
    assert all(sum(t.type_shares) == pytest.approx(1) for t in drawn)


@pytest.mark.parametrize("evenness", [None, 5.0])
def test_shares_of_batches_by_arm(network, evenness):
    technical = replace(PLAIN, n_batches=3, evenness=evenness)
    found = counts_of(network, technical)
    shares = np.array([np.bincount(found.batch[found.group == g], minlength=3) for g in (-1, 0, 1)])
    shares = shares / shares.sum(axis=1, keepdims=True)
    spread = np.ptp(shares, axis=0).max()
    assert spread < 0.12 if evenness is None else spread > 0.15


def test_cell_types_differ_in_some_genes(network):
    """A third of the genes; all arms have both types."""
    technical = replace(PLAIN, type_shares=(0.5, 0.5), type_spread=1.5)
    plain, mixed = (
        simulate_states(network, [nothing(300)], N_CONTROL, each, np.random.default_rng(1)).state
        for each in (replace(technical, type_shares=(1.0,)), technical)
    )
    widened = mixed[:, :N_CONTROL].std(axis=1) > 1.5 * plain[:, :N_CONTROL].std(axis=1)
    assert 0.2 < widened.mean() < 0.95
    first = np.argmax(mixed.std(axis=1))
    for arm in (slice(0, N_CONTROL), slice(N_CONTROL, None)):
        assert 0.3 < (mixed[first, arm] > np.median(mixed[first])).mean() < 0.7


def test_samples_vary_less_than_cells(network):
    cells, samples = (
        simulate_states(
            network, [nothing(50)], N_CONTROL, PLAIN, np.random.default_rng(2), own_variation=share
        ).state
        for share in (1.0, 0.2)
    )
    ratio = samples.std(axis=1) / cells.std(axis=1)
    assert np.median(ratio) == pytest.approx(0.2, abs=0.08)


def test_measured_samples_are_logarithms(network):
    """Some below 0, none exactly 0; the genes' order is that of their states."""
    states = simulate_states(network, [nothing(5)], 8, PLAIN, np.random.default_rng(3), own_variation=0.3)
    found = [measure_samples(network, states, np.random.default_rng(seed)) for seed in range(12)]
    assert all(values.shape == (13, 60) for values in found)
    assert all(values.dtype == np.float32 for values in found)
    assert all((values != 0).all() for values in found)
    assert any((values < 0).any() for values in found)
    first = [np.corrcoef(values.ravel(), states.state.T.ravel())[0, 1] for values in found]
    assert max(first) > 0.5
