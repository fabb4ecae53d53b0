"""Means over groups with bootstrap intervals, and their layout as a table."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.special import ndtr, stdtrit

from cdn_sc.metrics.ranking import METRICS

STRATA = ("all", "trivial", "not trivial")
"""Groups whose target has the largest absolute log fold change are also summarised apart."""

UNIT = "network"
"""Column that names what is independent: groups of one network share control cells and graph."""


def summarise(
    per_group: pd.DataFrame,
    by: str | Sequence[str] | None = None,
    *,
    n_bootstrap: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Average metrics over groups, with bootstrap intervals over what is independent.

    Groups of one simulated network share its control cells and its graph, so that their metrics vary
    together: where rows name their `network`, whole networks are resampled, with all their groups. Rows
    without a name stand for themselves, as the groups of a real screen do; rows of one `pair` stay together.
    The levels are those of the percentile interval, moved outwards as Student's t is beyond the normal
    distribution (the expanded percentile interval of Hesterberg, The American Statistician 2015), since
    percentiles over few networks are too narrow. Rows of one size are resampled alike, so that methods scored
    on the same groups in the same order see the same resamples.

    Parameters
    ----------
    per_group
        One row for every group (and method ...), with the columns of `METRICS` and `trivial`, and `network`
        or `pair` where rows are not independent.
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
    A tidy table: the columns of `by`, `stratum` (of `STRATA`), `metric`, `mean`, `low`, `high`, `n_groups`
    and `n_units`, the number of networks, or of groups that stand for themselves. Groups where a metric does
    not exist (NaN) are left out of its mean. `low` and `high` are NaN where all groups are of one network:
    that says nothing of others.

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
            part = bootstrap(
                values, units_of(group), n_bootstrap=n_bootstrap, confidence=confidence, seed=seed
            )
            part.insert(0, "metric", metrics)
            part.insert(0, "stratum", stratum)
            for position, (column, value) in enumerate(zip(by, key, strict=True)):
                part.insert(position, column, [value] * len(metrics))
            parts.append(part)
    return pd.concat(parts, ignore_index=True)


def units_of(per_group: pd.DataFrame) -> np.ndarray:
    """Return the number of the independent unit of each row, counted from 0 in the order of the rows.

    Parameters
    ----------
    per_group
        As of `summarise`: rows of one `network` are one unit, else those of one `pair`, else each row.
    """
    names: list[tuple[str, object]] = [("row", number) for number in range(len(per_group))]
    for column in ("pair", UNIT):
        if column in per_group.columns:
            for row, name in enumerate(per_group[column]):
                if not pd.isna(name):
                    names[row] = column, name
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return np.array([numbers[name] for name in names], dtype=int)


def bootstrap(
    values: np.ndarray,
    units: np.ndarray | None = None,
    *,
    n_bootstrap: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Mean of each column, with a bootstrap interval that draws units with all their rows.

    Parameters
    ----------
    values
        Rows x columns; NaN is left out.
    units
        Number of each row's unit, from 0; None where each row is one.
    n_bootstrap, confidence, seed
        As of `summarise`.

    Returns
    -------
    A row for every column: `mean`, `low`, `high`, `n_groups` (rows) and `n_units`.
    """
    rng = np.random.default_rng(seed)
    units = np.arange(len(values)) if units is None else units
    exists = ~np.isnan(values)
    number = int(units.max()) + 1
    sums, counts = np.zeros((number, values.shape[1])), np.zeros((number, values.shape[1]))
    np.add.at(sums, units, np.where(exists, values, 0.0))
    np.add.at(counts, units, exists)
    with np.errstate(invalid="ignore"):
        means = sums.sum(axis=0) / counts.sum(axis=0)
        # how often each unit is drawn in each resample
        draws = rng.multinomial(number, np.full(number, 1 / number), size=n_bootstrap).astype(float)
        resampled = (draws @ sums) / (draws @ counts)
    n_units = np.count_nonzero(counts, axis=0)
    low, high = np.full(means.size, np.nan), np.full(means.size, np.nan)
    for column in np.flatnonzero(n_units > 1):
        drawn = resampled[:, column]
        tail = _tail(confidence, n_units[column])
        low[column], high[column] = np.quantile(drawn[~np.isnan(drawn)], (tail, 1 - tail))
    return pd.DataFrame(
        {"mean": means, "low": low, "high": high, "n_groups": exists.sum(axis=0), "n_units": n_units}
    )


def _tail(confidence: float, n_units: int) -> float:
    """Share of the resamples below an interval: less than its nominal share, the fewer the units."""
    quantile = stdtrit(n_units - 1, (1 - confidence) / 2)
    # resamples of n units vary by (n - 1) / n of what means of n units do
    return float(ndtr(quantile * np.sqrt(n_units / (n_units - 1))))


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
        Whether to add the bootstrap interval to each mean that has one.
    """
    chosen = summary[(summary["stratum"] == stratum) & summary["metric"].isin(metrics)]
    header = [*index, *_counts(chosen), *metrics]
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    for key, rows in chosen.groupby(list(index), observed=True, sort=False, dropna=False):
        cells = {
            metric: f"{mean:.3f}" + (f" [{low:.3f}, {high:.3f}]" if interval and not np.isnan(low) else "")
            for metric, mean, low, high in zip(
                rows["metric"], rows["mean"], rows["low"], rows["high"], strict=True
            )
        }
        names = [str(part) for part in key]
        numbers = [str(rows[column].max()) for column in _counts(chosen).values()]
        lines.append("| " + " | ".join([*names, *numbers, *(cells.get(m, "") for m in metrics)]) + " |")
    return "\n".join(lines) + "\n"


def _counts(summary: pd.DataFrame) -> dict[str, str]:
    """Header of a table's numbers -> column of the summary: networks where they are not the groups."""
    counts = {"groups": "n_groups"}
    if "n_units" in summary and (summary["n_units"] != summary["n_groups"]).any():
        counts["networks"] = "n_units"
    return counts


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
