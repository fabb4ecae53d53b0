"""What all plots share: colours, which groups, the axes, and how a plot ends."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from anndata import AnnData

from cdn_sc._labels import LabelIndex, as_genes, label_name
from cdn_sc._logging import logger
from cdn_sc.errors import InputError, did_you_mean
from cdn_sc.get import predicted_targets_df
from cdn_sc.get._arguments import as_list
from cdn_sc.get._predicted_targets_df import result_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The colours of Okabe and Ito (2008), which are told apart with any colour vision.
BLUE, VERMILLION, GREEN = "#0072B2", "#D55E00", "#009E73"
ORANGE, SKY_BLUE, PURPLE = "#E69F00", "#56B4E9", "#CC79A7"
GREY = "#8A8A8A"

Targets = Mapping[Any, str | Sequence[str]]

_MOST_PANELS, _MOST_PANELS_ASKED_FOR = 12, 60
_COLUMNS = 4


def rows_of_panels(
    adata: AnnData, groups: object | Iterable[object] | None, key: str
) -> dict[str, pd.DataFrame]:
    """Return the rows of each group that gets a panel; of all groups the first 12."""
    table = predicted_targets_df(adata, None if groups is None else as_list(groups, "groups"), key=key)
    names = list(table["group"].cat.categories)
    if groups is None and len(names) > _MOST_PANELS:
        logger.info(
            "Plotting the first %d of %d groups: choose others in groups=[...].", _MOST_PANELS, len(names)
        )
        names = names[:_MOST_PANELS]
    if len(names) > _MOST_PANELS_ASKED_FOR:
        raise InputError(
            f"groups names {len(names)} groups, and a figure holds {_MOST_PANELS_ASKED_FOR} panels at most: "
            "name fewer, or take cdn_sc.pl.target_heatmap."
        )
    return {name: table[table["group"] == name] for name in names}


def known_targets(targets: Targets | None, adata: AnnData, key: str) -> dict[str, list[str]]:
    """Return the known targets of all groups of a result; empty names, None and NaN stand for none.

    Warns
    -----
    UserWarning
        If none of the labels is a group of the result.
    """
    result = result_of(adata, key)
    groups = [*result["table"]["group"].cat.categories, *result["skipped"]["group"]]
    if targets is None:
        return {group: [] for group in groups}
    if not isinstance(targets, Mapping | pd.Series):
        raise InputError(
            f"targets is a {type(targets).__name__}, and a mapping of group to target gene (or genes) is "
            "wanted."
        )
    found, unknown = LabelIndex(groups, f"adata.uns[{key!r}]").by_name(targets)
    if unknown and not found:
        first = next(iter(unknown))
        warnings.warn(
            f"none of the labels in targets is a group of the result, such as {label_name(first)!r}. "
            f"{did_you_mean(first, groups)}",
            stacklevel=3,
        )
    return {group: as_genes(group, found.get(group)) for group in groups}


def panel_axes(
    ax: "Axes | Sequence[Axes] | None",
    names: Sequence[str],
    *,
    size: tuple[float, float],
    figsize: tuple[float, float] | None,
    sharex: bool = False,
) -> "list[Axes]":
    """Return one axes per group: those given, or those of a new figure.

    Parameters
    ----------
    ax
        Axes of the user's, or None.
    names
        The groups.
    size
        Width and height of a panel in inches.
    figsize
        Width and height of the figure; None makes it fit.
    sharex
        Whether all panels of a new figure share one x axis.
    """
    if ax is not None:
        return given_axes(ax, len(names), f"{len(names)} groups: give one per group")
    from matplotlib import pyplot as plt

    n_columns = min(_COLUMNS, len(names))
    n_rows = -(-len(names) // n_columns)
    if figsize is None:
        figsize = (size[0] * n_columns + 0.9, size[1] * n_rows + 0.3)
    _, grid = plt.subplots(
        n_rows, n_columns, figsize=figsize, sharex=sharex, squeeze=False, layout="constrained"
    )
    axes = list(grid.ravel())
    for unused in axes[len(names) :]:
        unused.set_visible(False)
    return axes[: len(names)]


def given_axes(ax: "Axes | Sequence[Axes]", number: int, wanted: str) -> "list[Axes]":
    """Return axes of the user's as a list, of the right length."""
    from matplotlib.axes import Axes

    axes = list(np.ravel(np.asarray(ax, dtype=object)))
    if wrong := [axis for axis in axes if not isinstance(axis, Axes)]:
        raise InputError(f"ax holds {wrong[0]!r}, which is no axes of matplotlib.")
    if len(axes) != number:
        raise InputError(f"ax holds {len(axes)} axes for {wanted}.")
    return axes


def figure_of(axis: "Axes") -> "Figure":
    """Return the figure that the axes belong to, the whole one where they are in a part of it."""
    parent = axis.get_figure()
    if parent is None:
        raise InputError("ax belongs to no figure any more: make new axes.")
    return parent.figure


def check_save(save: str | PathLike[str] | None) -> None:
    """Raise if the picture could not be written, before it is drawn."""
    if save is not None and not Path(save).parent.is_dir():
        raise InputError(f"save={str(save)!r}: there is no folder {str(Path(save).parent)!r}.")
    if save is not None and (suffix := Path(save).suffix.lstrip(".").lower()):
        from matplotlib.backend_bases import FigureCanvasBase

        if suffix not in (known := FigureCanvasBase.get_supported_filetypes()):
            raise InputError(f"save={str(save)!r}: pictures are written as {', '.join(sorted(known))}.")


def finish(
    axes: "list[Axes]", *, given: bool, show: bool | None, save: str | PathLike[str] | None
) -> "Axes | list[Axes] | None":
    """Write the picture if that is wanted; show it, or return its axes."""
    from matplotlib import pyplot as plt

    if save is not None:
        figure_of(axes[0]).savefig(save, dpi=150, bbox_inches="tight")
    if show or (show is None and not given):
        plt.show()
        return None
    return axes[0] if len(axes) == 1 else axes


def tidy(axis: "Axes", *, title: str = "", x: str = "", y: str = "") -> None:
    """Set labels, and leave out the frame at the top and the right."""
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=8)
    axis.set_title(title, fontsize=10.5)
    axis.set_xlabel(x, fontsize=9)
    axis.set_ylabel(y, fontsize=9)
