"""`cdn_sc.pl.predicted_targets`: the best genes of some groups."""

from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from anndata import AnnData

from cdn_sc.get._arguments import check_whole_number
from cdn_sc.pl._figure import (
    check_save,
    figure_of,
    finish,
    known_targets,
    panel_axes,
    rows_of_panels,
    tidy,
)
from cdn_sc.pl._names import MOST_LETTERS, set_titles, shown_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize

# Purple to orange is told apart in all common kinds of colour blindness.
_COLOURS = "PuOr_r"
_LARGEST_CHANGE = 3.0
_INTERVAL = ("score_low", "score_high")


def predicted_targets(
    adata: AnnData,
    groups: object | Iterable[object] | None = None,
    *,
    n_genes: int = 10,
    key: str = "cdn_targets",
    targets: Mapping[str, str | Sequence[str]] | None = None,
    ax: "Axes | Sequence[Axes] | None" = None,
    show: bool | None = None,
    save: str | PathLike[str] | None = None,
    figsize: tuple[float, float] | None = None,
) -> "Axes | list[Axes] | None":
    """Plot the genes with the best scores, one panel per group.

    Dots are coloured by log2 fold change, cut off at 3 either way. Known targets are stars with a
    bold name; a known target further down the ranking is added below the dashed line, with its rank, and one
    that was no candidate gene without a star. A result with columns `score_low` and `score_high` gets them
    drawn as intervals.

    .. image:: /_static/plots/predicted_targets_simulated.png
       :alt: Eight panels, one for each group, with its best genes as dots by score

    Parameters
    ----------
    adata
        Object with a result of :func:`~cdn_sc.tl.predict_targets`.
    groups
        Label of a group, or a list of labels, as they are in `adata.obs` or as strings; `None` plots all,
        at most the first 12.
    n_genes
        How many genes to show per group.
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
        (A :class:`KeyError`.) No such result or group.
    InputError
        (A :class:`ValueError`.) There are not as many axes as groups, too many groups, or an argument cannot
        be used.
    """
    check_whole_number("n_genes", n_genes, 1)
    check_save(save)
    known = known_targets(targets, adata, key)
    panels = {
        name: _rows_to_plot(rows, n_genes, known[name])
        for name, rows in rows_of_panels(adata, groups, key).items()
    }
    most = max(len(rows) for rows in panels.values())
    longest = min(max(rows["gene"].str.len().max() for rows in panels.values()), MOST_LETTERS)
    size = (2.9 + 0.1 * max(longest - 10, 0), 0.24 * most + 0.9)
    axes = panel_axes(ax, list(panels), size=size, figsize=figsize, sharex=True)
    colours = _colours(panels.values())
    drawn = [column for column in ("score", _INTERVAL[1]) if all(column in rows for rows in panels.values())]
    best = max(float(np.nanmax(rows[drawn].to_numpy(dtype=float))) for rows in panels.values())
    for axis, rows in zip(axes, panels.values(), strict=True):
        _draw_panel(axis, rows, colours)
        axis.set_xlim(-0.05 * best, 1.06 * best)
    _add_keys(axes, list(panels.values()), colours)
    set_titles(axes, list(panels))
    return finish(axes, given=ax is not None, show=show, save=save)


def _rows_to_plot(rows: pd.DataFrame, n_genes: int, known: list[str]) -> pd.DataFrame:
    """Return the best genes, and below them the known targets that are not among them."""
    is_known = rows["gene"].isin(known)
    rows = rows.assign(gene=rows["gene"].astype(str), known=is_known, further=rows["rank"] > n_genes)
    chosen = rows[(rows["rank"] <= n_genes) | is_known]
    absent = [gene for gene in known if gene not in set(rows["gene"])]
    if not absent:
        return chosen
    # Neither a rank nor a score.
    added = pd.DataFrame({"gene": absent, "known": True, "further": True})
    return pd.concat([chosen.drop(columns="group"), added], ignore_index=True)


def _colours(panels: Iterable[pd.DataFrame]) -> "Normalize":
    from matplotlib.colors import Normalize

    changes = np.abs(np.concatenate([rows["logfoldchange"].to_numpy() for rows in panels]))
    limit = float(np.clip(np.nanmax(changes), 0.5, _LARGEST_CHANGE))
    return Normalize(-limit, limit)


def _draw_panel(axis: "Axes", rows: pd.DataFrame, colours: "Normalize") -> None:
    # A gap of half a row sets the known targets from further down apart.
    further = rows["further"].to_numpy(dtype=bool)
    heights = np.arange(len(rows)) + 0.5 * further
    scores = rows["score"].to_numpy()
    known = rows["known"].to_numpy(dtype=bool)
    axis.hlines(heights, 0, scores, color="0.8", linewidth=1.2, zorder=1)
    if set(_INTERVAL) <= set(rows.columns):
        low, high = (rows[column].to_numpy() for column in _INTERVAL)
        axis.hlines(heights, low, high, color="0.25", linewidth=2.2, zorder=1.5, label="interval")
    for chosen, marker, size in ((~known, "o", 42), (known, "*", 150)):
        axis.scatter(
            scores[chosen],
            heights[chosen],
            c=rows["logfoldchange"].to_numpy()[chosen],
            cmap=_COLOURS,
            norm=colours,
            marker=marker,
            s=size,
            edgecolors="black",
            linewidths=0.7,
            zorder=2,
            clip_on=False,
        )
    tidy(axis, x="score")
    labels = [
        _label(gene, rank, below)
        for gene, rank, below in zip(shown_names(list(rows["gene"])), rows["rank"], further, strict=True)
    ]
    axis.set_yticks(heights, labels, fontsize=9)
    for tick, bold in zip(axis.get_yticklabels(), known, strict=True):
        tick.set_fontweight("bold" if bold else "normal")
    if further.any():
        first = int(np.argmax(further))
        axis.axhline(heights[first] - 0.75, color="0.6", linewidth=0.8, linestyle="--")
    axis.set_ylim(heights[-1] + 0.7, -0.7)
    axis.tick_params(axis="y", length=0)
    axis.tick_params(axis="x", labelbottom=True)


def _label(gene: str, rank: float, further: bool) -> str:
    if not further:
        return gene
    return f"{gene} (no candidate)" if np.isnan(rank) else f"{gene} (rank {int(rank)})"


def _add_keys(axes: "list[Axes]", panels: list[pd.DataFrame], colours: "Normalize") -> None:
    """Add the colour bar, and what a star means if there is one."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.lines import Line2D

    bar = figure_of(axes[0]).colorbar(
        ScalarMappable(colours, _COLOURS), ax=axes, shrink=0.8, aspect=25, extend="both", pad=0.02
    )
    bar.set_label("log2 fold change", fontsize=9)
    bar.ax.tick_params(labelsize=8)
    if any((rows["known"] & rows["score"].notna()).any() for rows in panels):
        star = Line2D(
            [], [], color="white", marker="*", markersize=11, markeredgecolor="black", label="known\ntarget"
        )
        bar.ax.legend(
            handles=[star],
            loc="lower left",
            bbox_to_anchor=(0, 1.04),
            fontsize=8,
            frameon=False,
            borderpad=0,
            handletextpad=0.5,
            handlelength=1.0,
        )
