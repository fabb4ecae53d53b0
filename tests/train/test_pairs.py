"""Pairs that are given: every pair once an epoch, resume, early stopping, best weights."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from runs import SCM, assert_same_run, checkpoint, rows, run, tiny_config

from cdn_sc import models
from cdn_sc.errors import InputError
from cdn_sc.simulate import Pair, scm_pair
from cdn_sc.train import loop
from cdn_sc.train.data import draw_batch, validation_sets
from cdn_sc.train.pairs import GivenPairs, epoch_positions, with_fewer_cells


def some_pairs(number, seed=0):
    rng = np.random.default_rng(seed)
    return [scm_pair(rng, n_genes=(6, 8), n_control=(30, 40), n_perturbed=(20, 30)) for _ in range(number)]


def given_config(architecture="gene_transformer", **changes):
    return tiny_config(
        architecture, **({"sources": [{"type": "given"}], "max_pairs_per_batch": 2, "steps": 5} | changes)
    )


@pytest.fixture(scope="module")
def given():
    pairs = some_pairs(7)
    return GivenPairs(pairs[:5], pairs[5:])


@pytest.mark.parametrize(("n_pairs", "batch_size"), [(5, 2), (4, 2), (3, 7), (1, 1)])
def test_every_pair_comes_once_an_epoch(n_pairs, batch_size):
    n_steps = 4 * n_pairs
    drawn = np.concatenate([epoch_positions(n_pairs, batch_size, step, 3) for step in range(n_steps)])
    assert len(drawn) == n_steps * batch_size
    for epoch in drawn[: len(drawn) // n_pairs * n_pairs].reshape(-1, n_pairs):
        assert sorted(epoch) == list(range(n_pairs))


def test_epochs_and_seeds_have_orders_of_their_own():
    first, second = (epoch_positions(20, 20, step, 0) for step in (0, 1))
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, epoch_positions(20, 20, 0, 1))
    np.testing.assert_array_equal(first, epoch_positions(20, 20, 0, 0))


def test_batches_are_of_the_given_pairs(given):
    config = given_config()
    assert all(any(pair is known for known in given.training) for pair in draw_batch(config, 3, given))
    assert len(draw_batch(config, 0, given)) == 2
    (validation,) = validation_sets(config, given)
    assert [id(pair) for pair in validation] == [id(pair) for pair in given.validation]
    with pytest.raises(InputError, match=r"hand its pairs to train\(given=...\)"):
        draw_batch(config, 0)
    with pytest.raises(InputError, match="no pairs to learn from"):
        draw_batch(config, 0, GivenPairs([]))


def test_fewer_cells():
    (pair,) = some_pairs(1)
    n_cells = len(pair.perturbed)
    numbers = set()
    for seed in range(20):
        kept = with_fewer_cells(pair, 0.5, np.random.default_rng(seed))
        numbers.add(len(kept.perturbed))
        assert 0.5 * n_cells - 1 <= len(kept.perturbed) <= n_cells
        assert {row.tobytes() for row in kept.perturbed} <= {row.tobytes() for row in pair.perturbed}
        assert kept.control is pair.control
    assert len(numbers) > 4
    two = Pair(pair.control, pair.perturbed[:2], pair.targets)
    assert len(with_fewer_cells(two, 0.1, np.random.default_rng(0)).perturbed) == 2


def test_cells_are_drawn_anew_each_time(given):
    config = given_config(cells_kept=0.5, max_pairs_per_batch=5)
    sizes = [tuple(len(pair.perturbed) for pair in draw_batch(config, step, given)) for step in (0, 1, 0)]
    assert sizes[0] == sizes[2]
    assert sizes[0] != sizes[1]


@pytest.mark.parametrize("architecture", ["gene_transformer", "cdn"])
def test_run_on_given_pairs_goes_on_to_the_bit(given, tmp_path, architecture):
    config = given_config(architecture, select_by="auroc", cells_kept=0.7)
    run(config, tmp_path / "whole", given=given)
    for _ in range(6):
        run(config, tmp_path / "parts", given=given, max_seconds=0)
    assert checkpoint(tmp_path / "parts")["step"] == 5
    assert_same_run(tmp_path / "whole", tmp_path / "parts")
    best = [checkpoint(tmp_path / name) for name in ("whole", "parts")]
    assert best[0]["best_step"] == best[1]["best_step"]
    assert all(torch.equal(best[0]["best"][name], best[1]["best"][name]) for name in best[0]["best"])


def test_other_pairs_are_refused(given, tmp_path):
    config = given_config()
    run(config, tmp_path, given=given, max_seconds=0)
    fewer = GivenPairs(given.training[:4], given.validation)
    with pytest.raises(ValueError, match="a run on other pairs"):
        run(config, tmp_path, given=fewer)
    with pytest.raises(ValueError, match="workers = 0"):
        run(config, tmp_path, given=given, workers=1)


def scores_of(monkeypatch, scores):
    """Make each validation find the next of these scores; returns those that are left."""
    left = list(scores)

    def validate(network, pairs, device):
        score = left.pop(0)
        return {"auroc": np.array([score]), "map": np.array([1 - score])}

    monkeypatch.setattr(loop, "validate", validate)
    return left


def test_best_weights_are_exported(given, tmp_path, monkeypatch):
    config = given_config(select_by="auroc", validate_every=1)
    scores_of(monkeypatch, [0.5, 0.6, 0.9, 0.9, 0.2, 0.1])
    averages = {}
    whole = loop._TrainingState.validate

    def record(self):
        whole(self)
        averages[self.step] = {name: value.clone() for name, value in self.average.items()}

    monkeypatch.setattr(loop._TrainingState, "validate", record)
    path = run(config, tmp_path, given=given)
    network = models.load(path)
    training = network.card["training"]
    assert (training["best_step"], training["best_auroc"], training["steps"]) == (2, 0.9, 5)
    assert training["validations"]["validation_auroc"] == [0.5, 0.6, 0.9, 0.9, 0.2, 0.1]
    state = network.state_dict()
    assert all(torch.equal(state[name], value) for name, value in averages[2].items())
    assert not all(torch.equal(state[name], value) for name, value in averages[5].items())


def test_selection_by_map(given, tmp_path, monkeypatch):
    scores_of(monkeypatch, [0.5, 0.6, 0.9, 0.9, 0.2, 0.3])
    path = run(given_config(select_by="map", validate_every=1), tmp_path, given=given)
    assert models.load(path).card["training"]["best_step"] == 4


def test_the_start_is_kept_where_nothing_is_better(given, tmp_path, monkeypatch):
    start = models.load(run(given_config(name="start", steps=1), tmp_path / "start", given=given))
    scores_of(monkeypatch, [0.9, 0.8, 0.7, 0.6, 0.5, 0.4])
    path = run(given_config(select_by="auroc", validate_every=1), tmp_path / "run", given=given, start=start)
    network = models.load(path)
    assert network.card["training"]["best_step"] == 0
    assert all(torch.equal(start.state_dict()[k], v) for k, v in network.state_dict().items())


def test_run_without_selection_is_not_validated_at_the_start(given, tmp_path):
    run(given_config(), tmp_path, given=given)
    assert [row["step"] for row in rows(tmp_path)] == ["2", "4", "5"]


def test_early_stopping(given, tmp_path, monkeypatch):
    config = given_config(select_by="auroc", patience=2, validate_every=2, steps=40)
    left = scores_of(monkeypatch, [0.5, 0.9, 0.8, 0.7, 0.99])
    run(config, tmp_path, given=given)
    assert left == [0.99]
    assert [row["step"] for row in rows(tmp_path)] == ["0", "2", "4", "6"]
    assert checkpoint(tmp_path)["best_step"] == 2
    run(config, tmp_path, given=given)  # has ended: nothing more is trained or validated
    assert left == [0.99]
    assert len(rows(tmp_path)) == 4


def test_selection_needs_validation_pairs(given, tmp_path):
    config = given_config(select_by="auroc")
    with pytest.raises(InputError, match="validation pairs are missing"):
        run(config, tmp_path, given=GivenPairs(given.training))
    run(replace(config, select_by=""), tmp_path, given=GivenPairs(given.training))


def test_mixed_with_simulated_pairs(given, tmp_path):
    config = given_config(sources=[{"type": "given"}, *tiny_config().sources], validation_pairs=3)
    assert [len(pairs) for pairs in validation_sets(config, given)] == [2, 3, 3]
    known = {id(pair) for pair in given.training}
    is_given = [id(draw_batch(config, step, given)[0]) in known for step in range(40)]
    assert 0 < sum(is_given) < 40
    run(config, tmp_path, given=given)


def test_constant_learning_rate():
    config = tiny_config(schedule="constant", steps=100, warmup_steps=4, learning_rate=2.0)
    assert [loop.learning_rate(config, step) for step in (0, 1, 3, 50, 99)] == [0.5, 1.0, 2.0, 2.0, 2.0]


def test_epochs_beside_another_source():
    """Epochs go by the batches of these pairs, not by all steps: none is left out."""
    values = np.random.default_rng(0).normal(size=(12, 4, 3)).astype(np.float32)
    pairs = [Pair(value, value, np.array([0]), {"number": number}) for number, value in enumerate(values)]
    config = tiny_config(sources=[{"type": "given"}, SCM], max_pairs_per_batch=3, steps=60)
    drawn = {step: draw_batch(config, step, GivenPairs(pairs)) for step in reversed(range(40))}
    numbers = [
        pair.attributes["number"] for step in range(40) for pair in drawn[step] if "number" in pair.attributes
    ]
    assert 36 <= len(numbers) < 120
    for start in range(0, len(numbers) - 11, 12):
        assert sorted(numbers[start : start + 12]) == list(range(12))
