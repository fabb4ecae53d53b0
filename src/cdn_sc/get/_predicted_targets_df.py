"""`cdn_sc.get.predicted_targets_df`: predicted targets as a table."""

from collections.abc import Iterable, Mapping
from numbers import Real
from typing import Any

import pandas as pd
from anndata import AnnData

from cdn_sc._labels import LabelIndex, label_name
from cdn_sc.errors import InputError, MissingNameError, did_you_mean
from cdn_sc.get._arguments import as_list, check_whole_number

_PARTS = ("params", "table", "skipped")
# Since version 2.1; results of earlier ones are read too.
_NEWER_PARTS = ("groups",)
# Parameters that `predict_targets` keeps, and other tools do not.
_OUR_PARAMS = frozenset({"model_sha256", "n_subsets", "min_cells"})


def predicted_targets_df(
    adata: AnnData,
    group: object | Iterable[object] | None = None,
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
        Label of a group, or a list of labels, as they are in `adata.obs` or as strings; `None` takes all
        groups.
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
    `logfoldchange`, the gene's own `t_statistic` and `wilcoxon_statistic`, and where the model can tell
    `score_elsewhere`, how much of the score came from other genes, `direction`, which way a target went, and
    `score_relations`, how much came from known relations; see :func:`~cdn_sc.tl.predict_targets`.

    Raises
    ------
    MissingNameError
        (A :class:`KeyError`.) No such result or group.
    InputError
        (A :class:`ValueError`.) `group` is an empty list, `n_genes` is no whole number of at least 1, or
        `min_score` is no number.
    """
    if n_genes is not None:
        check_whole_number("n_genes", n_genes, 1)
    if min_score is not None and (isinstance(min_score, bool) or not isinstance(min_score, Real)):
        raise InputError(f"min_score is a number between 0 and 1, not {min_score!r}.")
    result = result_of(adata, key)
    table = result["table"]
    if group is not None:
        table = select_groups(adata, key, as_list(group, "group"))
    if n_genes is not None:
        table = table[table["rank"] <= n_genes]
    if min_score is not None:
        table = table[table["score"] >= min_score]
    table = table.reset_index(drop=True)
    table["gene"] = table["gene"].cat.remove_unused_categories()
    one = isinstance(group, str) or not (group is None or isinstance(group, Iterable))
    return table.drop(columns="group") if one else table


def is_result(value: object) -> bool:
    """Return whether a value of `adata.uns` is a result of `predict_targets`."""
    return isinstance(value, Mapping) and set(_PARTS) <= set(value)


def is_part_of_result(value: object) -> bool:
    """Return whether a value of `adata.uns` is what joining or editing objects has left of a result.

    It is ours if it holds nothing but parts of a result, with parameters that no other tool writes.
    """
    return (
        isinstance(value, Mapping)
        and not is_result(value)
        and set(value) <= {*_PARTS, *_NEWER_PARTS}
        and isinstance(value.get("params"), Mapping)
        and not _OUR_PARAMS.isdisjoint(value["params"])
    )


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
    if is_result(result):
        return result
    if is_part_of_result(result):
        absent = " and ".join(repr(part) for part in _PARTS if part not in result)
        raise MissingNameError(
            f"adata.uns[{key!r}] holds only a part of a result: {absent} is missing, as when objects are "
            "joined (anndata.concat with uns_merge). Run cdn_sc.tl.predict_targets again, or read the tables "
            "of the objects before they are joined."
        )
    others = [name for name, value in adata.uns.items() if is_result(value)]
    hint = (
        f"Results are under {', '.join(map(repr, others))}: pass key=."
        if others
        else "Run cdn_sc.tl.predict_targets(adata, groupby, control) first."
    )
    raise MissingNameError(f"adata.uns has no predicted targets under {key!r}. {hint}")


def select_groups(adata: AnnData, key: str, labels: list) -> pd.DataFrame:
    """Return the rows of some groups of a result, in the order asked for.

    Parameters
    ----------
    adata
        The object.
    key
        Key of `adata.uns` with the result.
    labels
        Labels, as they are in `adata.obs` or as strings.

    Returns
    -------
    The rows, with `group` a categorical of these labels.
    """
    result = result_of(adata, key)
    table = result["table"]
    scored = table["group"].cat.categories
    skipped = dict(zip(result["skipped"]["group"], result["skipped"]["reason"], strict=True))
    index = LabelIndex([*scored, *skipped], f"adata.uns[{key!r}]")
    names = []
    for label in labels:
        name = index.find(label)
        if name is None:
            raise MissingNameError(
                f"adata.uns[{key!r}] has no group {label_name(label)!r}. {did_you_mean(label, scored)}"
            )
        if name in skipped:
            raise MissingNameError(f"the group {name!r} was not scored: {skipped[name]}.")
        names.append(name)
    names = list(dict.fromkeys(names))
    table = table[table["group"].isin(names)]
    ordered = table["group"].cat.set_categories(names)
    return table.assign(group=ordered).sort_values(["group", "rank"], kind="stable")
