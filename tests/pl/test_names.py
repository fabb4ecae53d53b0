"""Names of groups and genes on plots: short, apart from each other, and read as they are."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from cdn_sc import pl
from cdn_sc.pl._names import MOST_LETTERS, shown_names

LONG = "chr1.10050_top_two_chr11.1801_top_two_" * 8
LABELS = ["short", LONG, LONG[:150] + "X" + LONG[151:], "cost $5 and $6", "two\nlines\0\x1b[31m", "W" * 40]


@pytest.fixture
def adata(make_result):
    """A result whose groups, and some genes, have names that are hard to show."""
    adata = make_result(len(LABELS), 12)
    table = adata.uns["cdn_targets"]["table"]
    table["group"] = table["group"].cat.rename_categories(LABELS)
    renamed = dict(zip(["gene00", "gene01", "gene02"], ["$a$b", "G" * 300, "x\ty"], strict=True))
    table["gene"] = table["gene"].cat.rename_categories(renamed)
    return adata


def test_names_are_shortened_in_the_middle_and_stay_apart():
    shown = shown_names(LABELS)
    assert shown[0] == "short"
    assert shown[3] == r"cost \$5 and \$6"
    assert shown[4] == r"two lines\x00\x1b[31m"
    assert all(len(name.replace("\\$", "$")) <= MOST_LETTERS for name in shown)
    assert len(set(shown)) == len(LABELS)
    for name, whole in zip(shown[1:3], LABELS[1:3], strict=True):
        begin, _, end = name.split("…")
        assert len(begin) > 10
        assert len(end) > 10
        assert whole.startswith(begin)
        assert whole.endswith(end)
    assert shown_names(["a b", "a\tb", "c"]) == ["a b (1)", "a b (2)", "c"]
    assert shown_names([LONG], 12) == [f"{LONG[:6]}…{LONG[-5:]}"]


def panels_of(adata, plot, **options):
    axes = plot(adata, show=False, **options)
    axes = axes if isinstance(axes, list) else [axes]
    figure = axes[0].get_figure()
    figure.draw_without_rendering()
    return figure, axes


def boxes_are_apart(texts, figure):
    boxes = [text.get_window_extent() for text in texts]
    for i, box in enumerate(boxes):
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.width
        assert not any(box.overlaps(other) for other in boxes[:i])


@pytest.mark.parametrize("plot", [pl.predicted_targets, pl.score_vs_effect])
@pytest.mark.parametrize("groups", [None, LABELS[1:2], LABELS[:2], LABELS[1:5]])
def test_titles_do_not_run_into_each_other(adata, plot, groups):
    figure, axes = panels_of(adata, plot, groups=groups)
    titles = [axis.get_title() for axis in axes]
    assert len(set(titles)) == len(axes)
    boxes_are_apart([axis.title for axis in axes], figure)
    for title, label in zip(titles, groups or LABELS, strict=True):
        assert title[:4] == label[:4].replace("\n", " ")
        assert "\n" not in title
    assert all(axis.get_window_extent().width > 80 for axis in axes)


def test_titles_that_fit_are_left_whole(adata):
    _, axes = panels_of(adata, pl.predicted_targets, groups=["short"])
    assert axes[0].get_title() == "short"
    _, axes = panels_of(adata, pl.predicted_targets, groups=["W" * 40], figsize=(9, 3))
    assert axes[0].get_title() == "W" * 40


def test_the_heatmap_keeps_its_layout(adata):
    figure, (axis,) = panels_of(adata, pl.target_heatmap)
    box = axis.get_window_extent()
    assert box.width > 0.4 * figure.bbox.width
    assert box.height > 0.3 * figure.bbox.height
    names = [tick.get_text() for tick in axis.get_yticklabels()]
    assert len(set(names)) == len(LABELS)
    assert max(map(len, names)) <= MOST_LETTERS + 2
    boxes_are_apart(axis.get_yticklabels(), figure)
    assert r"\$a\$b" in [tick.get_text() for tick in axis.get_xticklabels()]


def test_names_of_genes_are_read_as_they_are(adata):
    _, axes = panels_of(adata, pl.predicted_targets, groups=["short", LONG], n_genes=12)
    for axis in axes:
        names = [tick.get_text() for tick in axis.get_yticklabels()]
        assert {r"\$a\$b", "x y"} <= set(names)
        assert max(map(len, names)) <= MOST_LETTERS
    _, axes = panels_of(adata, pl.score_vs_effect, groups=["short"], n_genes=12)
    assert max(len(text.get_text()) for text in axes[0].texts) <= MOST_LETTERS


def test_names_on_the_graphs():
    rng = np.random.default_rng(0)
    genes = ["$A$", "B" * 60, "c", "d", "e", "f"]
    values = rng.normal(5, 1, (80, 6)).astype(np.float32)
    labels = ["control"] * 40 + [LONG] * 40
    adata = ad.AnnData(
        values,
        obs=pd.DataFrame({"p": labels}, index=[f"c{i}" for i in range(80)]),
        var=pd.DataFrame(index=genes),
    )
    table = pd.DataFrame(
        {
            "group": pd.Categorical([LONG] * 6),
            "gene": pd.Categorical(genes),
            "rank": np.arange(1, 7, dtype=np.int32),
            "score": np.linspace(0.9, 0.1, 6, dtype=np.float32),
            "logfoldchange": np.zeros(6, np.float32),
        }
    )
    params = {"groupby": "p", "control": "control", "layer": "", "use_raw": False, "seed": 0}
    skipped = pd.DataFrame({"group": [], "reason": []}, dtype=object)
    adata.uns["cdn_targets"] = {"params": params, "table": table, "skipped": skipped}
    axes = pl.graph_difference(adata, LONG, "$A$", n_subsets=20, n_shuffles=19, show=False)
    figure = axes[0].get_figure()
    figure.draw_without_rendering()
    assert axes[0].get_title() == "control"
    boxes_are_apart([axis.title for axis in axes], figure)
    texts = [text.get_text() for text in axes[0].texts]
    assert r"\$A\$" in texts
    assert max(map(len, texts)) <= 20
