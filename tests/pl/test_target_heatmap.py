"""The heatmap of groups by genes."""

import numpy as np
import pytest
from matplotlib.axes import Axes

from cdn_sc.errors import InputError, MissingNameError
from cdn_sc.pl import target_heatmap


def names(axis):
    return [[tick.get_text() for tick in ticks] for ticks in (axis.get_yticklabels(), axis.get_xticklabels())]


def score(adata, group, gene):
    table = adata.uns["cdn_targets"]["table"]
    return table.loc[(table["group"] == group) & (table["gene"] == gene), "score"].item()


def test_cells_are_the_scores(make_result):
    adata = make_result(5, 8)
    axis = target_heatmap(adata, n_genes=2, show=False)
    assert isinstance(axis, Axes)
    groups, genes = names(axis)
    image = axis.images[0].get_array()
    assert sorted(groups) == [f"group{i:04d}" for i in range(5)]
    assert image.shape == (5, len(genes))
    for row, group in enumerate(groups):
        for column, gene in enumerate(genes):
            assert image[row, column] == pytest.approx(score(adata, group, gene))


def test_only_the_best_genes_and_known_targets(make_result):
    adata = make_result(3, 30)
    table = adata.uns["cdn_targets"]["table"]
    assert set(names(target_heatmap(adata, n_genes=1, show=False))[1]) == {"gene00", "gene01", "gene02"}
    last = table.loc[29, "gene"]
    axis = target_heatmap(adata, n_genes=1, targets={"group0000": [last, "never scored"]}, show=False)
    groups, genes = names(axis)
    assert set(genes) == {"gene00", "gene01", "gene02", last}
    squares = axis.collections[0].get_offsets()
    assert squares.tolist() == [[genes.index(last), groups.index("group0000")]]
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["known target"]


def test_genes_without_a_score_are_empty(make_result):
    adata = make_result(4, 6)
    table = adata.uns["cdn_targets"]["table"]
    gone = (table["group"] == "group0002") & (table["gene"] == "gene01")
    adata.uns["cdn_targets"]["table"] = table[~gone]
    axis = target_heatmap(adata, n_genes=6, show=False)
    groups, genes = names(axis)
    empty = np.ma.getmaskarray(axis.images[0].get_array())
    assert empty.sum() == 1
    assert empty[groups.index("group0002"), genes.index("gene01")]
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["not scored"]


def test_alike_groups_are_side_by_side_and_best_genes_on_the_diagonal(make_result):
    adata = make_result(30, 6)
    axis = target_heatmap(adata, n_genes=1, show=False)
    best = axis.images[0].get_array().argmax(axis=1)
    assert (np.diff(best) >= 0).all()
    assert len(set(best)) == 6


def test_two_thousand_groups(make_result):
    adata = make_result(2000, 40)
    axis = target_heatmap(adata, targets={"group0000": "gene00"}, show=False)
    groups, genes = names(axis)
    assert groups == []
    assert axis.get_ylabel() == "2,000 groups"
    assert len(genes) == 40
    image = axis.images[0]
    assert image.get_array().shape[0] < 2000
    assert tuple(image.get_extent()) == (-0.5, 39.5, 1999.5, -0.5)
    # No group has got lost: each gene is the best of 50 of them.
    assert (image.get_array().max(axis=0) > 0.8).all()
    assert not axis.collections


def test_many_genes_have_no_names(make_result):
    axis = target_heatmap(make_result(300, 300), n_genes=1, show=False)
    assert names(axis) == [[], []]
    assert (axis.get_ylabel(), axis.get_xlabel()) == ("300 groups", "300 genes")


def test_more_groups_than_can_be_clustered(make_result, monkeypatch):
    from cdn_sc.pl import _target_heatmap

    monkeypatch.setattr(_target_heatmap, "_MOST_TO_CLUSTER", 10)
    axis = target_heatmap(make_result(12, 4), show=False)
    best = axis.images[0].get_array().argmax(axis=1)
    assert (np.diff(best) >= 0).all()


@pytest.mark.parametrize("n_groups", [1, 2])
def test_few_groups(make_result, n_groups):
    assert len(names(target_heatmap(make_result(n_groups, 4), show=False))[0]) == n_groups


def test_chosen_groups_given_axes_and_figsize(make_result, plt):
    adata = make_result(6, 6)
    axis = plt.figure().add_subplot()
    assert target_heatmap(adata, ["group0004", "group0001"], ax=axis) is axis
    assert sorted(names(axis)[0]) == ["group0001", "group0004"]
    axis = target_heatmap(adata, figsize=(7, 3), show=False)
    assert tuple(axis.get_figure().get_size_inches()) == (7, 3)


def test_shown_by_default(make_result, plt, monkeypatch):
    shown = []
    monkeypatch.setattr(plt, "show", lambda: shown.append(True))
    assert target_heatmap(make_result(3, 3)) is None
    assert shown == [True]


def test_picture(make_result, fixed_axes, same_picture):
    axis = fixed_axes((0.2, 0.2, 0.7, 0.7))
    target_heatmap(
        make_result(8, 8), n_genes=1, targets={f"group{i:04d}": f"gene0{i}" for i in range(8)}, ax=axis
    )
    same_picture(axis.figure, "target_heatmap")


def test_picture_of_many_groups(make_result, fixed_axes, same_picture):
    axis = fixed_axes((0.2, 0.2, 0.7, 0.7))
    target_heatmap(make_result(600, 20), ax=axis)
    same_picture(axis.figure, "target_heatmap_many")


def test_bad_input(make_result, plt):
    adata = make_result(3, 3)
    with pytest.raises(InputError, match="2 axes for one heatmap"):
        target_heatmap(adata, ax=plt.subplots(1, 2)[1])
    with pytest.raises(MissingNameError, match="Did you mean 'group0001'"):
        target_heatmap(adata, "Group0001", show=False)
    with pytest.raises(InputError, match="n_genes"):
        target_heatmap(adata, n_genes=0, show=False)
    with pytest.raises(MissingNameError, match="pass key="):
        target_heatmap(adata, key="other", show=False)
    assert not plt.get_fignums()[1:]
