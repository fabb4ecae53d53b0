"""`cdn_sc.pl.score_vs_effect`: scores against the genes' own changes."""

from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from anndata import AnnData

from cdn_sc.errors import MissingNameError, did_you_mean
from cdn_sc.get._arguments import check_whole_number
from cdn_sc.pl._figure import (
    BLUE,
    GREY,
    VERMILLION,
    check_save,
    figure_of,
    finish,
    known_targets,
    panel_axes,
    rows_of_panels,
    tidy,
)
from cdn_sc.pl._labels import name_points
from cdn_sc.pl._names import set_titles, shown_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# A gene that is silent in one arm has a log fold change of 20 and more, which would squeeze all others.
_LARGEST_CHANGE = 4.0
# Colour and shape, of genes that are among the best by score, by the test, by both, by neither.
_STYLES = {
    "neither": ("0.78", "o", 9),
    "test": (GREY, "v", 26),
    "both": (BLUE, "s", 28),
    "score": (VERMILLION, "D", 32),
}
_TICKS = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0)
_NAMES_OF_STATISTICS = {
    "wilcoxon_statistic": "Wilcoxon test",
    "t_statistic": "t-test",
    "logfoldchange": "log fold change",
}


def score_vs_effect(
    adata: AnnData,
    groups: object | Iterable[object] | None = None,
    *,
    n_genes: int = 5,
    statistic: str | None = None,
    key: str = "cdn_targets",
    targets: Mapping[str, str | Sequence[str]] | None = None,
    ax: "Axes | Sequence[Axes] | None" = None,
    show: bool | None = None,
    save: str | PathLike[str] | None = None,
    figsize: tuple[float, float] | None = None,
) -> "Axes | list[Axes] | None":
    """Plot score against log2 fold change, one panel per group, one point per candidate gene.

    The best genes by score have names, where there is room; a colour and shape tells those that are also
    among as many best genes by a test of differential expression from those that the test would not have
    brought up. Log2 fold changes beyond 4 either way are drawn at the edge, and scores on a square-root
    scale. Known targets are encircled, with a bold name.

    .. image:: /_static/plots/score_vs_effect_simulated.png
       :alt: Eight panels, one for each group, with the score of each gene against its log fold change

    Parameters
    ----------
    adata
        Object with a result of :func:`~cdn_sc.tl.predict_targets`.
    groups
        Label of a group, or a list of labels, as they are in `adata.obs` or as strings; `None` plots all,
        at most the first 12.
    n_genes
        How many genes count as the best, by score and by the test.
    statistic
        Column of the result by whose absolute value differential expression is ranked; `None` takes
        `wilcoxon_statistic`, or `logfoldchange` where there is none.
    key
        Key of `adata.uns` with the result.
    targets
        For each group its known target, or a list of them. Groups without an entry, or with an empty one,
        have none.
    ax
        Axes to draw on, one per group. `None` makes a figure.
    show
        Whether to show the figure. `None` shows it unless `ax` is given.
    save
        File to write the picture to; its ending says of what kind.
    figsize
        Width and height of the figure in inches.

    Returns
    -------
    `None` if the figure is shown; otherwise the :class:`~matplotlib.axes.Axes`, or a list of them if
    there are several groups.

    Raises
    ------
    MissingNameError
        (A :class:`KeyError`.) No such result, group or column.
    InputError
        (A :class:`ValueError`.) There are not as many axes as groups, too many groups, or an argument cannot
        be used.
    """
    check_whole_number("n_genes", n_genes, 1)
    check_save(save)
    tables = rows_of_panels(adata, groups, key)
    statistic = _statistic(statistic, next(iter(tables.values())))
    known = known_targets(targets, adata, key)
    panels = {name: _classified(rows, n_genes, statistic, known[name]) for name, rows in tables.items()}
    axes = panel_axes(ax, list(panels), size=(2.9, 2.5), figsize=figsize)
    for axis, rows in zip(axes, panels.values(), strict=True):
        _draw_points(axis, rows)
    _add_legend(axes, list(panels.values()), n_genes, statistic)
    set_titles(axes, list(panels))
    # Names are placed by the sizes that the axes have in the end.
    figure_of(axes[0]).draw_without_rendering()
    for axis, rows in zip(axes, panels.values(), strict=True):
        named = rows[rows["rank"].le(n_genes) | rows["known"]]
        others = rows[rows["found"] == "test"]
        name_points(
            axis,
            named["x"].to_numpy(),
            named["score"].to_numpy(),
            shown_names(named["gene"].to_list()),
            bold=named["known"].to_list(),
            others=others[["x", "score"]].to_numpy(),
        )
    return finish(axes, given=ax is not None, show=show, save=save)


def _statistic(statistic: str | None, rows: pd.DataFrame) -> str:
    if statistic is None:
        return "wilcoxon_statistic" if "wilcoxon_statistic" in rows else "logfoldchange"
    there = [column for column in rows if pd.api.types.is_float_dtype(rows[column]) and column != "score"]
    if statistic not in there:
        raise MissingNameError(
            f"the result has no column {statistic!r} (statistic). {did_you_mean(statistic, there)}"
        )
    return statistic


def _classified(rows: pd.DataFrame, n_genes: int, statistic: str, known: list[str]) -> pd.DataFrame:
    """Add where a gene is drawn, whether it is a known target, and by what it is among the best."""
    by_score = (rows["rank"] <= n_genes).to_numpy()
    strength = rows[statistic].abs().fillna(0).to_numpy()
    by_test = np.zeros(len(rows), dtype=bool)
    by_test[np.argsort(-strength, kind="stable")[:n_genes]] = True
    # What did not change is not found by any test.
    by_test &= strength > 0
    found = np.select([by_score & by_test, by_score, by_test], ["both", "score", "test"], "neither")
    return rows.assign(
        gene=rows["gene"].astype(str),
        x=rows["logfoldchange"].clip(-_LARGEST_CHANGE, _LARGEST_CHANGE),
        found=found,
        known=rows["gene"].isin(known),
    )


def _draw_points(axis: "Axes", rows: pd.DataFrame) -> None:
    axis.axvline(0, color="0.85", linewidth=0.8, zorder=0)
    for found, (colour, marker, size) in _STYLES.items():
        chosen = rows[rows["found"] == found]
        axis.scatter(
            chosen["x"],
            chosen["score"],
            s=size,
            color=colour,
            marker=marker,
            edgecolors="none" if found == "neither" else "white",
            linewidths=0.4,
            zorder=1 if found == "neither" else 2,
            clip_on=False,
            label=found,
        )
    known = rows[rows["known"]]
    axis.scatter(
        known["x"],
        known["score"],
        s=120,
        facecolors="none",
        edgecolors="black",
        linewidths=1.1,
        zorder=3,
        clip_on=False,
        label="known",
    )
    tidy(axis, x="log2 fold change", y="score")
    limit = max(0.5, 1.08 * float(np.nanmax(np.abs(rows["x"]))))
    axis.set_xlim(-limit, limit)
    # The square root pulls the many low scores apart.
    axis.set_yscale("function", functions=(_signed_root, _signed_square))
    highest = float(rows["score"].max())
    axis.set_ylim(-0.002 * highest, 1.12 * highest)
    axis.set_yticks(_ticks(highest))
    axis.yaxis.set_major_formatter("{x:g}")


def _ticks(highest: float) -> list[float]:
    """Ticks of a square-root scale, far enough apart."""
    chosen = [0.0]
    for tick in sorted((tick for tick in _TICKS if tick <= highest), reverse=True):
        if min(abs(np.sqrt(other) - np.sqrt(tick)) for other in chosen) >= 0.1 * np.sqrt(highest):
            chosen.append(tick)
    return sorted(chosen)


def _signed_root(values: np.ndarray) -> np.ndarray:
    return np.sign(values) * np.sqrt(np.abs(values))


def _signed_square(values: np.ndarray) -> np.ndarray:
    return np.sign(values) * np.square(values)


def _add_legend(axes: "list[Axes]", panels: list[pd.DataFrame], n_genes: int, statistic: str) -> None:
    from matplotlib.lines import Line2D

    test = _NAMES_OF_STATISTICS.get(statistic, statistic)
    texts = {
        "score": f"best {n_genes} by score alone",
        "both": f"best {n_genes} by score and by {test}",
        "test": f"best {n_genes} by {test} alone",
    }
    handles = []
    for found, text in texts.items():
        colour, marker, _ = _STYLES[found]
        handles.append(Line2D([], [], color="none", marker=marker, markerfacecolor=colour, markersize=6))
        handles[-1].set(label=text, markeredgecolor="none")
    if any(rows["known"].any() for rows in panels):
        handles.append(Line2D([], [], color="none", marker="o", markerfacecolor="none", markersize=9))
        handles[-1].set(label="known target", markeredgecolor="black")
    figure = figure_of(axes[0])
    if figure.get_layout_engine() is not None and len(axes) > 1:
        figure.legend(
            handles=handles, loc="outside upper center", ncols=len(handles), fontsize=9, frameon=False
        )
    else:
        axes[-1].legend(handles=handles, loc="best", fontsize=7.5, frameon=False)
