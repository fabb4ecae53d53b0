"""`cdn_sc.pl.evaluation`: how well methods find known targets."""

from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cdn_sc.errors import InputError, MissingNameError, did_you_mean
from cdn_sc.pl._figure import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY_BLUE,
    VERMILLION,
    check_save,
    finish,
    given_axes,
    tidy,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from cdn_sc.metrics import EvaluationResult

# Solid lines for models, dashes for rivals; colours and dashes repeat after that many.
_COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY_BLUE, "black")
_DASHES = ((4, 1.5), (1, 1.2), (5, 1.5, 1, 1.5))
_LABELS = {
    "recall_at_1": "recall@1",
    "recall_at_5": "recall@5",
    "recall_at_10": "recall@10",
    "recall_at_top_1_percent": "recall@1%",
    "normalised_rank": "normalised\nrank",
    "reciprocal_rank": "reciprocal\nrank",
    "average_precision": "average\nprecision",
    "auroc": "AUROC",
}
_LONGEST_LIST = 100
_N_BOOTSTRAP = 400


def evaluation(
    result: "EvaluationResult | str | PathLike[str]",
    *,
    metrics: Sequence[str] = ("recall_at_1", "recall_at_10", "average_precision", "auroc"),
    stratum: str = "all",
    ax: "Axes | Sequence[Axes] | None" = None,
    show: bool | None = None,
    save: str | PathLike[str] | None = None,
    figsize: tuple[float, float] | None = None,
) -> "list[Axes] | None":
    """Plot how well models and rivals find known targets: recall curves, and a table of means.

    The curves say for which share of the groups a known target is among the best k genes; of groups with one
    target that is the recall at k. Models have solid lines with 95% bootstrap intervals over the networks,
    or over the groups of a real screen, rivals dashed ones, random order is grey. The table is that of the
    evaluation: means with their bootstrap intervals, methods in falling order of the first column, the
    highest mean of each column in bold.

    .. image:: /_static/plots/evaluation_groups.png
       :alt: Recall curves of a model and its rivals, and the table of their means

    Parameters
    ----------
    result
        What :func:`cdn_sc.metrics.evaluate` returned, or the folder that `cdn-sc evaluate` wrote.
    metrics
        Columns of the table, of :data:`cdn_sc.metrics.METRICS`.
    stratum
        Which groups: `all`, `trivial` (a target has the largest absolute log fold change of all genes) or
        `not trivial`.
    ax
        Two axes to draw on, for the curves and the table. `None` makes a figure.
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
        (A :class:`KeyError`.) No such file, metric or stratum.
    InputError
        (A :class:`ValueError`.) There are not two axes, or `result` is no evaluation.
    """
    from matplotlib import pyplot as plt

    check_save(save)
    result = _as_result(result)
    per_group = _groups_of_stratum(result.per_group, stratum)
    table = _table(result.summarise(), list(metrics), stratum)
    axes = [] if ax is None else given_axes(ax, 2, "two panels (curves and table)")
    if ax is None:
        height = max(3.4, 0.36 * len(table) + 1.1)
        widths = (4.2, 1.4 + 1.05 * len(metrics))
        figure = plt.figure(figsize=figsize or (sum(widths) + 0.4, height), layout="constrained")
        axes = list(figure.subplots(1, 2, width_ratios=widths))
    styles = _styles(list(table.index), list(result.settings.get("predictors", {})))
    _draw_curves(axes[0], per_group, styles, int(result.settings.get("seed", 0)))
    _draw_table(axes[1], table, styles, list(metrics))
    n_groups = per_group["pair"].nunique()
    which = "" if stratum == "all" else f" ({stratum})"
    axes[1].set_title(f"{n_groups:,} groups{which}, mean [95% interval]", fontsize=10)
    finish_as = finish(axes, given=ax is not None, show=show, save=save)
    return None if finish_as is None else axes


def _as_result(result: object) -> "EvaluationResult":
    from cdn_sc.metrics import EvaluationResult

    if isinstance(result, str | PathLike):
        return EvaluationResult.read(result)
    if not isinstance(result, EvaluationResult):
        raise InputError(
            f"result is a {type(result).__name__}, and what cdn_sc.metrics.evaluate returns is wanted, or "
            "the folder that `cdn-sc evaluate` wrote."
        )
    return result


def _groups_of_stratum(per_group: pd.DataFrame, stratum: str) -> pd.DataFrame:
    from cdn_sc.metrics.summary import STRATA

    if stratum not in STRATA:
        raise MissingNameError(f"there is no stratum {stratum!r}. {did_you_mean(stratum, STRATA)}")
    trivial = per_group["trivial"].astype(bool)
    kept = per_group if stratum == "all" else per_group[trivial if stratum == "trivial" else ~trivial]
    if kept.empty:
        raise MissingNameError(f"the evaluation has no groups of the stratum {stratum!r}.")
    return kept


def _table(summary: pd.DataFrame, metrics: list[str], stratum: str) -> pd.DataFrame:
    """Mean, low and high of each metric, methods in falling order."""
    there = list(summary["metric"].unique())
    for metric in metrics:
        if metric not in there:
            raise MissingNameError(f"there is no metric {metric!r}. {did_you_mean(metric, there)}")
    if not metrics:
        raise InputError("metrics is empty: name at least one column of the table.")
    rows = summary[(summary["stratum"] == stratum) & summary["metric"].isin(metrics)]
    # a pivot table would leave out columns that are NaN altogether, as intervals of one network are
    table = rows.pivot(index="method", columns="metric", values=["mean", "low", "high"])  # noqa: PD010
    table = table.loc[rows["method"].unique()]
    return table.sort_values(("mean", metrics[0]), ascending=False, kind="stable")


def _styles(methods: list[str], models: list[str]) -> dict[str, dict[str, object]]:
    """Line of each method, the models first."""
    styles: dict[str, dict[str, object]] = {}
    ordered = [method for method in methods if method in models]
    ordered += [method for method in methods if method not in models]
    number = 0
    for method in ordered:
        if method == "random":
            styles[method] = {"color": GREY, "linewidth": 1.2, "linestyle": (0, (1, 1))}
            continue
        dashes = "-" if method in models else (0, _DASHES[number // len(_COLOURS) % len(_DASHES)])
        styles[method] = {
            "color": _COLOURS[number % len(_COLOURS)],
            "linewidth": 2.4 if method in models else 1.4,
            "linestyle": dashes,
        }
        number += 1
    return styles


def _best_ranks(per_group: pd.DataFrame) -> np.ndarray:
    """Rank of each group's best target, from its normalised rank."""
    n_genes = per_group["n_candidates"] + per_group["n_missing"]
    # Of a single candidate there is no normalised rank.
    return (1 + (1 - per_group["normalised_rank"].fillna(1)) * (n_genes - 1)).round().to_numpy(dtype=int)


def _draw_curves(
    axis: "Axes", per_group: pd.DataFrame, styles: dict[str, dict[str, object]], seed: int
) -> None:
    from cdn_sc.metrics.summary import bootstrap, units_of

    longest = int(min(_LONGEST_LIST, (per_group["n_candidates"] + per_group["n_missing"]).max()))
    lengths = np.arange(1, longest + 1)
    for method, style in reversed(styles.items()):
        rows = per_group[per_group["method"] == method]
        found = _best_ranks(rows)[:, None] <= lengths
        if style["linestyle"] == "-":
            band = bootstrap(found.astype(float), units_of(rows), n_bootstrap=_N_BOOTSTRAP, seed=seed)
            axis.fill_between(
                lengths, band["low"], band["high"], step="post", color=style["color"], alpha=0.18, linewidth=0
            )
        axis.step(lengths, found.mean(axis=0), where="post", label=method, **style)  # type: ignore[arg-type]
    one_target = bool((per_group["n_targets"] == 1).all())
    tidy(
        axis,
        x="best k genes",
        y="recall at k" if one_target else "groups with a target among the best k",
    )
    axis.set_xscale("log")
    ticks = [tick for tick in (1, 2, 5, 10, 20, 50, 100) if tick <= longest]
    axis.set_xticks(ticks, [str(tick) for tick in ticks])
    axis.set_xticks([], minor=True)
    axis.set_xlim(1, max(longest, 2))
    axis.set_ylim(0, 1.02)
    axis.grid(axis="y", color="0.92", linewidth=0.8)
    axis.set_axisbelow(True)


def _draw_table(
    axis: "Axes", table: pd.DataFrame, styles: dict[str, dict[str, object]], metrics: list[str]
) -> None:
    n_rows, n_columns = len(table), len(metrics)
    # The names of the methods take as much room as a column and a half, their lines a third of one.
    axis.set(xlim=(-1.75, n_columns), ylim=(n_rows, -1))
    axis.axis("off")
    for column, metric in enumerate(metrics):
        label = _LABELS.get(metric, metric.replace("_", "\n"))
        axis.text(column + 0.5, -0.55, label, ha="center", va="center", fontsize=8.5, fontweight="bold")
    axis.axhline(0, color="0.3", linewidth=0.8)
    # As written: who is best by less than that is not.
    means = table["mean"].round(2)
    for row, method in enumerate(table.index):
        middle = row + 0.5
        axis.plot([-1.75, -1.42], [middle, middle], **styles[method])  # type: ignore[arg-type]
        axis.text(-1.35, middle, method, va="center", fontsize=8.5)
        for column, metric in enumerate(metrics):
            mean, low, high = (table[part, metric][method] for part in ("mean", "low", "high"))
            weight = "bold" if means[metric][method] == means[metric].max() else "normal"
            place = column + 0.5
            axis.text(
                place, middle - 0.17, f"{mean:.2f}", ha="center", va="center", fontsize=9, weight=weight
            )
            # groups of one network alone have none
            interval = "" if np.isnan(low) else f"[{low:.2f}, {high:.2f}]"
            axis.text(place, middle + 0.24, interval, ha="center", va="center", fontsize=6.5, color="0.4")
        axis.axhline(row + 1, color="0.9", linewidth=0.6)
