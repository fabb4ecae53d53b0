"""The plot of the best genes."""

import anndata as ad
import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex

from cdn_sc.errors import InputError, MissingNameError
from cdn_sc.pl import predicted_targets


@pytest.fixture(autouse=True)
def no_window():
    from matplotlib import pyplot as plt

    with mpl.rc_context({"backend": "Agg"}):
        yield plt
        plt.close("all")


@pytest.fixture
def adata():
    rng = np.random.default_rng(0)
    names = [f"group{i:02d}" for i in range(14)]
    genes = [f"gene{i}" for i in range(30)]
    table = pd.DataFrame(
        {
            "group": pd.Categorical(np.repeat(names, 30)),
            "gene": pd.Categorical(np.concatenate([rng.permutation(genes) for _ in names])),
            "rank": np.tile(np.arange(1, 31, dtype=np.int32), 14),
            "score": np.tile(np.linspace(0.9, 0.1, 30), 14).astype(np.float32),
            "logfoldchange": rng.normal(size=420).astype(np.float32),
        }
    )
    result = {
        "params": {},
        "table": table,
        "skipped": pd.DataFrame({"group": [], "reason": []}, dtype=object),
    }
    return ad.AnnData(np.zeros((2, 3), np.float32), uns={"cdn_targets": result})


def gene_at(adata, group, rank):
    table = adata.uns["cdn_targets"]["table"]
    return table.loc[(table["group"] == group) & (table["rank"] == rank), "gene"].item()


def labels(axis):
    return [tick.get_text() for tick in axis.get_yticklabels()]


def test_one_group_gives_axes_and_several_a_list(adata):
    axis = predicted_targets(adata, "group03", n_genes=4, show=False)
    assert isinstance(axis, Axes)
    assert axis.get_title() == "group03"
    assert labels(axis) == [gene_at(adata, "group03", rank) for rank in (1, 2, 3, 4)]
    axes = predicted_targets(adata, ["group05", "group02"], show=False)
    assert [axis.get_title() for axis in axes] == ["group05", "group02"]
    assert [len(labels(axis)) for axis in axes] == [10, 10]


def test_all_groups_are_at_most_twelve(adata, caplog):
    with caplog.at_level("INFO", logger="cdn_sc"):
        axes = predicted_targets(adata, show=False)
    assert len(axes) == 12
    assert "12 of 14 groups" in caplog.text


def test_points_are_at_the_scores(adata):
    axis = predicted_targets(adata, "group00", n_genes=5, show=False)
    x = axis.collections[1].get_offsets()[:, 0]
    np.testing.assert_allclose(x, np.linspace(0.9, 0.1, 30)[:5], rtol=1e-5)


def test_all_points_are_inside_their_panel(adata):
    adata.uns["cdn_targets"]["table"].loc[:29, "score"] *= 0.3
    axes = predicted_targets(adata, ["group00", "group01"], show=False)
    assert len({axis.get_xlim() for axis in axes}) == 1
    assert axes[1].get_xlim()[1] > 0.9


def test_known_targets_are_marked_and_added(adata):
    best, far = gene_at(adata, "group00", 2), gene_at(adata, "group00", 17)
    targets = {"group00": [best, far], "group01": gene_at(adata, "group01", 1)}
    axes = predicted_targets(adata, ["group00", "group01", "group02"], n_genes=5, targets=targets, show=False)
    assert labels(axes[0])[1] == best
    assert labels(axes[0])[-1] == f"{far} (rank 17)"
    bold = [tick.get_fontweight() == "bold" for tick in axes[0].get_yticklabels()]
    assert bold == [False, True, False, False, False, True]
    assert len(labels(axes[1])) == len(labels(axes[2])) == 5
    figure = axes[0].get_figure()
    legends = [axis.get_legend() for axis in figure.axes if axis.get_legend() is not None]
    assert [legend.get_texts()[0].get_text() for legend in legends] == ["known\ntarget"]


def test_same_change_has_the_same_colour_in_all_panels(adata):
    adata.uns["cdn_targets"]["table"].loc[[0, 30], "logfoldchange"] = 0.7
    colours = []
    axes = predicted_targets(adata, ["group00", "group01"], show=False)
    axes[0].get_figure().canvas.draw()
    for axis in axes:
        points = axis.collections[1]
        colours.append(to_hex(points.get_facecolors()[0]))
    assert colours[0] == colours[1]


def test_given_axes_and_figsize(adata, no_window):
    _, given = no_window.subplots(1, 2)
    assert predicted_targets(adata, ["group00", "group01"], ax=given, show=False) == list(given)
    assert predicted_targets(adata, "group00", ax=given[0]) is given[0]
    axis = predicted_targets(adata, "group00", figsize=(7, 3), show=False)
    assert tuple(axis.get_figure().get_size_inches()) == (7, 3)


def test_shown_by_default(adata, no_window, monkeypatch):
    shown = []
    monkeypatch.setattr(no_window, "show", lambda: shown.append(True))
    assert predicted_targets(adata, "group00") is None
    assert shown == [True]


def test_bad_input(adata, no_window):
    with pytest.raises(InputError, match="1 axes for 2 groups"):
        predicted_targets(adata, ["group00", "group01"], ax=no_window.figure().add_subplot(), show=False)
    with pytest.raises(MissingNameError, match="Did you mean 'group00'"):
        predicted_targets(adata, "Group00", show=False)
    with pytest.raises(InputError, match="n_genes"):
        predicted_targets(adata, n_genes=0, show=False)
