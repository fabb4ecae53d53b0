"""`cdn_sc.get.predicted_targets_df`: predicted targets as a table."""

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd
from anndata import AnnData

from cdn_sc.errors import InputError, MissingNameError, did_you_mean


def predicted_targets_df(
    adata: AnnData,
    group: str | Iterable[str] | None = None,
    *,
    key: str = "cdn_targets",
    n_genes: int | None = None,
    min_score: float | None = None,
) -> pd.DataFrame:
    """Return predicted targets as a table, as :func:`scanpy.get.rank_genes_groups_df` does for markers.

    Parameters
    ----------
    adata
        Object with a result of :func:`~cdn_sc.tl.predict_targets`.
    group
        Label of a group, or a list of labels; `None` takes all groups.
    key
        Key of `adata.uns` with the result.
    n_genes
        How many genes per group to return at most, the best first. `None`: all candidates.
    min_score
        Least score of a gene to be returned, between 0 and 1.

    Returns
    -------
    One row per group and gene, groups in the order asked for, each sorted by rank. Columns: `group`
    (left out if `group` is one label), `gene`, `rank` (1 is best), `score` (between 0 and 1),
    `logfoldchange`, and further columns of the model.

    Raises
    ------
    MissingNameError
        (A :class:`KeyError`.) No such result or group.
    InputError
        (A :class:`ValueError`.) `group` is an empty list, or `n_genes` is below 1.
    """
    if n_genes is not None and n_genes < 1:
        raise InputError(f"n_genes is a whole number of at least 1, not {n_genes!r}.")
    result = result_of(adata, key)
    table = result["table"]
    names = None if group is None else [group] if isinstance(group, str) else [str(name) for name in group]
    if names is not None:
        if not names:
            raise InputError("group is an empty list: name at least one label.")
        table = select_groups(table, list(dict.fromkeys(names)), result, key)
    if n_genes is not None:
        table = table[table["rank"] <= n_genes]
    if min_score is not None:
        table = table[table["score"] >= min_score]
    table = table.reset_index(drop=True)
    table["gene"] = table["gene"].cat.remove_unused_categories()
    return table.drop(columns="group") if isinstance(group, str) else table


def result_of(adata: AnnData, key: str) -> Mapping[str, Any]:
    """Return the result of `predict_targets` under a key of `adata.uns`.

    Parameters
    ----------
    adata
        The object.
    key
        The key.

    Returns
    -------
    Its `params`, `table` and `skipped`.
    """
    result = adata.uns.get(key)
    if isinstance(result, Mapping) and {"params", "table", "skipped"} <= set(result):
        return result
    others = [
        name
        for name, value in adata.uns.items()
        if isinstance(value, Mapping) and {"params", "table", "skipped"} <= set(value)
    ]
    hint = (
        f"Results are under {', '.join(map(repr, others))}: pass key=."
        if others
        else "Run cdn_sc.tl.predict_targets(adata, groupby, control) first."
    )
    raise MissingNameError(f"adata.uns has no predicted targets under {key!r}. {hint}")


def select_groups(
    table: pd.DataFrame, groups: list[str], result: Mapping[str, Any], key: str
) -> pd.DataFrame:
    """Return the rows of some groups, in the order asked for.

    Parameters
    ----------
    table
        The table of a result.
    groups
        Labels, without repeats.
    result
        The result, which tells the groups that were skipped.
    key
        Its key in `adata.uns`, for the message.

    Returns
    -------
    The rows, with `group` a categorical of these labels.
    """
    known = table["group"].cat.categories
    skipped = dict(zip(result["skipped"]["group"], result["skipped"]["reason"], strict=True))
    for name in groups:
        if name in skipped:
            raise MissingNameError(f"the group {name!r} was not scored: {skipped[name]}.")
        if name not in known:
            raise MissingNameError(f"adata.uns[{key!r}] has no group {name!r}. {did_you_mean(name, known)}")
    table = table[table["group"].isin(groups)]
    ordered = table["group"].cat.set_categories(groups)
    return table.assign(group=ordered).sort_values(["group", "rank"], kind="stable")
