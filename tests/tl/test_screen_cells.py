"""Cells of the whole screen behind the correlations: which, and what they change."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import cdn_sc
from cdn_sc._contrasts import within_conditions
from cdn_sc.errors import InputError
from cdn_sc.tl import _control_cells, _screen_cells, predict_targets
from cdn_sc.tl._expression import Expression
from cdn_sc.tl._groups import split_into_arms
from cdn_sc.tl._screen_cells import draw_screen_cells


@pytest.fixture
def network():
    import torch

    from cdn_sc.nn.gene_transformer import GeneTransformer, GeneTransformerConfig

    with torch.random.fork_rng():
        torch.manual_seed(0)
        return GeneTransformer(GeneTransformerConfig()).eval()


def cells_of(adata, number=1000, seed=0):
    arms = split_into_arms(adata, "perturbation", "control", ["x/y"])
    return draw_screen_cells(Expression(adata), arms.conditions, number, seed)


def scores(adata, network, **options):
    options = {"model": network, "device": "cpu", "progress": False} | options
    predict_targets(adata, "perturbation", "control", **options)
    table = cdn_sc.get.predicted_targets_df(adata, "x/y")
    return table.set_index("gene")["score"].sort_index().to_numpy()


def label(adata, group):
    return adata.obs["perturbation"] == group


@pytest.mark.parametrize("kind", ["sparse", "dense"])
def test_variation_within_each_condition(screen, kind):
    if kind == "dense":
        screen.X = screen.X.toarray()
    found = cells_of(screen)
    assert found.sizes == {"A+B": 20, "drug_A": 20, "drug_B": 20, "x/y": 20}
    genes = np.array([2, 5])
    contrasts = found.contrasts(genes)
    assert contrasts.shape == (4 * 19, 2)
    values = screen[label(screen, "drug_B")].X
    values = (values.toarray() if sparse.issparse(values) else values)[:, genes]
    np.testing.assert_allclose(contrasts[38:57], within_conditions([values]), atol=1e-6)
    without = found.contrasts(genes, without="drug_A")
    np.testing.assert_array_equal(without, np.delete(contrasts, np.arange(19, 38), axis=0))


@pytest.mark.parametrize("as_dense", [False, True])
def test_cells_are_drawn_by_the_seed_alone(screen, as_dense):
    if as_dense:
        screen.X = screen.X.toarray()
    genes = np.arange(12)
    first, again, other = (cells_of(screen, 44, seed) for seed in (0, 0, 1))
    # as many conditions as give ten cells each, or their share of the cells
    assert sorted(first.sizes.values()) == [11, 11, 11, 11]
    assert set(cells_of(screen, 30).sizes.values()) == {10}
    assert len(cells_of(screen, 30).sizes) == 3
    np.testing.assert_array_equal(first.contrasts(genes), again.contrasts(genes))
    assert not np.array_equal(first.contrasts(genes), other.contrasts(genes))


@pytest.mark.parametrize("seed", range(6))
def test_a_large_condition_beside_many_small_ones(seed):
    sizes = [1500, *[10] * 150]
    starts = np.cumsum([0, *sizes])
    conditions = {f"c{i}": np.arange(a, b) for i, (a, b) in enumerate(pairwise(starts))}
    names = pd.Index([f"cell {i}" for i in range(sum(sizes))])
    drawn = _screen_cells._draw(conditions, names, 2000, seed)
    assert sum(map(len, drawn.values())) >= 1990
    assert len(drawn["c0"]) >= 400
    assert all(len(cells) == 10 for name, cells in drawn.items() if name != "c0")


def test_dense_matrices_of_very_many_genes(screen, monkeypatch):
    monkeypatch.setattr(_screen_cells, "MOST_DENSE_VALUES", 12 * 25)
    assert sum(cells_of(screen).sizes.values()) == 80
    screen.X = screen.X.toarray()
    assert sum(cells_of(screen).sizes.values()) == 20


def test_no_cells(screen, network):
    assert cells_of(screen, 0).contrasts(np.array([1, 3])).shape == (0, 2)
    only = screen[label(screen, "control")].copy()
    only.obs["perturbation"] = only.obs["perturbation"].cat.set_categories(["control", "A"])
    with pytest.raises(InputError, match=r"no group could be scored: 'A' \(0 cells"):
        scores(only, network, groups=["A"])


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
def test_cells_that_cannot_be_computed_with_are_left_out(screen, value, dtype):
    rows = np.flatnonzero(label(screen, "drug_A"))
    values = screen.X.toarray().astype(dtype)
    with np.errstate(over="ignore"):
        values[rows[:19], 3] = value
    kinds = [values] if dtype == np.float16 else [values, sparse.csr_matrix(values)]
    for matrix in kinds:
        screen.X = matrix
        # one cell is left, which does not vary by itself
        assert cells_of(screen).sizes == {"A+B": 20, "drug_B": 20, "x/y": 20}


def test_other_conditions_count_whether_or_not_they_are_scored(screen, network):
    everything = scores(screen, network)
    np.testing.assert_array_equal(scores(screen, network, groups=["x/y"]), everything)
    fewer = screen[~label(screen, "drug_A")].copy()
    assert not np.array_equal(scores(fewer, network), everything)


def test_control_alone(screen, network):
    alone = scores(screen, network, correlations="control")
    assert screen.uns["cdn_targets"]["params"]["correlations"] == "control"
    fewer = screen[~label(screen, "drug_A")].copy()
    np.testing.assert_array_equal(scores(fewer, network, correlations="control"), alone)
    only = screen[label(screen, "control") | label(screen, "x/y")].copy()
    # the group's own cells are left out where they are many, and there are no others
    np.testing.assert_array_equal(scores(only, network), alone)


def test_groups_of_few_cells_share_what_is_computed(screen, network, monkeypatch, record_summaries):
    made = record_summaries
    left_out = scores(screen, network)
    assert len(made) == 4
    monkeypatch.setattr(_control_cells, "LARGEST_OWN_SHARE", 0.5)
    made.clear()
    assert not np.array_equal(scores(screen, network), left_out)
    assert len(made) == 1


def test_unknown_choice(screen):
    with pytest.raises(InputError, match="correlations is one of 'screen', 'control', not 'all'"):
        predict_targets(screen, "perturbation", "control", correlations="all")
    assert not screen.uns


def test_without_effect_on_networks_that_read_graphs(screen):
    from cdn_sc.nn.cdn import CDN
    from cdn_sc.nn.config import CDNConfig

    network = CDN(CDNConfig(channels=16, heads=2, blocks=1)).eval()
    with pytest.warns(UserWarning, match="correlations='control' without effect: the model .* reads no corr"):
        scores(screen, network, correlations="control", n_subsets=6)
    assert screen.uns["cdn_targets"]["params"]["correlations"] == ""
