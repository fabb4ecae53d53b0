"""`genes="shared"`: one choice of candidates for all groups."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import cdn_sc
from cdn_sc.errors import InputError
from cdn_sc.tl._candidates import SharedCandidates, arm_statistics, candidate_genes


def table(adata, **options):
    cdn_sc.tl.predict_targets(adata, "perturbation", "control", progress=False, **options)
    return adata.uns["cdn_targets"]["table"]


def test_all_groups_have_the_same_genes(predictor, screen):
    found = table(screen, genes="shared", n_genes=6)
    genes = {group: set(part["gene"]) for group, part in found.groupby("group", observed=True)}
    assert len(genes) == 4
    assert len(set(map(frozenset, genes.values()))) == 1
    # the genes that were switched off somewhere are the most changed
    assert {"gene0", "gene1", "gene2", "gene3"} < next(iter(genes.values()))
    assert len({id(call["control"]) for call in predictor.calls}) == 1
    assert screen.uns["cdn_targets"]["params"]["genes"] == "shared"


def test_shared_is_per_group_where_all_genes_are_candidates(predictor, screen):
    pd.testing.assert_frame_equal(table(screen, genes="shared"), table(screen, genes="per_group"))


def test_gene_constant_in_both_arms_of_a_group_has_no_score_there(predictor, screen):
    values = screen.X.toarray()
    values[:, 5] = 0.0
    in_one = (screen.obs["perturbation"] == "drug_A").to_numpy()
    values[in_one, 5] = np.arange(in_one.sum()) % 3
    screen.X = sparse.csr_matrix(values)
    found = table(screen, genes="shared")
    assert found.loc[found["gene"] == "gene5", "group"].tolist() == ["drug_A"]
    assert np.isfinite(found["score"]).all()
    ranks = found.loc[found["group"] == "x/y", "rank"]
    assert sorted(ranks) == list(range(1, 12))


def test_skipped_groups_have_no_say(predictor, screen):
    small = screen[
        (screen.obs["perturbation"] != "drug_B") | (np.cumsum(screen.obs["perturbation"] == "drug_B") <= 4)
    ]
    with pytest.warns(UserWarning, match="drug_B"):
        found = table(small.copy(), genes="shared", n_genes=3)
    # gene2 is off in drug_B alone
    assert set(found["gene"]) == {"gene0", "gene1", "gene3"}


def test_mask_is_the_choice(predictor, screen):
    screen.var["chosen"] = np.arange(screen.n_vars) < 5
    assert set(table(screen, genes="shared", mask_var="chosen")["gene"]) == {f"gene{i}" for i in range(5)}


def test_unknown_choice(predictor, screen):
    with pytest.raises(InputError, match="genes is one of 'per_group', 'shared', not 'all'"):
        table(screen, genes="all")
    assert "cdn_targets" not in screen.uns


def test_strongest_of_any_group():
    rng = np.random.default_rng(0)
    control = arm_statistics(rng.normal(size=(80, 9)))
    groups = [arm_statistics(rng.normal(size=(40, 9)) + 2.0 * (np.arange(9) == gene)) for gene in (2, 7)]
    shared = SharedCandidates(control)
    for group in groups:
        shared.add(group)
    assert shared.choose(n_genes=2, mask=None).tolist() == [2, 7]
    # of one group alone the choice is that group's own
    alone = SharedCandidates(control)
    alone.add(groups[0])
    expected = candidate_genes(control, groups[0], n_genes=4, mask=None)
    np.testing.assert_array_equal(alone.choose(n_genes=4, mask=None), expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_statistics_of_sparse_rows_are_those_of_dense_ones(dtype):
    rng = np.random.default_rng(1)
    dense = (rng.poisson(0.4, (50, 30)) * 3).astype(dtype)
    dense[:, 0], dense[:, 1], dense[:, 2] = 0, 6, np.arange(50) % 2
    dense[:, 3] = np.arange(50) > 0  # silent in one cell, the same in all others
    found, expected = arm_statistics(sparse.csr_array(dense)), arm_statistics(dense)
    np.testing.assert_allclose(found.mean, expected.mean, rtol=1e-12)
    np.testing.assert_allclose(found.variance, expected.variance, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(found.varies, expected.varies)
    assert not found.varies[:2].any()
    assert found.varies[2:4].all()


def test_duplicate_entries_are_summed_and_the_matrix_left_alone():
    rows = sparse.csr_matrix(
        (np.array([1.0, 2.0, 5.0]), np.array([0, 0, 1]), np.array([0, 2, 3])), shape=(2, 3)
    )
    adata = ad.AnnData(rows.copy())
    found = arm_statistics(adata.X[np.array([0, 1])])
    np.testing.assert_allclose(found.mean, [1.5, 2.5, 0.0])
    assert adata.X.nnz == 3


def test_the_model_sees_a_part_of_very_many_control_cells(predictor, screen, monkeypatch):
    whole = table(screen.copy())
    monkeypatch.setattr("cdn_sc.tl._control_cells.MOST_CONTROL_CELLS", 25)
    first, again, other = (table(screen.copy(), rng=seed) for seed in (0, 0, 1))
    assert {len(call["control"]) for call in predictor.calls[4:]} == {25}
    pd.testing.assert_frame_equal(first, again)
    assert not first["score"].equals(other["score"])
    # what needs no model comes from all control cells
    key = ["group", "gene"]
    both = whole.merge(first, on=key, suffixes=("", "_part"))
    np.testing.assert_array_equal(both["logfoldchange"], both["logfoldchange_part"])


def test_t_is_of_all_control_cells(screen, monkeypatch):
    whole = table(screen.copy())
    monkeypatch.setattr("cdn_sc.tl._control_cells.MOST_CONTROL_CELLS", 25)
    both = whole.merge(table(screen.copy()), on=["group", "gene"], suffixes=("", "_part"))
    np.testing.assert_array_equal(both["t_statistic"], both["t_statistic_part"])
    assert not both["wilcoxon_statistic"].equals(both["wilcoxon_statistic_part"])
