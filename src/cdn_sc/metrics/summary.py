"""Means over groups with bootstrap intervals, and their layout as a table."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from cdn_sc.metrics.ranking import METRICS

STRATA = ("all", "trivial", "not trivial")
"""Groups whose target has the largest absolute log fold change are also summarised apart."""


def summarise(
    per_group: pd.DataFrame,
    by: str | Sequence[str] | None = None,
    *,
    n_bootstrap: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Average metrics over groups, with percentile bootstrap intervals over the groups.

    Rows of one size are resampled alike, so that methods scored on the same groups in the same order see
    the same resamples.

    Parameters
    ----------
    per_group
        One row for every group (and method ...), with the columns of `METRICS` and `trivial`.
    by
        Columns to summarise apart, such as ``["method", "mechanism"]``.
    n_bootstrap
        Number of resamples.
    confidence
        Level of the interval.
    seed
        Seed of the resampling.

    Returns
    -------
    A tidy table: the columns of `by`, `stratum` (of `STRATA`), `metric`, `mean`, `low`, `high` and
    `n_groups`. Groups where a metric does not exist (NaN) are left out of its mean.

    Raises
    ------
    ValueError
        If a column of `by` is missing.
    """
    by = [by] if isinstance(by, str) else list(by or ())
    absent = [column for column in by if column not in per_group.columns]
    if absent:
        raise ValueError(f"no such columns to summarise by: {absent}; there are {list(per_group.columns)}")
    metrics = [metric for metric in METRICS if metric in per_group.columns]
    trivial = per_group["trivial"].to_numpy(dtype=bool)
    parts = []
    for stratum, keep in zip(STRATA, (np.ones_like(trivial), trivial, ~trivial), strict=True):
        rows = per_group[keep]
        grouped = rows.groupby(by, observed=True, sort=False, dropna=False) if by else [((), rows)]
        for key, group in grouped:
            if group.empty:
                continue
            values = group[metrics].to_numpy(dtype=float)
            part = _bootstrap(values, n_bootstrap, confidence, np.random.default_rng(seed))
            part.insert(0, "metric", metrics)
            part.insert(0, "stratum", stratum)
            for position, (column, value) in enumerate(zip(by, key, strict=True)):
                part.insert(position, column, [value] * len(metrics))
            parts.append(part)
    return pd.concat(parts, ignore_index=True)


def _bootstrap(
    values: np.ndarray, n_bootstrap: int, confidence: float, rng: np.random.Generator
) -> pd.DataFrame:
    """Mean and interval of each column of groups x metrics, leaving out NaN."""
    n_groups = len(values)
    exists = ~np.isnan(values)
    filled = np.where(exists, values, 0.0)
    counts = exists.sum(axis=0)
    with np.errstate(invalid="ignore"):
        means = filled.sum(axis=0) / counts
        # how often each group is drawn in each resample
        draws = rng.multinomial(n_groups, np.full(n_groups, 1 / n_groups), size=n_bootstrap).astype(float)
        resampled = (draws @ filled) / (draws @ exists)
    tail = (1 - confidence) / 2
    low, high = np.full(means.size, np.nan), np.full(means.size, np.nan)
    for column in np.flatnonzero(counts):
        drawn = resampled[:, column]
        low[column], high[column] = np.quantile(drawn[~np.isnan(drawn)], (tail, 1 - tail))
    return pd.DataFrame({"mean": means, "low": low, "high": high, "n_groups": counts})


def to_markdown(
    summary: pd.DataFrame,
    *,
    metrics: Sequence[str] = METRICS,
    index: Sequence[str] = ("method",),
    stratum: str = "all",
    interval: bool = True,
) -> str:
    """Lay a summary out as a Markdown table: a row for every index, a column for every metric.

    Parameters
    ----------
    summary
        As `summarise` returns it.
    metrics
        Columns of the table, in order.
    index
        Columns of `summary` that name the rows.
    stratum
        One of `STRATA`.
    interval
        Whether to add the bootstrap interval to each mean.
    """
    chosen = summary[(summary["stratum"] == stratum) & summary["metric"].isin(metrics)]
    header = [*index, "groups", *metrics]
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    for key, rows in chosen.groupby(list(index), observed=True, sort=False, dropna=False):
        cells = {
            metric: f"{mean:.3f}" + (f" [{low:.3f}, {high:.3f}]" if interval else "")
            for metric, mean, low, high in zip(
                rows["metric"], rows["mean"], rows["low"], rows["high"], strict=True
            )
        }
        names = [str(part) for part in key]
        lines.append(
            "| "
            + " | ".join([*names, str(rows["n_groups"].max()), *(cells.get(m, "") for m in metrics)])
            + " |"
        )
    return "\n".join(lines) + "\n"


def to_wide_markdown(
    summary: pd.DataFrame,
    index: Sequence[str],
    *,
    metrics: Sequence[str] = ("average_precision", "auroc"),
    stratum: str = "all",
) -> str:
    """Lay a summary out as a Markdown table with a column for every method.

    Parameters
    ----------
    summary
        As `summarise` returns it, by `method` and the columns of `index`.
    index
        Columns of `summary` that name the rows.
    metrics
        The metrics, in one cell each time, apart by a slash.
    stratum
        One of `STRATA`.
    """
    chosen = summary[summary["stratum"] == stratum]
    methods = list(chosen["method"].unique())
    header = [*index, "groups", *methods]
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    for key, rows in chosen.groupby(list(index), observed=True, sort=False, dropna=False):
        means = rows.set_index(["method", "metric"])["mean"]
        cells = [" / ".join(f"{means[method, metric]:.3f}" for metric in metrics) for method in methods]
        names = [str(part) for part in key]
        lines.append("| " + " | ".join([*names, str(rows["n_groups"].max()), *cells]) + " |")
    return "\n".join(lines) + "\n"
