"""The order of genes and cells must not matter, whatever is silent, tied or alike."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdn_sc.features import FEATURES, gene_inputs, summarize_control
from cdn_sc.features._relations import programme_free, strongest


def awkward_arms(n_genes, n_control, n_perturbed, seed):
    """Counts with genes that are silent in either arm or both, twins, and twins in one arm alone."""
    rng = np.random.default_rng(seed)
    rates = rng.gamma(2, 0.5, n_genes) * rng.gamma(4, 0.25, (n_control + n_perturbed, 1))
    values = np.log1p(rng.poisson(rates)).astype(np.float32)
    control, perturbed = values[:n_control], values[n_control:]
    control[:, :2] = 0
    perturbed[:, 3] = 0
    values[:, 4] = 0.5
    values[:, 6] = values[:, 5]
    control[:, 7] = control[:, 8]
    values[:, 9] *= 1e4
    return control, perturbed


def as_relations(inputs, order):
    """Edges as genes x genes x edge features, in another order of the genes; NaN where there is none."""
    n_genes = len(order)
    table = np.full((n_genes, n_genes, inputs.edges.shape[2]), np.nan)
    gene, place = np.nonzero(inputs.neighbours >= 0)
    table[gene, inputs.neighbours[gene, place]] = inputs.edges[gene, place]
    return table[order][:, order]


@settings(max_examples=12, deadline=None, derandomize=True)
@given(
    sizes=st.sampled_from([(10, 2, 2), (10, 3, 40), (18, 30, 5), (40, 12, 20), (70, 200, 30)]),
    seed=st.integers(0, 1000),
)
def test_genes_and_cells_may_stand_in_any_order(sizes, seed):
    control, perturbed = awkward_arms(*sizes, seed)
    rng = np.random.default_rng(seed)
    genes = rng.permutation(sizes[0])
    before = gene_inputs(summarize_control(control), perturbed)
    shuffled = rng.permutation(control)[:, genes], rng.permutation(perturbed)[:, genes]
    after = gene_inputs(summarize_control(shuffled[0]), shuffled[1])
    for name, one, other in zip(FEATURES, before.features[genes].T, after.features.T, strict=True):
        if name.endswith("_rank"):
            # rounding may change places of genes that lie next to each other, never more
            one, other, most = 2 ** (-4 * one), 2 ** (-4 * other), 1.001
        else:
            most = 2e-3
        assert np.abs(one - other).max() < most, name
    np.testing.assert_allclose(after.mixing, before.mixing[:, genes][:, :, genes], atol=1e-5)
    same = np.arange(sizes[0])
    np.testing.assert_allclose(as_relations(after, same), as_relations(before, genes), atol=2e-3)


def test_no_gene_is_its_own_neighbour():
    for seed in range(5):
        control, perturbed = awkward_arms(24, 50, 20, seed)
        neighbours = gene_inputs(summarize_control(control), perturbed).neighbours
        assert not (neighbours == np.arange(24)[:, None]).any()
        assert (neighbours[:2] == -1).all()  # silent in the control cells: related to none


def test_strongest():
    strength = np.array(
        [
            [0, 0.9, 0.5, 0.4, 0.0],
            [0.9, 0, 0.3, 0.3, 0.2],
            [0.5, 0.3, 0, 0.0, 0.0],
            [0.4, 0.3, 0.0, 0, 0.0],
            [0.0, 0.2, 0.0, 0.0, 0],
        ]
    )
    # of equal ones none, where not all have a place; never one that is not related
    expected = [[1, 2], [0, -1], [0, 1], [0, 1], [1, -1]]
    np.testing.assert_array_equal(strongest(strength, 2), expected)
    np.testing.assert_array_equal(
        strongest(strength, 2, beyond=0.35), [[1, 2], [0, -1], [0, -1], [0, -1], [-1, -1]]
    )
    assert strongest(strength, 9).shape == (5, 4)
    assert strongest(np.zeros((1, 1)), 3).shape == (1, 0)


def test_leading_directions_are_taken_down_to_the_level_of_the_rest():
    rng = np.random.default_rng(3)
    basis = np.linalg.qr(rng.standard_normal((32, 32)))[0]
    values = np.concatenate([np.linspace(0.5, 1.0, 27), [1.5, 2.0, 3.0, 4.0, 5.0]])
    matrix = (basis * values) @ basis.T
    directions, weights = programme_free(matrix)
    clipped = (basis * np.minimum(values, 1.5)) @ basis.T  # 32 genes: four directions, down to the fifth
    np.fill_diagonal(clipped, 0)
    clipped /= np.linalg.norm(clipped, axis=1, keepdims=True) + 0.03
    np.testing.assert_allclose(weights, clipped, atol=1e-5)
    shares = np.sort((directions**2).sum(axis=0))
    np.testing.assert_allclose(shares, 1 - 1.5 / values[-4:], atol=1e-5)


def test_leading_directions_of_three_cells():
    """Many equal values, among which LAPACK's choice of the largest two finds none in single precision."""
    half = 0.4999999701976776
    correlation = np.eye(10, dtype=np.float32)
    alike = [0, 5, 7, 9]
    correlation[np.ix_(alike, alike)] = 1
    correlation[3, alike] = correlation[alike, 3] = half
    directions, weights = programme_free(correlation)
    assert directions.shape == (10, 1)
    assert (directions[alike, 0] ** 2 > 0.1).all()
    assert np.isfinite(weights).all()


@pytest.mark.parametrize("n_genes", [8, 40, 100])
def test_nothing_leads_where_no_gene_is_related(n_genes):
    directions, weights = programme_free(np.eye(n_genes, dtype=np.float32))
    np.testing.assert_allclose(directions, 0, atol=1e-6)
    np.testing.assert_allclose(weights, 0, atol=1e-6)


@pytest.mark.parametrize("control", [np.zeros((30, 40)), np.full((30, 40), 0.7), np.eye(30, 40) * 1e-30])
def test_the_same_arms_give_the_same_inputs(control):
    """An iteration that starts where it can see nothing goes on from random numbers of its own."""
    perturbed = np.random.default_rng(0).poisson(0.5, (20, 40)).astype(np.float32)
    runs = [gene_inputs(summarize_control(control.astype(np.float32)), perturbed) for _ in range(3)]
    for again in runs[1:]:
        np.testing.assert_array_equal(again.features, runs[0].features)
