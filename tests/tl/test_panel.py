"""Which genes are scored: one panel for all groups, or for each its own where the model has a limit."""

from types import SimpleNamespace

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import cdn_sc
from cdn_sc import features
from cdn_sc.predictors import Prediction, Predictor
from cdn_sc.tl._candidates import CELLS_IN_A_GROUP, Panel, arm_statistics, candidate_genes

GROUPS = ["A", "B", "C"]
PLACES = np.arange(10)


def table(adata, **options):
    options = {"progress": False, "device": "cpu"} | options
    cdn_sc.tl.predict_targets(adata, "perturbation", "control", **options)
    return adata.uns["cdn_targets"]["table"]


def genes_of(adata, group=None, **options):
    found = table(adata, **options)
    return set(found["gene"] if group is None else found.loc[found["group"] == group, "gene"])


def small_network():
    import torch

    from cdn_sc.nn.gene_transformer import GeneTransformer, GeneTransformerConfig

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return GeneTransformer(GeneTransformerConfig(channels=16, heads=2, layers=1)).eval()


@pytest.fixture
def sparse_genes():
    """400 control cells and 3 groups of 40, 10 genes of which some are found in few cells."""
    rng = np.random.default_rng(3)
    labels = np.repeat(["control", *GROUPS], [400, 40, 40, 40])
    values = np.log1p(rng.poisson(3.0, (len(labels), 10))).astype(np.float32)
    values[:, 0] += 0.1  # found in every cell
    control = np.flatnonzero(labels == "control")
    in_groups = {group: np.flatnonzero(labels == group) for group in GROUPS}
    values[in_groups["A"], 1] = 0  # silent in one group
    for gene in (2, 3, 4, 5):
        values[:, gene] = 0
    values[in_groups["B"][:4], 2] = 1 + rng.random(4)  # in a tenth of one group alone
    values[in_groups["B"][:3], 3] = 1 + rng.random(3)  # in less than that
    values[control[:2], 4] = 1 + rng.random(2)  # in 0.5% of the control cells
    values[control[:4], 5] = 1 + rng.random(4)  # in 1% of them
    values[:, 6] = 0.7  # found everywhere, constant
    for cells in in_groups.values():
        values[cells[:1], 7:] = 0  # no other gene is in all cells of a group
    return ad.AnnData(
        sparse.csr_matrix(values),
        obs=pd.DataFrame({"perturbation": labels}, index=[f"cell{i}" for i in range(len(labels))]),
        var=pd.DataFrame(index=[f"gene{i}" for i in range(10)]),
    )


def named(*numbers):
    return {f"gene{i}" for i in numbers}


@pytest.mark.parametrize("as_dense", [False, True])
def test_genes_that_enough_cells_have(predictor, sparse_genes, as_dense):
    if as_dense:
        sparse_genes.X = sparse_genes.X.toarray()
    everywhere = named(0, 1, 5, 7, 8, 9)
    # a gene that is silent in a group alone stays its candidate
    assert genes_of(sparse_genes, "A") == everywhere
    # what a perturbation switched on has a score where it varies, and there alone
    assert genes_of(sparse_genes, "B") == everywhere | named(2)
    assert genes_of(sparse_genes, "C") == everywhere
    assert {call["control"].shape[1] for call in predictor.calls} == {7}
    assert sparse_genes.uns["cdn_targets"]["params"]["min_detection"] == 0.01


def test_share_of_cells_that_must_have_a_gene(predictor, sparse_genes):
    everywhere = named(0, 1, 5, 7, 8, 9)
    assert genes_of(sparse_genes, "C", min_detection=0) == everywhere | named(4)
    # with any share a tenth of a group's cells is asked for, and a gene must vary
    assert genes_of(sparse_genes, min_detection=0) == everywhere | named(2, 3, 4)
    assert genes_of(sparse_genes, min_detection=0.0051) == everywhere | named(2)
    assert genes_of(sparse_genes, min_detection=0.0101) == everywhere - named(5) | named(2)
    assert genes_of(sparse_genes, min_detection=0.11) == everywhere - named(5)
    assert genes_of(sparse_genes, min_detection=1) == named(0)
    assert sparse_genes.uns["cdn_targets"]["params"]["min_detection"] == 1.0


def test_very_small_groups_do_not_add_genes_of_single_cells(sparse_genes):
    control = arm_statistics(sparse_genes[:400].X)
    panel = Panel(control, 0.01, PLACES)
    of_b = sparse_genes[440:480]
    few = arm_statistics(of_b[:12].X)  # gene 2 in 4 cells, gene 3 in 3, of 12
    panel.add(few)
    assert {2, 3} < set(panel.choose(n_genes=None, mask=None))
    panel = Panel(control, 0.01, PLACES)
    assert CELLS_IN_A_GROUP == 3
    panel.add(arm_statistics(of_b[2:12].X))  # gene 2 in 2 cells of 10
    assert not {2, 3} & set(panel.choose(n_genes=None, mask=None))


def test_mask_is_the_choice(predictor, sparse_genes):
    chosen = np.isin(np.arange(10), [1, 3, 4, 6, 9])
    # the rule is not asked, but what is constant in all cells has no score
    assert genes_of(sparse_genes, mask_var=chosen) == named(1, 3, 4, 9)
    with pytest.warns(UserWarning, match="n_genes=1, min_detection=1 without effect: mask_var says which"):
        found = genes_of(sparse_genes, mask_var=chosen, min_detection=1, n_genes=1)
    assert found == named(1, 3, 4, 9)
    params = sparse_genes.uns["cdn_targets"]["params"]
    assert (params["n_genes"], params["min_detection"]) == (-1, -1)
    assert genes_of(sparse_genes, "A", mask_var=chosen) == named(1, 4, 9)


def test_a_mask_is_the_panel_whichever_groups_are_scored(sparse_genes):
    """Also of genes that are silent but in a group that is not scored: no other group's scores move."""
    options = {
        "model": small_network(), "device": "cpu", "mask_var": np.ones(sparse_genes.n_vars, dtype=bool),
        "correlations": "control", "progress": False,
    }  # fmt: skip
    tables = {}
    for groups in ("all", ["A"]):
        cdn_sc.tl.predict_targets(sparse_genes, "perturbation", "control", groups=groups, **options)
        table_of_all = sparse_genes.uns["cdn_targets"]["table"]
        tables[str(groups)] = table_of_all[table_of_all["group"] == "A"].set_index("gene")["score"]
    together, alone = tables.values()
    assert list(together.index) == list(alone.index)
    np.testing.assert_allclose(together, alone, atol=1e-6)


def test_limit_takes_the_most_changed_of_any_group(predictor, screen):
    found = table(screen, n_genes=6)
    genes = {group: set(part["gene"]) for group, part in found.groupby("group", observed=True)}
    assert len(genes) == 4
    assert len(set(map(frozenset, genes.values()))) == 1
    # the genes that were switched off somewhere are the most changed
    assert named(0, 1, 2, 3) < next(iter(genes.values()))
    assert len({id(call["control"]) for call in predictor.calls}) == 1
    assert screen.uns["cdn_targets"]["params"]["n_genes"] == 6
    strongest = found.groupby("gene", observed=True)["logfoldchange"].size()
    assert (strongest == 4).all()


def test_limit_and_rule_together(sparse_genes, predictor):
    found = genes_of(sparse_genes, n_genes=2)
    assert len(found) == 2
    assert "gene1" in found  # silent in A
    # of rare genes none is taken, however much it changed
    values = sparse_genes.X.toarray()
    values[400:, 4] = 0
    values[:2, 4] = 9
    sparse_genes.X = values
    assert "gene4" not in genes_of(sparse_genes, n_genes=6)


def test_models_with_a_limit_choose_for_each_group(predictor, sparse_genes):
    """As published: by each group's own changes, whatever share of the cells has a gene."""
    predictor.max_genes = 1000
    everywhere = named(0, 1, 4, 5, 7, 8, 9)
    assert genes_of(sparse_genes, "A") == everywhere
    with pytest.warns(UserWarning, match="min_detection=1 without effect: the model fake chooses its genes"):
        found = genes_of(sparse_genes, "B", min_detection=1)
    assert found == everywhere | named(2, 3)
    assert not predictor.controls
    assert sparse_genes.uns["cdn_targets"]["params"]["n_genes"] == 1000
    predictor.max_genes = 3
    control = arm_statistics(sparse_genes[:400].X)
    for place, group in enumerate(GROUPS):
        of_it = arm_statistics(sparse_genes[400 + 40 * place :][:40].X)
        expected = named(*candidate_genes(control, of_it, n_genes=3, mask=None, places=PLACES))
        assert genes_of(sparse_genes, group) == expected
    with pytest.raises(cdn_sc.errors.InputError, match="takes 3 genes at most: pass n_genes=3"):
        table(sparse_genes, n_genes=4)


def test_published_networks_take_a_thousand_for_each_group(monkeypatch):
    """By default, and other ones for each group; what the network makes of them is not of interest here."""
    from cdn_sc.nn.cdn import CDN
    from cdn_sc.nn.config import CDNConfig

    rng = np.random.default_rng(0)
    labels = np.repeat(["control", "A", "B"], [12, 10, 10])
    values = rng.gamma(2.0, size=(32, 1010)).astype(np.float32)
    values[labels == "A", :5] += 30
    values[labels == "B", 5:10] += 30
    adata = ad.AnnData(
        values,
        obs=pd.DataFrame({"perturbation": labels}, index=[f"c{i}" for i in range(32)]),
        var=pd.DataFrame(index=[f"g{i}" for i in range(1010)]),
    )
    launched = []

    def launch(self, comparisons):
        launched.extend(comparisons)
        return SimpleNamespace(fetch=lambda: [Prediction(np.zeros(1000), {}) for _ in comparisons])

    monkeypatch.setattr(Predictor, "prepare", lambda self, control, perturbed, **options: control)
    monkeypatch.setattr(Predictor, "launch", launch)
    network = CDN(CDNConfig(num_vars=1000, channels=8, heads=2, blocks=1)).eval()
    with pytest.warns(UserWarning, match="do not look logarithmic"):
        found = table(adata, model=network, n_subsets=2)
    genes = {group: set(part["gene"]) for group, part in found.groupby("group", observed=True)}
    assert [len(each) for each in genes.values()] == [1000, 1000]
    assert genes["A"] != genes["B"]
    assert [control.shape for control in launched] == [(12, 1000)] * 2
    assert adata.uns["cdn_targets"]["params"]["n_genes"] == 1000


def test_gene_constant_in_both_arms_of_a_group_has_no_score_there(predictor, screen):
    values = screen.X.toarray()
    values[:, 5] = 0.0
    in_one = (screen.obs["perturbation"] == "drug_A").to_numpy()
    values[in_one, 5] = np.arange(in_one.sum()) % 3
    screen.X = sparse.csr_matrix(values)
    found = table(screen)
    assert found.loc[found["gene"] == "gene5", "group"].tolist() == ["drug_A"]
    assert np.isfinite(found["score"]).all()
    ranks = found.loc[found["group"] == "x/y", "rank"]
    assert sorted(ranks) == list(range(1, 12))


def test_skipped_groups_have_no_say(predictor, screen):
    small = screen[
        (screen.obs["perturbation"] != "drug_B") | (np.cumsum(screen.obs["perturbation"] == "drug_B") <= 4)
    ]
    with pytest.warns(UserWarning, match="drug_B"):
        found = table(small.copy(), n_genes=3)
    # gene2 is off in drug_B alone
    assert set(found["gene"]) == {"gene0", "gene1", "gene3"}


def test_control_side_once_for_all_groups(sparse_genes, monkeypatch):
    made, summarise = [], features.summarize_control

    def counting(control, *others, **options):
        made.append(control.shape)
        return summarise(control, *others, **options)

    monkeypatch.setattr(features, "summarize_control", counting)
    for options in ({}, {"n_jobs": 2}, {"correlations": "control"}, {"n_genes": 4}):
        table(sparse_genes, model=small_network(), **options)
    assert made == [(400, 7)] * 3 + [(400, 4)]


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_groups_do_not_depend_on_each_other(sparse_genes, n_jobs):
    """With the same panel and the correlations of the control cells; but for rounding."""
    options = {"model": small_network(), "correlations": "control", "n_jobs": n_jobs}
    options["mask_var"] = np.isin(np.arange(10), [0, 1, 7, 8, 9])
    together = table(sparse_genes, **options).set_index(["group", "gene"])
    assert len(together) == 15
    values = together.drop(columns="rank").columns
    for groups in (["C", "A"], ["B"]):
        some = table(sparse_genes, groups=groups, **options).set_index(["group", "gene"])
        for group in groups:
            expected = together.loc[group].loc[some.loc[group].index.astype(str)]
            np.testing.assert_allclose(some.loc[group, values], expected[values], atol=1e-5)
    # other conditions may even be other cells
    other = sparse_genes.copy()
    values = other.X.toarray()
    values[400:440] = values[400:440][:, ::-1]
    other.X = values
    changed = table(other, **options).set_index(["group", "gene"])["score"]
    for group in ("B", "C"):
        expected = together["score"].loc[group]
        np.testing.assert_allclose(changed.loc[group].reindex(expected.index), expected, atol=1e-5)
    expected = together["score"].loc["A"]
    assert not np.allclose(changed.loc["A"].reindex(expected.index), expected, atol=1e-3)


def test_order_of_groups_genes_and_cells(sparse_genes):
    rng = np.random.default_rng(0)
    options = {"model": small_network(), "n_genes": 6}
    key = ["group", "gene"]
    before = table(sparse_genes, **options).astype(dict.fromkeys(key, str)).set_index(key).sort_index()
    other = sparse_genes[rng.permutation(520)][:, rng.permutation(10)].copy()
    for given in ({}, {"groups": ["C", "A", "B"]}, {"n_jobs": 2}):
        after = table(other, **options, **given).astype(dict.fromkeys(key, str)).set_index(key).sort_index()
        np.testing.assert_array_equal(after.index, before.index)
        np.testing.assert_allclose(after["score"], before["score"], atol=1e-5)


@pytest.mark.parametrize("max_genes", [None, 3])
def test_ties_at_the_limit_go_by_name(predictor, screen, max_genes):
    """Of genes that changed as much as each other, whatever their order in the object."""
    predictor.max_genes = max_genes
    values = screen.X.toarray()
    values[:, 5:] = values[:, [4]]
    screen.X = values
    found = set(table(screen, groups=["drug_A"], n_genes=3)["gene"])
    same = sorted(f"gene{i}" for i in range(4, 12))
    kept = sorted(gene for gene in found if gene in same)
    assert kept == same[: len(kept)]
    order = np.random.default_rng(5).permutation(12)
    assert set(table(screen[:, order].copy(), groups=["drug_A"], n_genes=3)["gene"]) == found
    values[:, :4] = values[:, [4]]  # all genes alike
    screen.X = values
    for adata in (screen, screen[:, order].copy()):
        assert set(table(adata, n_genes=3)["gene"]) == {"gene0", "gene1", "gene10"}


def test_strongest_of_any_group():
    rng = np.random.default_rng(0)
    control = arm_statistics(rng.normal(size=(80, 9)))
    groups = [arm_statistics(rng.normal(size=(40, 9)) + 2.0 * (np.arange(9) == gene)) for gene in (2, 7)]
    panel = Panel(control, 0.01, PLACES)
    for group in groups:
        panel.add(group)
    assert panel.choose(n_genes=2, mask=None).tolist() == [2, 7]
    # of one group alone the choice is that group's own
    alone = Panel(control, 0.01, PLACES)
    alone.add(groups[0])
    expected = candidate_genes(control, groups[0], n_genes=4, mask=None, places=PLACES)
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
    np.testing.assert_array_equal(found.n_detected, expected.n_detected)
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
