"""Batches: determined by seed and step, within their budget, from all sources."""

import numpy as np
import pytest
from runs import SCM, SCREEN, tiny_config

from cdn_sc.train import data
from cdn_sc.train.data import draw_batch, step_rng, validation_pairs


def same(first, second):
    return len(first) == len(second) and all(
        np.array_equal(a.control, b.control) and np.array_equal(a.targets, b.targets)
        for a, b in zip(first, second, strict=True)
    )


def test_batches_depend_on_seed_and_step_alone():
    config = tiny_config()
    later = draw_batch(config, 4)
    assert same(later, draw_batch(config, 4))
    assert not same(later, draw_batch(config, 5))
    assert not same(later, draw_batch(tiny_config(seed=1), 4))
    assert same(later, draw_batch(tiny_config(steps=50, learning_rate=1.0), 4))


def test_seed_spaces_differ():
    config = tiny_config()
    draws = {
        step_rng(config, space, 0).integers(2**60) for space in ("init", "train", "inputs", "validation")
    }
    assert len(draws) == 4


@pytest.mark.parametrize("source", [SCM, SCREEN])
def test_budget(source):
    config = tiny_config(sources=[source], genes_per_batch=33, max_pairs_per_batch=3)
    for step in range(8):
        pairs = draw_batch(config, step)
        (genes,) = {pair.control.shape[1] for pair in pairs}
        low, high = source["options"]["genes"]
        assert low <= genes <= high
        assert len(pairs) == min(33 // genes, 3)


def test_a_panel_larger_than_the_budget_makes_a_batch_of_one():
    assert len(draw_batch(tiny_config(genes_per_batch=3), 0)) == 1


def test_sources_take_turns_by_weight():
    config = tiny_config()
    kinds = ["kind" in draw_batch(config, step)[0].attributes for step in range(60)]
    assert np.mean(kinds) == pytest.approx(2 / 3, abs=0.17)


def test_control_cells_are_bounded():
    options = SCREEN["options"] | {"control_cells": [20, 10_000], "values": 400}
    config = tiny_config(sources=[SCREEN | {"options": options}])
    for step in range(6):
        for pair in draw_batch(config, step):
            assert pair.control.size <= 400 + pair.control.shape[1]


def test_some_batches_are_one_screen_of_very_many_genes():
    options = SCREEN["options"] | {
        "large": 0.3, "large_genes": [30, 60], "large_values": 3000, "groups": 8, "control_cells": [30, 5000],
        "values": 600,
    }  # fmt: skip
    config = tiny_config(sources=[SCREEN | {"options": options}], genes_per_batch=30, max_pairs_per_batch=3)
    large = []
    for step in range(60):
        pairs = draw_batch(config, step)
        (genes,) = {pair.control.shape[1] for pair in pairs}
        large.append(genes >= 30)
        # what they cost is known beforehand: few groups, which share all that the control cells say
        assert len(pairs) == (4 if large[-1] else 30 // genes)
        assert all(pair.control is pairs[0].control for pair in pairs)
        assert pairs[0].control.size <= (3000 if large[-1] else 600) + genes
        assert genes <= (60 if large[-1] else 10)
    assert np.mean(large) == pytest.approx(0.3, abs=0.15)
    without = tiny_config(sources=[SCREEN | {"options": options | {"large": 0.0}}])
    assert all(draw_batch(without, step)[0].control.shape[1] <= 10 for step in range(20))


def test_validation_set():
    config = tiny_config(validation_pairs=5)
    pairs = validation_pairs(config)
    assert ["kind" in pair.attributes for pair in pairs] == [False] * 5 + [True] * 5
    assert same(pairs, validation_pairs(tiny_config(validation_pairs=5, learning_rate=1.0)))
    first = validation_pairs(tiny_config(validation_pairs=1))
    assert same([pairs[0], pairs[5]], first)
    assert not any(np.array_equal(pairs[0].control, p.control) for p in draw_batch(config, 0))


def screens_of(monkeypatch, number=160, **options):
    """What the screens of training are asked for."""
    asked = []

    def spy(rng, **given):
        asked.append(given)
        return screen_pairs(rng, **given)

    screen_pairs = data.screen_pairs
    monkeypatch.setattr(data, "screen_pairs", spy)
    source = SCREEN | {"options": SCREEN["options"] | {"genes": [8, 8]} | options}
    config = tiny_config(sources=[source], genes_per_batch=8, max_pairs_per_batch=1)
    for step in range(number):
        (pair,) = draw_batch(config, step)
        assert pair.control.shape[1] == 8
    assert len(asked) == number
    return asked


def test_share_of_panels_that_are_selected(monkeypatch):
    asked = screens_of(monkeypatch, selected=0.3)
    larger = [given["measured_per_gene"] for given in asked if given["measured_per_gene"] != 1]
    assert len(larger) / len(asked) == pytest.approx(0.3, abs=0.1)
    assert min(larger) >= 1.5
    assert max(larger) <= 4.0
    assert np.mean(larger) == pytest.approx(2.75, abs=0.35)
    assert all(given["measured_per_gene"] == 1 for given in screens_of(monkeypatch, 30, selected=0.0))
    assert all(given["measured_per_gene"] > 1 for given in screens_of(monkeypatch, 30, selected=1.0))


def test_share_of_networks_with_contrasts(monkeypatch):
    asked = screens_of(monkeypatch, selected=0.0, contrasts=0.25)
    assert np.mean([given["contrasts"] for given in asked]) == pytest.approx(0.25, abs=0.1)
    assert not any(given["contrasts"] for given in screens_of(monkeypatch, 30))


def test_genes_of_interest_are_in_half_of_the_selected_panels(monkeypatch):
    shares = np.array([given["of_interest"] for given in screens_of(monkeypatch, selected=1.0)])
    assert np.mean(shares > 0) == pytest.approx(0.5, abs=0.12)
    assert shares.max() <= 0.5
    assert np.median(np.log(shares[shares > 0])) == pytest.approx(np.log(0.07), abs=0.7)
