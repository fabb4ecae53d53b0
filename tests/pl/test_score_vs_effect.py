"""The plot of scores against log fold changes."""

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.text import Annotation

from cdn_sc.errors import InputError, MissingNameError
from cdn_sc.pl import score_vs_effect


def points(axis, kind):
    """Log fold change and score of the points of one kind."""
    (drawn,) = [drawn for drawn in axis.collections if drawn.get_label() == kind]
    return np.asarray(drawn.get_offsets())


def named(axis):
    return {text.get_text(): text for text in axis.texts if isinstance(text, Annotation)}


def rows(adata, group):
    table = adata.uns["cdn_targets"]["table"]
    return table[table["group"] == group]


def test_points_are_told_apart_by_score_and_test(make_result):
    adata = make_result(3, 40)
    axis = score_vs_effect(adata, "group0001", n_genes=4, show=False)
    assert isinstance(axis, Axes)
    table = rows(adata, "group0001")
    by_score = set(table["gene"].head(4))
    by_test = set(table.loc[table["wilcoxon_statistic"].abs().nlargest(4).index, "gene"])
    for kind, genes in (
        ("score", by_score - by_test),
        ("both", by_score & by_test),
        ("test", by_test - by_score),
    ):
        expected = table[table["gene"].isin(genes)]
        np.testing.assert_allclose(points(axis, kind)[:, 1], expected["score"], rtol=1e-5)
    assert sum(len(points(axis, kind)) for kind in ("score", "both", "test", "neither")) == 40
    assert set(named(axis)) == by_score


def test_statistic(make_result):
    adata = make_result(1, 30)
    table = adata.uns["cdn_targets"]["table"]
    table["other"] = -table["score"]
    axis = score_vs_effect(adata, n_genes=3, statistic="other", show=False)
    assert len(points(axis, "both")) == 3
    texts = [text.get_text() for text in axis.get_legend().get_texts()]
    assert texts[1] == "best 3 by score and by other"
    adata.uns["cdn_targets"]["table"] = table.drop(columns=["wilcoxon_statistic", "other"])
    axis = score_vs_effect(adata, n_genes=3, show=False)
    assert axis.get_legend().get_texts()[2].get_text() == "best 3 by log fold change alone"


def test_genes_that_did_not_change_are_found_by_no_test(make_result):
    adata = make_result(1, 20)
    adata.uns["cdn_targets"]["table"]["wilcoxon_statistic"] = np.where(np.arange(20) == 7, 2.0, 0.0)
    axis = score_vs_effect(adata, n_genes=5, show=False)
    assert len(points(axis, "test")) == 1
    assert len(points(axis, "score")) == 5


def test_large_changes_are_at_the_edge(make_result):
    adata = make_result(1, 20)
    adata.uns["cdn_targets"]["table"].loc[3, "logfoldchange"] = -28.0
    axis = score_vs_effect(adata, show=False)
    left, right = axis.get_xlim()
    assert -5 < left < -4 < 4 < right < 5


def test_known_targets(make_result):
    adata = make_result(2, 40)
    far = rows(adata, "group0000")["gene"].iloc[30]
    axes = score_vs_effect(adata, targets={"group0000": [far, "elsewhere"]}, show=False)
    assert named(axes[0])[far].get_fontweight() == "bold"
    assert named(axes[0])[rows(adata, "group0000")["gene"].iloc[0]].get_fontweight() == "normal"
    assert len(points(axes[0], "known")) == 1
    assert len(points(axes[1], "known")) == 0
    legend = axes[0].get_figure().legends[0]
    assert legend.get_texts()[-1].get_text() == "known target"


def test_names_do_not_cover_each_other(make_result):
    axes = score_vs_effect(make_result(4, 60), n_genes=8, show=False)
    axes[0].get_figure().canvas.draw()
    for axis in axes:
        boxes = [super(Annotation, text).get_window_extent() for text in named(axis).values()]
        assert len(boxes) >= 6
        for i, box in enumerate(boxes):
            assert not any(box.shrunk(0.9, 0.7).overlaps(other.shrunk(0.9, 0.7)) for other in boxes[:i])


def test_all_groups_are_at_most_twelve(make_result, caplog):
    with caplog.at_level("INFO", logger="cdn_sc"):
        assert len(score_vs_effect(make_result(14, 10), show=False)) == 12
    assert "12 of 14 groups" in caplog.text


def test_picture(make_result, fixed_axes, same_picture):
    adata = make_result(2, 60)
    axes = fixed_axes((0.12, 0.15, 0.36, 0.75), (0.6, 0.15, 0.36, 0.75))
    score_vs_effect(adata, targets={"group0000": "gene00"}, ax=axes)
    same_picture(axes[0].figure, "score_vs_effect")


def test_bad_input(make_result, plt):
    adata = make_result(2, 10)
    with pytest.raises(InputError, match="1 axes for 2 groups"):
        score_vs_effect(adata, ax=plt.figure().add_subplot())
    with pytest.raises(InputError, match="n_genes"):
        score_vs_effect(adata, n_genes=0, show=False)
    with pytest.raises(MissingNameError, match="Did you mean 'wilcoxon_statistic'"):
        score_vs_effect(adata, statistic="wilcoxon", show=False)
    with pytest.raises(MissingNameError, match="no group"):
        score_vs_effect(adata, "nobody", show=False)
