"""`cdn_sc.pl.graph_difference`: the local causal edges of a gene, in control and in perturbed cells."""

from collections.abc import Iterable, Sequence
from os import PathLike
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from anndata import AnnData

from cdn_sc._labels import label_name
from cdn_sc.get import graph_difference as graph_difference_table
from cdn_sc.get._arguments import check_whole_number
from cdn_sc.get._graph_difference import LEVEL
from cdn_sc.pl._figure import BLUE, ORANGE, VERMILLION, check_save, figure_of, finish, given_axes
from cdn_sc.pl._names import set_titles, shown_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Colour, dashes and words of what became of an edge.
_STYLES = {
    "gained": (BLUE, "-", "gained"),
    "lost": (VERMILLION, "-", "lost"),
    "turned": (ORANGE, "-", "other ends"),
    "kept": ("0.25", "-", "kept"),
    "unclear": ("0.55", (0, (2.5, 1.5)), "may be chance"),
    "none": ("0.65", (0, (1, 2)), "in few subsets"),
}
_ORDER = ["gained", "lost", "turned", "kept", "unclear", "none"]
# In units of the circle on which neighbours lie, what edges leave free: around the name in the middle half
# its height, half its width and a part of that for each letter; and around the neighbours.
_HALF_HEIGHT, _HALF_WIDTH, _PER_LETTER, _NODE = 0.2, 0.14, 0.033, 0.1
# Of a name there is room for.
_MOST_LETTERS = 20


def graph_difference(
    adata: AnnData,
    group: object,
    gene: str,
    *,
    n_genes: int = 10,
    groupby: str | None = None,
    control: str | Iterable[str] | None = None,
    key: str = "cdn_targets",
    n_subsets: int = 400,
    n_shuffles: int = 100,
    rng: int | None = None,
    ax: "Sequence[Axes] | None" = None,
    show: bool | None = None,
    save: str | PathLike[str] | None = None,
    figsize: tuple[float, float] | None = None,
) -> "list[Axes] | None":
    """Plot the local causal edges of one gene, in control cells on the left, in perturbed cells on the right.

    Each edge is the one seen most often, as wide as the share of gene subsets that had an edge, which is
    written beside it; an arrow points from cause to effect, and a circle is an end that may be either.
    Shown are the neighbours with the most frequent edges, and for up to half of the places those whose edge
    changed, the least by chance first.
    The numbers, and what they mean, are those of :func:`cdn_sc.get.graph_difference`.

    .. image:: /_static/plots/graph_difference_papalexi.png
       :alt: Two graphs of STAT1 and its ten neighbours, with arrows and shares

    Parameters
    ----------
    adata
        Object with a result of :func:`~cdn_sc.tl.predict_targets`, and the expression it was made from.
    group
        Label of a group that was scored, as it is in `adata.obs` or as a string.
    gene
        One of the group's candidate genes.
    n_genes
        How many neighbours to show at most.
    groupby, control, key, n_subsets, n_shuffles, rng
        As of :func:`cdn_sc.get.graph_difference`.
    ax
        Two axes to draw on. `None` makes a figure.
    show
        Whether to show the figure. `None` shows it unless `ax` is given.
    save
        File to write the picture to; its ending says of what kind.
    figsize
        Width and height of the figure in inches.

    Returns
    -------
    `None` if the figure is shown; otherwise the two :class:`~matplotlib.axes.Axes`.

    Raises
    ------
    MissingNameError
        (A :class:`KeyError`.) No such result, group, candidate gene, column, layer or label.
    InputError
        (A :class:`ValueError`.) There are not two axes, or an argument cannot be used.
    """
    from matplotlib import pyplot as plt

    check_whole_number("n_genes", n_genes, 1)
    check_save(save)
    axes = [] if ax is None else given_axes(ax, 2, "two graphs (control and perturbed)")
    options = {"n_subsets": n_subsets, "n_shuffles": n_shuffles, "rng": rng}
    table = graph_difference_table(adata, group, gene, groupby=groupby, control=control, key=key, **options)  # type: ignore[arg-type]
    shown = _edges_to_show(table, n_genes)
    if ax is None:
        axes = list(plt.subplots(1, 2, figsize=figsize or (9.6, 4.5), layout="constrained")[1])
    for axis, arm in zip(axes, ("control", "perturbed"), strict=True):
        _draw_graph(axis, shown_names([gene], _MOST_LETTERS)[0], shown, arm)
        axis.title.set_fontsize(11)
    _add_legend(axes, table, shown)
    set_titles(axes, ["control", label_name(group)])
    finish_as = finish(axes, given=ax is not None, show=show, save=save)
    return None if finish_as is None else axes


def _edges_to_show(table: pd.DataFrame, n_genes: int) -> pd.DataFrame:
    """Return the edges that changed least by chance, and the most frequent others, by what became of them."""
    seen = table[table[["share_control", "share_perturbed"]].max(axis=1) > 0]
    is_changed = seen["change"].isin(["gained", "lost", "turned"])
    changed, others = seen[is_changed].sort_values("chance", kind="stable"), seen[~is_changed]
    # The edges that did not change say where one is: they get half of the places.
    n_changed = max(n_genes - n_genes // 2, n_genes - len(others))
    shown = pd.concat([changed.iloc[:n_changed], others.iloc[: n_genes - min(n_changed, len(changed))]])
    # The same kind side by side.
    return shown.iloc[np.argsort([_ORDER.index(change) for change in shown["change"]], kind="stable")]


def _draw_graph(axis: "Axes", gene: str, edges: pd.DataFrame, arm: str) -> None:
    axis.set(xlim=(-1.75, 1.75), ylim=(-1.2, 1.2), aspect="equal")
    axis.axis("off")
    angles = np.pi / 2 - 2 * np.pi * (np.arange(len(edges)) + 0.5) / max(len(edges), 1)
    neighbours = shown_names([str(name) for name in edges["neighbour"]], _MOST_LETTERS)
    for angle, neighbour, edge in zip(angles, neighbours, edges.to_dict("records"), strict=True):
        x, y = float(np.cos(angle)), float(np.sin(angle))
        share = float(edge[f"share_{arm}"])
        colour, dashes, _ = _STYLES[edge["change"]]
        if share > 0:
            _draw_edge(axis, gene, np.array([x, y]), str(edge[f"edge_{arm}"]), share, colour, dashes)
            axis.text(
                0.6 * x,
                0.6 * y,
                f"{share:.2f}",
                fontsize=7.5,
                ha="center",
                va="center",
                color=colour,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6},
                zorder=4,
            )
        axis.scatter(x, y, s=55, color=colour if share > 0 else "0.85", zorder=3)
        axis.annotate(
            neighbour,
            (x, y),
            xytext=(7 * x, 7 * y),
            textcoords="offset points",
            ha="center" if abs(x) < 0.2 else "left" if x > 0 else "right",
            va="center" if abs(y) < 0.9 else "bottom" if y > 0 else "top",
            fontsize=8.5,
            color="black" if share > 0 else "0.5",
        )
    if not len(edges):
        axis.text(0, -0.45, "no edges", fontsize=9, ha="center", color="0.4")
    axis.text(
        0,
        0,
        gene,
        fontsize=9,
        fontweight="bold",
        ha="center",
        va="center",
        zorder=5,
        bbox={"boxstyle": "round,pad=0.35", "facecolor": "white", "edgecolor": "black", "linewidth": 1},
    )


def _draw_edge(
    axis: "Axes",
    gene: str,
    direction: np.ndarray,
    edge: str,
    share: float,
    colour: str,
    dashes: object,
) -> None:
    """Draw the line, and the mark of each end: an arrow head, a circle, or nothing for a tail."""
    half_sizes = np.array([_HALF_WIDTH + _PER_LETTER * len(gene), _HALF_HEIGHT])
    near = direction / np.linalg.norm(direction / half_sizes)
    far = direction * (1 - _NODE)
    at_gene, at_neighbour = edge[0], edge[2]
    # The line ends inside of an arrow head, not at its tip.
    line = [
        near + (0.05 * direction if at_gene == "<" else 0),
        far - (0.05 * direction if at_neighbour == ">" else 0),
    ]
    width = 0.8 + 2.2 * share
    axis.plot(*zip(*line, strict=True), color=colour, linewidth=width, linestyle=dashes, zorder=1)
    for mark, end, outwards in ((at_gene, near, -direction), (at_neighbour, far, direction)):
        if mark in "<>":
            base = end - 0.13 * outwards
            axis.annotate(
                "",
                (end[0], end[1]),
                xytext=(base[0], base[1]),
                arrowprops={
                    "arrowstyle": "-|>,head_length=0.6,head_width=0.3",
                    "color": colour,
                    "linewidth": 0.5,
                    "shrinkA": 0,
                    "shrinkB": 0,
                },
                zorder=2,
            )
        elif mark == "o":
            axis.scatter(
                end[0], end[1], s=30, facecolors="white", edgecolors=colour, linewidths=1.2, zorder=2
            )


def _add_legend(axes: "list[Axes]", table: pd.DataFrame, shown: pd.DataFrame) -> None:
    from matplotlib.lines import Line2D

    there = [change for change in _ORDER if (shown["change"] == change).any()]
    handles = []
    for change in there:
        colour, dashes, words = _STYLES[change]
        handles.append(Line2D([], [], color=colour, linestyle=dashes, linewidth=2, label=words))  # type: ignore[arg-type]
    n_changed = int(table["change"].isin(["gained", "lost"]).sum())
    note = (
        f"{n_changed} of {len(table)} neighbours gained or lost an edge; where nothing changed, up to "
        f"{LEVEL * len(table):.0f} do by chance. Numbers: share of gene subsets with an edge."
    )
    figure = figure_of(axes[0])
    if figure.get_layout_engine() is not None:
        figure.supxlabel(note, fontsize=8, color="0.35")
        if handles:
            figure.legend(
                handles=handles, loc="outside upper center", ncols=len(handles), fontsize=8.5, frameon=False
            )
    elif handles:
        axes[-1].legend(handles=handles, loc="lower right", fontsize=7.5, frameon=False)
