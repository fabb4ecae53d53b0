"""Cells of the whole screen behind the correlations: which, and what they change."""

from itertools import pairwise

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import cdn_sc
from cdn_sc import features
from cdn_sc._contrasts import within_conditions
from cdn_sc.errors import InputError
from cdn_sc.tl import _screen_cells, predict_targets
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


@pytest.fixture
def screen(screen):
    """With ten times as many control cells, beside which a condition of 20 has no more than its share."""
    control = screen[screen.obs["perturbation"] == "control"]
    more = [control.copy() for _ in range(9)]
    rng = np.random.default_rng(11)
    for place, part in enumerate(more):
        part.obs_names = [f"{name} {place}" for name in part.obs_names]
        # the same values of each gene in other cells
        part.X = sparse.csr_matrix(rng.permuted(part.X.toarray(), axis=0))
    return ad.concat([screen, *more])


def cells_of(adata, number=1000, seed=0, n_control=400):
    arms = split_into_arms(adata, "perturbation", "control", ["x/y"])
    return draw_screen_cells(Expression(adata), arms.conditions, n_control, number, seed)


def sizes(found):
    return {name: len(cells) for name, cells in found.members.items()}


def contrasts_of(found, genes):
    return np.concatenate([np.zeros((0, len(genes)), np.float32), *found.contrasts(genes)])


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
    assert sizes(found) == {"A+B": 20, "drug_A": 20, "drug_B": 20, "x/y": 20}
    genes = np.array([2, 5])
    contrasts = contrasts_of(found, genes)
    assert contrasts.shape == (4 * 19, 2)
    values = screen[label(screen, "drug_B")].X
    values = (values.toarray() if sparse.issparse(values) else values)[:, genes]
    np.testing.assert_allclose(contrasts[38:57], within_conditions([values]), atol=1e-6)


@pytest.mark.parametrize("as_dense", [False, True])
def test_cells_are_drawn_by_the_seed_alone(screen, as_dense):
    if as_dense:
        screen.X = screen.X.toarray()
    genes = np.arange(12)
    first, again, other = (cells_of(screen, 44, seed) for seed in (0, 0, 1))
    # as many conditions as give ten cells each, or their share of the cells
    assert sorted(sizes(first).values()) == [11, 11, 11, 11]
    assert set(sizes(cells_of(screen, 30)).values()) == {10}
    assert len(sizes(cells_of(screen, 30))) == 3
    first, again, other = (contrasts_of(found, genes) for found in (first, again, other))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


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


def test_matrices_of_very_many_genes(screen, monkeypatch):
    """Fewer cells, the same whether the matrix is dense or sparse."""
    assert sum(sizes(cells_of(screen)).values()) == 80
    monkeypatch.setattr(_screen_cells, "MOST_VALUES", 12 * 25)
    found = []
    for as_dense in (False, True):
        if as_dense:
            screen.X = screen.X.toarray()
        assert sum(sizes(cells_of(screen)).values()) == 20
        found.append(contrasts_of(cells_of(screen), np.arange(12)))
    np.testing.assert_allclose(*found, atol=1e-6)


def test_no_cells(screen, network):
    assert not list(cells_of(screen, 0).contrasts(np.array([1, 3])))
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
        # of those that are left, too few to tell how they vary by themselves
        assert sizes(cells_of(screen)) == {"A+B": 20, "drug_B": 20, "x/y": 20}


def test_other_conditions_count_whether_or_not_they_are_scored(screen, network):
    everything = scores(screen, network)
    np.testing.assert_allclose(scores(screen, network, groups=["x/y"]), everything, atol=1e-6)
    fewer = screen[~label(screen, "drug_A")].copy()
    assert not np.allclose(scores(fewer, network), everything, atol=1e-5)


def test_control_alone(screen, network):
    alone = scores(screen, network, correlations="control")
    assert screen.uns["cdn_targets"]["params"]["correlations"] == "control"
    fewer = screen[~label(screen, "drug_A")].copy()
    np.testing.assert_allclose(scores(fewer, network, correlations="control"), alone, atol=1e-6)
    assert not np.allclose(scores(screen, network), alone, atol=1e-5)
    # a few conditions beside few control cells are more than their share, and nothing is left of them
    control = label(screen, "control").to_numpy()
    few = screen[~control | (np.cumsum(control) <= 15)].copy()
    alone = scores(few, network, correlations="control")
    np.testing.assert_allclose(scores(few, network), alone, atol=1e-6)


@pytest.mark.parametrize("n_control", [100, 200, 400, 10_000])
def test_no_condition_has_more_than_its_share(screen, n_control):
    arms = split_into_arms(screen, "perturbation", "control", ["x/y"])
    conditions = arms.conditions | {"all": np.concatenate(list(arms.conditions.values()))}
    found = sizes(draw_screen_cells(Expression(screen), conditions, n_control, 1000, 0))
    expected = {
        100: dict.fromkeys(conditions, 6),
        200: dict.fromkeys(conditions, 13),
        400: dict.fromkeys(conditions, 20) | {"all": 25},
    }
    whole = {name: len(cells) for name, cells in conditions.items()}
    assert found == expected.get(n_control, whole)
    total = n_control + sum(found.values())
    assert all(size <= 0.05 * total for size in found.values())


@pytest.mark.parametrize("as_sparse", [False, True])
def test_contrasts_come_in_parts(screen, monkeypatch, as_sparse):
    """Parts of whole conditions, made dense one after another: the same rows, each time they are read."""
    if not as_sparse:
        screen.X = screen.X.toarray()
    genes = np.array([7, 0, 3])
    found = cells_of(screen).contrasts(genes)
    (whole,) = found
    monkeypatch.setattr(_screen_cells, "_ROWS_AT_ONCE", 20)
    for _ in range(2):
        parts = list(found)
        assert [len(part) for part in parts] == [38, 38]
        np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_all_groups_share_what_is_computed(screen, network, monkeypatch):
    made, summarise = [], features.summarize_control
    monkeypatch.setattr(
        features, "summarize_control", lambda *given, **named: made.append(1) or summarise(*given, **named)
    )
    scores(screen, network, n_jobs=2)
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
