import csv
from dataclasses import replace

import numpy as np
import pytest

from cdn_sc.simulate.scm import (
    INTERVENTIONS,
    MECHANISMS,
    UNTRAINED_MECHANISM,
    scm240,
    scm240_names,
    scm_dataset,
    scm_pair,
    seeded_rng,
    structural_model,
)
from cdn_sc.simulate.structural_model import Intervention, draw_intervention, random_graph

ALL_MECHANISMS = (*MECHANISMS, UNTRAINED_MECHANISM)


def residuals(model, values, gene):
    """What a linear model leaves of a gene once its parents are known."""
    parents = np.flatnonzero(model.graph[:, gene])
    design = np.column_stack([np.ones(len(values)), values[:, parents]])
    return values[:, gene] - design @ np.linalg.lstsq(design, values[:, gene], rcond=None)[0]


def test_graph_is_acyclic_with_the_expected_edges():
    rng = np.random.default_rng(0)
    edges = []
    for _ in range(300):
        graph, order = random_graph(10, 20, rng)
        assert not np.tril(graph[np.ix_(order, order)]).any()
        edges.append(graph.sum())
    assert abs(np.mean(edges) - 20) < 1


@pytest.mark.parametrize("mechanism", ALL_MECHANISMS)
def test_spread_does_not_grow_along_the_causal_order(mechanism):
    model = structural_model(20, 60, mechanism, np.random.default_rng(1))
    values = model.sample(4000, np.random.default_rng(2))
    assert values.dtype == np.float32
    assert values.shape == (4000, 20)
    assert values.std(axis=0).max() < 1.6
    assert np.abs(values.mean(axis=0)).max() < 2.5


@pytest.mark.parametrize("mechanism", ALL_MECHANISMS)
def test_dependence_follows_the_graph(mechanism):
    rng = np.random.default_rng(3)
    model = structural_model(8, 10, mechanism, rng)
    target = int(model.order[0])
    noise_seed = 5
    control = model.sample(500, np.random.default_rng(noise_seed))
    shifted = model.sample(500, np.random.default_rng(noise_seed), Intervention("soft_shift", {target: 1.0}))
    reached = np.linalg.matrix_power(model.graph.astype(float) + np.eye(8), 8)[target] > 0
    # with the same noise, exactly the target and its descendants move
    np.testing.assert_array_equal((control != shifted).any(axis=0), reached)


def linear_model_with_child():
    model = structural_model(6, 12, "linear", np.random.default_rng(4))
    child = int(model.order[-1])
    assert model.graph[:, child].any()
    return model, child


@pytest.mark.parametrize(("kind", "strength"), [("structural_normal", 1.5), ("structural_uniform", 2.0)])
def test_hard_intervention_cuts_the_parents(kind, strength):
    model, child = linear_model_with_child()
    values = model.sample(20_000, np.random.default_rng(0), Intervention(kind, {child: strength}))
    correlation = np.corrcoef(values.T)[child, model.graph[:, child]]
    assert np.abs(correlation).max() < 0.03
    mean, variance = (1.5, 1.0) if kind == "structural_normal" else (0.0, 4 / 3)
    assert values[:, child].mean() == pytest.approx(mean, abs=0.05)
    assert values[:, child].var() == pytest.approx(variance, rel=0.05)


def test_soft_interventions_keep_the_parents():
    model, child = linear_model_with_child()
    control = model.sample(20_000, np.random.default_rng(0))
    shifted = model.sample(20_000, np.random.default_rng(1), Intervention("soft_shift", {child: 2.0}))
    scaled = model.sample(20_000, np.random.default_rng(2), Intervention("soft_scale", {child: 3.0}))
    noise = residuals(model, control, child).var()
    assert shifted[:, child].mean() - control[:, child].mean() == pytest.approx(2, abs=0.05)
    assert shifted[:, child].var() == pytest.approx(control[:, child].var(), rel=0.05)
    # the mechanism's output is scaled, the noise is not
    assert residuals(model, scaled, child).var() == pytest.approx(noise, rel=0.05)
    assert scaled[:, child].var() - noise == pytest.approx(9 * (control[:, child].var() - noise), rel=0.1)


def test_neural_network_noise_is_not_additive():
    model = structural_model(2, 1, UNTRAINED_MECHANISM, np.random.default_rng(0))
    parent, child = model.order
    values = model.sample(40_000, np.random.default_rng(1))
    bins = np.digitize(values[:, parent], (-1.5, 0, 1.5))
    spread = [values[bins == b, child].std() for b in range(4)]
    assert max(spread) > 1.3 * min(spread)


@pytest.mark.parametrize("mechanism", ALL_MECHANISMS)
@pytest.mark.parametrize("kind", INTERVENTIONS)
def test_dataset_shares_out_cells_and_targets(mechanism, kind):
    pairs = list(scm_dataset(10, 15, mechanism, kind, 1104, np.random.default_rng(7)))
    assert len(pairs) == 10
    sizes = [len(pairs[0].control), *(len(pair.perturbed) for pair in pairs)]
    assert sum(sizes) == 1104
    assert max(sizes) - min(sizes) == 1
    targets = [tuple(pair.targets) for pair in pairs]
    assert len(set(targets)) == 10
    assert {len(set(t)) for t in targets} <= {1, 2, 3}
    for pair in pairs:
        assert pair.control is pairs[0].control
        assert np.isfinite(pair.perturbed).all()
        assert np.abs(pair.perturbed).max() < 100
        assert pair.attributes["mechanism"] == mechanism
        assert pair.attributes["intervention"] == kind
    assert [pair.attributes["regime"] for pair in pairs] == list(range(1, 11))


def test_pairs_follow_the_seed_and_the_ranges():
    options = {"n_genes": (5, 30), "n_control": (100, 200), "n_perturbed": (20, 50)}
    first, second = (
        [scm_pair(rng, **options) for _ in range(30)]
        for rng in (seeded_rng("train", 1), seeded_rng("train", 1))
    )
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a.control, b.control)
        np.testing.assert_array_equal(a.perturbed, b.perturbed)
        assert a.attributes == b.attributes
        assert 5 <= a.control.shape[1] <= 30
        assert 100 <= len(a.control) <= 200
        assert 20 <= len(a.perturbed) <= 50
    assert len({pair.attributes["mechanism"] for pair in first}) == 3
    assert len({pair.attributes["intervention"] for pair in first}) == 4
    assert UNTRAINED_MECHANISM not in {pair.attributes["mechanism"] for pair in first}


def test_seed_spaces_differ():
    draws = [seeded_rng(*key).random() for key in (("test", 0), ("train", 0), ("test", 1), ("test", "0"))]
    assert len(set(draws)) == 4


def test_suite_is_the_same_whatever_else_is_generated():
    first = next(scm240(genes=10, n_datasets=1))
    same = next(scm240(n_datasets=5))
    other = next(scm240(seed=1, genes=10))
    np.testing.assert_array_equal(first.perturbed, same.perturbed)
    assert first.control.shape == (2728, 10)
    assert not np.array_equal(first.perturbed[:100], other.perturbed[:100])


def test_names_equal_the_published_file(shared_dir):
    with (shared_dir / "splits" / "test_240.csv").open() as file:
        published = [row["fp_data"].split("/")[2] for row in csv.DictReader(file)]
    assert sorted(published) == sorted(scm240_names() * 5)


def test_names_are_48_settings():
    names = scm240_names()
    assert len(set(names)) == 48
    assert "p20_e40_n60000_sigmoid_add_soft_scale" in names


def test_unknown_names_are_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="unknown mechanism 'cubic'; known: linear"):
        structural_model(5, 5, "cubic", rng)
    with pytest.raises(ValueError, match="unknown intervention 'knockout'"):
        draw_intervention("knockout", [1], rng)
    with pytest.raises(ValueError, match="settings of 10 and of 20 genes"):
        next(scm240(genes=15))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"n_genes": 3, "n_targets": (3, 3)},
            "3 regimes need as many different sets of targets, .* there are 1",
        ),
        ({"n_cells": 5}, "n_cells is 5; 7 regimes need at least 2 cells each"),
        ({"n_targets": (0, 1)}, r"n_targets is \(0, 1\); .* from 1 up"),
    ],
)
def test_data_sets_that_cannot_be(arguments, message):
    options = {"n_genes": 6, "n_edges": 6, "mechanism": "linear", "intervention": "soft_shift", "n_cells": 60}
    with pytest.raises(ValueError, match=message):
        next(scm_dataset(**(options | arguments), rng=np.random.default_rng(0)))


@pytest.mark.parametrize(
    "arguments",
    [{"n_genes": (1, 1)}, {"n_control": (1, 5)}, {"n_targets": (0, 0)}, {"edges_per_gene": (-1.0, 1.0)},
     {"n_perturbed": (9, 5)}],
)  # fmt: skip
def test_pairs_that_cannot_be(arguments):
    (name,) = arguments
    with pytest.raises(ValueError, match=f"{name} is .*smallest and largest value are needed"):
        scm_pair(np.random.default_rng(0), **arguments)


@pytest.mark.parametrize("factor", [0.5, 3.0])
def test_outputs_are_bounded_on_their_own_scale(factor):
    """A mechanism that is scaled up may leave its usual bounds by as much, one scaled down keeps them."""
    models = (structural_model(2, 1, "polynomial", np.random.default_rng(seed)) for seed in range(50))
    model = next(model for model in models if model.graph.any())
    child = int(model.order[-1])
    still = model.genes[child]._replace(noise=0.0)
    genes = tuple(still if gene == child else known for gene, known in enumerate(model.genes))
    model = replace(model, genes=genes, bound=0.5)
    values = model.sample(4000, np.random.default_rng(1), Intervention("soft_scale", {child: factor}))
    largest = np.abs(values[:, child]).max()
    assert largest == pytest.approx(0.5 * max(factor, 1.0), rel=1e-5)
