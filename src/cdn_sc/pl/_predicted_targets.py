"""`cdn_sc.pl.predicted_targets`: the best genes of some groups."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from anndata import AnnData

from cdn_sc._logging import logger
from cdn_sc.errors import InputError
from cdn_sc.get import predicted_targets_df
from cdn_sc.get._arguments import as_list, check_whole_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize

_MOST_PANELS = 12
_COLUMNS = 4
# Purple to orange is told apart in all common kinds of colour blindness.
_COLOURS = "PuOr_r"
_LARGEST_CHANGE = 3.0


def predicted_targets(
    adata: AnnData,
    groups: object | Iterable[object] | None = None,
    *,
    n_genes: int = 10,
    key: str = "cdn_targets",
    targets: Mapping[str, str | Sequence[str]] | None = None,
    ax: "Axes | Sequence[Axes] | None" = None,
    show: bool | None = None,
    figsize: tuple[float, float] | None = None,
) -> "Axes | list[Axes] | None":
    """Plot the genes with the best scores, one panel per group.

    Dots are coloured by log2 fold change, cut off at 3 either way. Known targets are stars with a
    bold name; a known target further down the ranking is added below the dashed line, with its rank.

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
        For each group its known target, or a list of them. Groups without an entry have none.
    ax
        Axes to draw on, one per group. `None` makes a figure.
    show
        Whether to show the figure. `None` shows it unless `ax` is given.
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
        (A :class:`ValueError`.) There are not as many axes as groups, or an argument cannot be used.
    """
    from matplotlib import pyplot as plt

    check_whole_number("n_genes", n_genes, 1)
    table = predicted_targets_df(adata, None if groups is None else as_list(groups, "groups"), key=key)
    names = list(table["group"].cat.categories)
    if groups is None and len(names) > _MOST_PANELS:
        logger.info(
            "Plotting the first %d of %d groups: choose others in groups=[...].", _MOST_PANELS, len(names)
        )
        names = names[:_MOST_PANELS]
    panels = [
        _rows_to_plot(table[table["group"] == name], n_genes, _known_targets(targets, name)) for name in names
    ]
    axes = _make_axes(panels, figsize) if ax is None else _given_axes(ax, names)
    colours = _colours(panels)
    best = max(rows["score"].max() for rows in panels)
    for axis, name, rows in zip(axes, names, panels, strict=True):
        _draw_panel(axis, name, rows, colours)
        axis.set_xlim(0, 1.06 * best)
    _add_keys(axes, panels, colours)
    if show or (show is None and ax is None):
        plt.show()
        return None
    return axes[0] if len(axes) == 1 else axes


def _known_targets(targets: Mapping[str, str | Sequence[str]] | None, group: str) -> list[str]:
    known = [] if targets is None else targets.get(group, [])
    return [known] if isinstance(known, str) else [str(gene) for gene in known]


def _rows_to_plot(rows: pd.DataFrame, n_genes: int, known: list[str]) -> pd.DataFrame:
    """Return the best genes, and below them the known targets that are not among them."""
    is_known = rows["gene"].isin(known)
    rows = rows.assign(gene=rows["gene"].astype(str), known=is_known, further=rows["rank"] > n_genes)
    return rows[(rows["rank"] <= n_genes) | is_known]


def _make_axes(panels: list[pd.DataFrame], figsize: tuple[float, float] | None) -> "list[Axes]":
    from matplotlib import pyplot as plt

    n_columns = min(_COLUMNS, len(panels))
    n_rows = -(-len(panels) // n_columns)
    if figsize is None:
        most = max(len(rows) for rows in panels)
        figsize = (2.9 * n_columns + 0.9, n_rows * (0.24 * most + 0.9) + 0.3)
    _, grid = plt.subplots(
        n_rows, n_columns, figsize=figsize, sharex=True, squeeze=False, layout="constrained"
    )
    axes = list(grid.ravel())
    for unused in axes[len(panels) :]:
        unused.set_visible(False)
    return axes[: len(panels)]


def _given_axes(ax: "Axes | Sequence[Axes]", names: list[str]) -> "list[Axes]":
    axes = list(np.ravel(np.asarray(ax, dtype=object)))
    if len(axes) != len(names):
        raise InputError(f"ax holds {len(axes)} axes for {len(names)} groups: give one per group.")
    return axes


def _colours(panels: list[pd.DataFrame]) -> "Normalize":
    from matplotlib.colors import Normalize

    changes = np.abs(np.concatenate([rows["logfoldchange"].to_numpy() for rows in panels]))
    limit = float(np.clip(changes.max(initial=0.0), 0.5, _LARGEST_CHANGE))
    return Normalize(-limit, limit)


def _draw_panel(axis: "Axes", name: str, rows: pd.DataFrame, colours: "Normalize") -> None:
    # A gap of half a row sets the known targets from further down apart.
    heights = np.arange(len(rows)) + 0.5 * rows["further"].to_numpy()
    scores = rows["score"].to_numpy()
    known = rows["known"].to_numpy()
    axis.hlines(heights, 0, scores, color="0.8", linewidth=1.2, zorder=1)
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
    labels = [
        f"{gene} (rank {rank})" if further else gene
        for gene, rank, further in zip(rows["gene"], rows["rank"], rows["further"], strict=True)
    ]
    axis.set_yticks(heights, labels, fontsize=9)
    for tick, bold in zip(axis.get_yticklabels(), known, strict=True):
        tick.set_fontweight("bold" if bold else "normal")
    if rows["further"].any():
        first = int(np.argmax(rows["further"].to_numpy()))
        axis.axhline(heights[first] - 0.75, color="0.6", linewidth=0.8, linestyle="--")
    axis.set_ylim(heights[-1] + 0.7, -0.7)
    axis.tick_params(axis="y", length=0)
    axis.tick_params(axis="x", labelbottom=True, labelsize=8)
    axis.spines[["top", "right"]].set_visible(False)
    axis.set_title(name, fontsize=11)
    axis.set_xlabel("score", fontsize=9)


def _add_keys(axes: "list[Axes]", panels: list[pd.DataFrame], colours: "Normalize") -> None:
    """Add the colour bar, and what a star means if there is one."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.lines import Line2D

    figure = axes[0].get_figure()
    if figure is None:
        return
    bar = figure.colorbar(
        ScalarMappable(colours, _COLOURS), ax=axes, shrink=0.8, aspect=25, extend="both", pad=0.02
    )
    bar.set_label("log2 fold change", fontsize=9)
    bar.ax.tick_params(labelsize=8)
    if any(rows["known"].any() for rows in panels):
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
