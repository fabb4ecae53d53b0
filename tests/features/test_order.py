"""The order of genes and cells must not matter, whatever is silent, tied or alike."""

import numpy as np
import pytest
import torch
from arms import inputs_of
from hypothesis import given, settings
from hypothesis import strategies as st

from cdn_sc.features import FEATURES, _relations, gene_inputs, summarize_control
from cdn_sc.features._relations import (
    about_unit,
    largest_singular_value,
    leading_programmes,
    row_squares,
    sparse_correlation,
    strongest,
)


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
    before = inputs_of(control, perturbed)
    after = inputs_of(rng.permutation(control)[:, genes], rng.permutation(perturbed)[:, genes])
    for name, one, other in zip(FEATURES, before.features[genes].T, after.features.T, strict=True):
        if name.endswith("_rank"):
            # rounding may change places of genes that lie next to each other, never more
            one, other, most = 2 ** (-4 * one), 2 ** (-4 * other), 1.001
        else:
            most = 2e-3
        assert np.abs(one - other).max() < most, name
    same = np.arange(sizes[0])
    np.testing.assert_allclose(as_relations(after, same), as_relations(before, genes), atol=2e-3)


def test_no_gene_is_its_own_neighbour():
    for seed in range(5):
        control, perturbed = awkward_arms(24, 50, 20, seed)
        neighbours = inputs_of(control, perturbed).neighbours
        assert not (neighbours == np.arange(24)[:, None]).any()
        assert (neighbours[:2] == -1).all()  # silent in the control cells: related to none


def test_strongest():
    strength = torch.tensor(
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
    np.testing.assert_array_equal(strongest(strength.clone(), 2), expected)
    np.testing.assert_array_equal(strongest(strength[2:4].clone(), 2, first=2), expected[2:4])
    np.testing.assert_array_equal(
        strongest(strength.clone(), 2, beyond=0.35), [[1, 2], [0, -1], [0, -1], [0, -1], [-1, -1]]
    )
    # a gene's relation to itself plays no part, however strong
    np.testing.assert_array_equal(strongest(strength + 7 * torch.eye(5), 2), expected)
    assert strongest(strength.clone(), 9).shape == (5, 4)
    assert strongest(torch.zeros(1, 1), 3).shape == (1, 0)


def matrix_of(values, seed=3):
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.standard_normal((len(values), len(values))))[0]
    return basis, torch.from_numpy(((basis * values) @ basis.T).astype(np.float32))


@pytest.mark.parametrize("most", [512, 8])
def test_leading_directions_are_taken_down_to_the_level_of_the_rest(monkeypatch, most):
    """By the whole spectrum, and by an iteration for its end, which large panels take."""
    monkeypatch.setattr(_relations, "MOST_GENES_OF_WHOLE_SPECTRUM", most)
    values = np.concatenate([np.linspace(0.5, 1.0, 27), [1.5, 2.0, 3.0, 4.0, 5.0]])
    basis, matrix = matrix_of(values)
    found = leading_programmes(matrix)  # of 32 genes four directions, down to the fifth
    np.testing.assert_allclose(found.beyond, values[-4:] - 1.5, atol=1e-4)
    np.testing.assert_allclose(found.share, 1 - 1.5 / values[-4:], atol=1e-4)
    np.testing.assert_allclose(np.abs(found.directions.numpy().T @ basis[:, -4:]), np.eye(4), atol=1e-3)
    left = matrix - (found.directions * found.beyond) @ found.directions.T
    np.testing.assert_allclose(left.numpy(), (basis * np.minimum(values, 1.5)) @ basis.T, atol=1e-4)


def test_directions_that_lead_alike_stay():
    """Where not all of them have a place none is taken: which the solver gives first is by chance."""
    _, matrix = matrix_of(np.concatenate([np.ones(13), [3.0, 3.0, 3.0]]))
    found = leading_programmes(matrix)
    assert found.directions.shape == (16, 2)
    np.testing.assert_allclose(found.beyond, 0, atol=1e-4)
    np.testing.assert_allclose(found.share, 0, atol=1e-4)


def test_leading_directions_of_three_cells():
    """Many equal values, among which LAPACK's choice of the largest two finds none in single precision."""
    half = 0.4999999701976776
    correlation = torch.eye(10)
    alike = torch.tensor([0, 5, 7, 9])
    correlation[alike[:, None], alike] = 1
    correlation[3, alike] = correlation[alike, 3] = half
    found = leading_programmes(correlation)
    assert found.directions.shape == (10, 1)
    assert (found.directions[alike, 0] ** 2 > 0.1).all()
    assert found.share[0] > 0.5


@pytest.mark.parametrize("n_genes", [8, 40, 100, 600])
def test_nothing_leads_where_no_gene_is_related(n_genes):
    found = leading_programmes(torch.eye(n_genes))
    np.testing.assert_allclose(found.beyond, 0, atol=1e-5)
    np.testing.assert_allclose(found.share, 0, atol=1e-5)


@pytest.mark.parametrize("n_genes", [1, 7])
def test_few_genes_have_no_leading_directions(n_genes):
    found = leading_programmes(torch.full((n_genes, n_genes), 1.0))
    assert (found.directions.shape, found.share.shape) == ((n_genes, 0), (0,))


def test_sparse_correlation():
    """Beyond two standard errors, rows of unit length; a row of next to nothing is not blown up."""
    correlation = torch.tensor(
        [[1, 0.5, -0.4, 0.1], [0.5, 1, 0.2, 0.1], [-0.4, 0.2, 1, 0.205], [0.1, 0.1, 0.205, 1]]
    )
    before = correlation.clone()
    found = sparse_correlation(correlation, 100)
    rows = np.array([[0, 0.3, -0.2, 0], [1, 0, 0, 0], [-0.2, 0, 0, 0.005], [0, 0, 0.25, 0]])
    rows[[0, 2]] /= np.linalg.norm(rows[[0, 2]], axis=1, keepdims=True)
    np.testing.assert_allclose(found, rows, atol=1e-5)
    assert torch.equal(correlation, before)
    # about unit length, and nothing where there is nothing
    np.testing.assert_allclose(
        about_unit(row_squares(torch.tensor([[3.0, 4.0], [0, 0]]))), [1 / 5.03, 1 / 0.03]
    )


@pytest.mark.parametrize("signs", ["one", "both"])
def test_largest_singular_value(signs):
    """Never below, where steps would be too long to converge; also where signs cancel."""
    for seed in range(5):
        rng = np.random.default_rng(seed)
        weights = rng.random((12, 12)) if signs == "one" else rng.standard_normal((12, 12))
        if signs == "both":
            # what points in the direction of most says nothing to a sum over all genes
            weights += 20 * np.outer(np.tile([1.0, -1.0], 6), np.tile([1.0, -1.0], 6)) / 12
        exact = np.linalg.norm(weights, 2)
        found = largest_singular_value(torch.from_numpy(weights.astype(np.float32)))
        assert exact <= found <= 1.06 * exact


@pytest.mark.parametrize("control", [np.zeros((30, 40)), np.full((30, 40), 0.7), np.eye(30, 40) * 1e-30])
def test_the_same_arms_give_the_same_inputs(control):
    """An iteration that starts where it can see nothing goes on from random numbers of its own."""
    perturbed = np.random.default_rng(0).poisson(0.5, (20, 40)).astype(np.float32)
    runs = [gene_inputs(summarize_control(control.astype(np.float32)), perturbed) for _ in range(3)]
    for again in runs[1:]:
        assert torch.equal(again.features, runs[0].features)
