"""The plot of the best genes."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex

from cdn_sc.errors import InputError, MissingNameError
from cdn_sc.pl import predicted_targets


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


def test_given_axes_and_figsize(adata, plt):
    _, given = plt.subplots(1, 2)
    assert predicted_targets(adata, ["group00", "group01"], ax=given, show=False) == list(given)
    assert predicted_targets(adata, "group00", ax=given[0]) is given[0]
    axis = predicted_targets(adata, "group00", figsize=(7, 3), show=False)
    assert tuple(axis.get_figure().get_size_inches()) == (7, 3)


def test_shown_by_default(adata, plt, monkeypatch):
    shown = []
    monkeypatch.setattr(plt, "show", lambda: shown.append(True))
    assert predicted_targets(adata, "group00") is None
    assert shown == [True]


def test_known_targets_that_were_not_scored(adata):
    targets = pd.Series(
        {"group00": np.array(["elsewhere"]), "group01": "", "group02": None, "group03": np.nan}
    )
    axes = predicted_targets(adata, [f"group0{i}" for i in range(4)], n_genes=3, targets=targets, show=False)
    assert labels(axes[0])[-1] == "elsewhere (no candidate)"
    assert [len(labels(axis)) for axis in axes] == [4, 3, 3, 3]
    stars = axes[0].collections[-1].get_offsets()
    assert np.ma.getmaskarray(stars)[:, 0].all() or np.isnan(np.asarray(stars)[:, 0]).all()


def test_intervals_are_drawn_where_there_are_some(adata):
    table = adata.uns["cdn_targets"]["table"]
    assert not intervals(predicted_targets(adata, "group00", n_genes=3, show=False))
    table["score_low"], table["score_high"] = table["score"] - 0.05, table["score"] + 0.3
    axis = predicted_targets(adata, "group00", n_genes=3, show=False)
    ends = np.array(intervals(axis)[0].get_segments())[:, :, 0]
    np.testing.assert_allclose(ends, table[["score_low", "score_high"]].to_numpy()[:3], rtol=1e-5)
    assert axis.get_xlim()[1] > 1.2


def intervals(axis):
    return [drawn for drawn in axis.collections if drawn.get_label() == "interval"]


def test_saved_to_a_file(adata, tmp_path):
    predicted_targets(adata, "group00", show=False, save=tmp_path / "best.png")
    assert (tmp_path / "best.png").stat().st_size > 1000
    with pytest.raises(InputError, match="there is no folder"):
        predicted_targets(adata, "group00", show=False, save=tmp_path / "none" / "best.png")


def test_picture(make_result, fixed_axes, same_picture):
    adata = make_result(2, 12)
    table = adata.uns["cdn_targets"]["table"]
    table["score_low"], table["score_high"] = 0.8 * table["score"], np.minimum(1.1 * table["score"], 1)
    targets = {"group0000": "gene00", "group0001": list(table["gene"][[15, 22]])}
    axes = fixed_axes((0.1, 0.1, 0.38, 0.8), (0.55, 0.1, 0.38, 0.8))
    predicted_targets(adata, n_genes=5, targets=targets, ax=axes)
    same_picture(axes[0].figure, "predicted_targets")


def test_bad_input(adata, plt):
    with pytest.raises(InputError, match="1 axes for 2 groups"):
        predicted_targets(adata, ["group00", "group01"], ax=plt.figure().add_subplot(), show=False)
    with pytest.raises(MissingNameError, match="Did you mean 'group00'"):
        predicted_targets(adata, "Group00", show=False)
    with pytest.raises(InputError, match="n_genes"):
        predicted_targets(adata, n_genes=0, show=False)
    with pytest.raises(InputError, match="targets is a list, and a mapping"):
        predicted_targets(adata, targets=["gene1"], show=False)


def test_too_many_panels(make_result):
    adata = make_result(61, 3)
    with pytest.raises(InputError, match=r"61 groups, and a figure holds 60 .*target_heatmap"):
        predicted_targets(adata, [f"group{i:04d}" for i in range(61)], show=False)


def test_what_is_no_axes_or_no_picture(adata):
    with pytest.raises(ValueError, match="ax holds 'here', which is no axes"):
        predicted_targets(adata, ax="here", show=False)
    with pytest.raises(ValueError, match=r"pictures are written as .*png"):
        predicted_targets(adata, save="targets.foo", show=False)
