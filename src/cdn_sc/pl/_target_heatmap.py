"""`cdn_sc.pl.target_heatmap`: scores of groups by genes, for few groups or thousands."""

from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from anndata import AnnData

from cdn_sc.get import predicted_targets_df
from cdn_sc.get._arguments import as_list, check_whole_number
from cdn_sc.pl._figure import VERMILLION, check_save, figure_of, finish, given_axes, known_targets, tidy
from cdn_sc.pl._names import MOST_LETTERS, shown_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

# White to blue gets darker all the way, and leaves grey for what has no score. Colours go by the square root:
# most of what is worth seeing lies below a score of 0.3.
_COLOURS, _NOT_SCORED, _POWER = "Blues", "0.8", 0.5
# Inches per gene and group where every one is labelled, and the largest figure.
_CELL, _LARGEST = 0.19, (11.0, 8.5)
_SMALLEST_LABEL = 5.5
# Distances between all groups take memory and time that grow with the square of their number.
_MOST_TO_CLUSTER, _MOST_FOR_BEST_ORDER = 5000, 300
_POINTS = 72.0
# More rows or columns than this in a point could not be told apart in print.
_CELLS_PER_POINT = 2


def target_heatmap(
    adata: AnnData,
    groups: object | Iterable[object] | None = None,
    *,
    n_genes: int = 3,
    key: str = "cdn_targets",
    targets: Mapping[str, str | Sequence[str]] | None = None,
    ax: "Axes | None" = None,
    show: bool | None = None,
    save: str | PathLike[str] | None = None,
    figsize: tuple[float, float] | None = None,
) -> "Axes | None":
    """Plot the scores of many groups as a heatmap, groups by genes, alike ones side by side.

    The genes are the best of each group, and known targets that were scored. Groups are ordered by average
    linkage on the cosine distance of their scores, each gene by the first group that has its highest score,
    so that the best genes run along the diagonal, and groups with the same targets make blocks. Of more than
    5,000 groups those with the same best gene are put side by side instead. Where a gene was no candidate of
    a group there is no score, and the cell is grey. Colours go by the square root of the score. Names are
    left out where there is no room for legible ones, known targets (open squares) where cells are too small.
    Where a point of print holds several groups it shows the highest score of them.

    .. image:: /_static/plots/target_heatmap_papalexi.png
       :alt: Heatmap of 25 groups by their best genes

    Parameters
    ----------
    adata
        Object with a result of :func:`~cdn_sc.tl.predict_targets`.
    groups
        Label of a group, or a list of labels, as they are in `adata.obs` or as strings; `None` plots all.
    n_genes
        How many of the best genes of each group to show.
    key
        Key of `adata.uns` with the result.
    targets
        For each group its known target, or a list of them. Groups without an entry, or with an empty one,
        have none.
    ax
        Axes to draw on. `None` makes a figure.
    show
        Whether to show the figure. `None` shows it unless `ax` is given.
    save
        File to write the picture to; its ending says of what kind.
    figsize
        Width and height of the figure in inches.

    Returns
    -------
    `None` if the figure is shown; otherwise the :class:`~matplotlib.axes.Axes`.

    Raises
    ------
    MissingNameError
        (A :class:`KeyError`.) No such result or group.
    InputError
        (A :class:`ValueError`.) An argument cannot be used.
    """
    check_whole_number("n_genes", n_genes, 1)
    check_save(save)
    table = predicted_targets_df(adata, None if groups is None else as_list(groups, "groups"), key=key)
    of_groups = known_targets(targets, adata, key)
    known = {name: of_groups[name] for name in table["group"].cat.categories}
    scores = _ordered(_scores(table, n_genes, known))
    axis = _new_axes(scores, figsize) if ax is None else given_axes(ax, 1, "one heatmap")[0]
    image = _draw(axis, scores)
    _name_rows_and_columns(axis, scores)
    marked = _mark_targets(axis, scores, known)
    _add_keys(axis, image, marked, bool(scores.isna().any(axis=None)))
    finish_as = finish([axis], given=ax is not None, show=show, save=save)
    return None if finish_as is None else axis


def _scores(table: pd.DataFrame, n_genes: int, known: Mapping[str, list[str]]) -> pd.DataFrame:
    """Scores, groups by the genes to show; NaN where a gene was no candidate."""
    genes = table["gene"].cat.categories.astype(str)
    shown = np.zeros(len(genes), dtype=bool)
    shown[table.loc[table["rank"] <= n_genes, "gene"].cat.codes] = True
    shown |= genes.isin([gene for listed in known.values() for gene in listed])
    rows, columns = table["group"].cat.codes.to_numpy(), table["gene"].cat.codes.to_numpy()
    kept = shown[columns]
    place = np.cumsum(shown) - 1
    values = np.full((len(table["group"].cat.categories), int(shown.sum())), np.nan, dtype=np.float32)
    values[rows[kept], place[columns[kept]]] = table["score"].to_numpy()[kept]
    return pd.DataFrame(values, index=table["group"].cat.categories.astype(str), columns=genes[shown])


def _ordered(scores: pd.DataFrame) -> pd.DataFrame:
    """Put groups with alike scores side by side, and each gene where its highest score is."""
    values = np.nan_to_num(scores.to_numpy(dtype=float))
    rows = _order_of_groups(values)
    highest = values[rows].argmax(axis=0)
    columns = np.lexsort((-values.max(axis=0), highest))
    return scores.iloc[rows, columns]


def _order_of_groups(values: np.ndarray) -> np.ndarray:
    from scipy.cluster.hierarchy import leaves_list, linkage

    n_groups = len(values)
    if n_groups < 3:
        return np.arange(n_groups)
    if n_groups > _MOST_TO_CLUSTER:
        return np.lexsort((-values.max(axis=1), values.argmax(axis=1)))
    length = np.linalg.norm(values, axis=1, keepdims=True)
    directions = np.divide(values, length, out=np.zeros_like(values), where=length > 0)
    # Of directions of length 1 the Euclidean distance orders pairs as the cosine does.
    tree = linkage(directions, method="average", optimal_ordering=n_groups <= _MOST_FOR_BEST_ORDER)
    return leaves_list(tree)


def _new_axes(scores: pd.DataFrame, figsize: tuple[float, float] | None) -> "Axes":
    from matplotlib import pyplot as plt

    if figsize is None:
        n_groups, n_genes = scores.shape
        longest, longest_gene = (
            min(max(len(str(name)) for name in names), MOST_LETTERS)
            for names in (scores.index, scores.columns)
        )
        figsize = (
            float(np.clip(_CELL * n_genes + 0.12 * longest + 1.4, 4.0, _LARGEST[0])),
            float(np.clip(_CELL * n_groups + 1.4 + 0.1 * max(longest_gene - 10, 0), 2.6, _LARGEST[1])),
        )
    return plt.subplots(figsize=figsize, layout="constrained")[1]


def _draw(axis: "Axes", scores: pd.DataFrame) -> "AxesImage":
    import matplotlib as mpl
    from matplotlib.colors import PowerNorm

    n_groups, n_genes = scores.shape
    width, height = _cell_size(axis, scores)
    values = _pooled(scores.to_numpy(), int(_CELLS_PER_POINT * height * n_groups), axis=0)
    values = _pooled(values, int(_CELLS_PER_POINT * width * n_genes), axis=1)
    highest = float(np.nanmax(values))
    return axis.imshow(
        np.ma.masked_invalid(values),
        aspect="auto",
        cmap=mpl.colormaps[_COLOURS].with_extremes(bad=_NOT_SCORED),
        norm=PowerNorm(_POWER, 0, highest if highest > 0 else 1),
        interpolation="nearest",
        extent=(-0.5, n_genes - 0.5, n_groups - 0.5, -0.5),
    )


def _pooled(values: np.ndarray, most: int, axis: int) -> np.ndarray:
    """Put neighbours together, by the highest of their scores, until there are few enough."""
    number = values.shape[axis]
    if number <= most:
        return values
    starts = np.linspace(0, number, max(most, 1), endpoint=False).astype(int)
    return np.fmax.reduceat(values, starts, axis=axis)


def _cell_size(axis: "Axes", scores: pd.DataFrame) -> tuple[float, float]:
    """Width and height of a cell in points, as far as can be told before the layout is done."""
    box = axis.get_window_extent()
    to_points = _POINTS / figure_of(axis).dpi
    return box.width * to_points / scores.shape[1], box.height * to_points / scores.shape[0]


def _name_rows_and_columns(axis: "Axes", scores: pd.DataFrame) -> None:
    tidy(axis)
    axis.spines[["left", "bottom"]].set_visible(False)
    axis.tick_params(length=0)
    width, height = _cell_size(axis, scores)
    for which, names, size, noun in (
        (axis.yaxis, scores.index, height, "groups"),
        (axis.xaxis, scores.columns, width, "genes"),
    ):
        font = min(9.0, 0.8 * size)
        if font >= _SMALLEST_LABEL:
            which.set_ticks(np.arange(len(names)), shown_names(list(names)), fontsize=font)
        else:
            which.set_ticks([])
            which.set_label_text(f"{len(names):,} {noun}", fontsize=10)
    if len(axis.get_xticks()):
        axis.tick_params(axis="x", rotation=90)


def _mark_targets(axis: "Axes", scores: pd.DataFrame, known: Mapping[str, list[str]]) -> bool:
    """Frame the cells of known targets; return whether there are any, and room for frames."""
    side = min(_cell_size(axis, scores))
    column_of = {gene: column for column, gene in enumerate(scores.columns)}
    cells = [
        (column_of[gene], row)
        for row, group in enumerate(scores.index)
        for gene in known[group]
        if gene in column_of
    ]
    if not cells or side < 4:
        return False
    x, y = zip(*cells, strict=True)
    axis.scatter(x, y, marker="s", s=(0.8 * min(side, 14)) ** 2, facecolors="none", edgecolors=VERMILLION)
    return True


def _add_keys(axis: "Axes", image: "AxesImage", marked: bool, missing: bool) -> None:
    """Add the colour bar, and what grey cells and squares mean where there are some."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    bar = figure_of(axis).colorbar(image, ax=axis, shrink=0.6, aspect=22, pad=0.02)
    bar.set_label("score", fontsize=9)
    bar.ax.tick_params(labelsize=8)
    handles: list[Patch | Line2D] = []
    if missing:
        handles.append(Patch(color=_NOT_SCORED, label="not scored"))
    if marked:
        square = Line2D([], [], color="none", marker="s", markerfacecolor="none", markeredgecolor=VERMILLION)
        square.set_label("known target")
        handles.append(square)
    if handles:
        axis.legend(
            handles=handles,
            loc="lower right",
            bbox_to_anchor=(1, 1),
            ncols=2,
            fontsize=8,
            frameon=False,
            borderpad=0.2,
        )
