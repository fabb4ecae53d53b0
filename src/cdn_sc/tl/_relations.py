"""Relations that the user knows, from a table as decoupler's resources have it to places among the genes."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from cdn_sc._known_relations import KnownRelations
from cdn_sc._logging import logger
from cdn_sc.errors import InputError, MissingNameError

_SHOWN = 5


def resolve_relations(
    relations: Any,
    var_names: pd.Index,
    var: pd.DataFrame | Mapping[str, Any],
    key: str | None,
    *,
    var_is: str = "adata.var",
) -> KnownRelations:
    """Match a table of relations with the genes.

    Parameters
    ----------
    relations
        Data frame (or what makes one) with columns `source` and `target`, names of genes, and where there
        are signs `weight`: above 0 where more of the source means more of the target, below where less; 0 or
        missing where that is not known.
    var_names
        Names of the genes.
    var
        Their annotation.
    key
        Column of `var` with the names that the table uses; None for `var_names`.
    var_is
        What `var` is, for messages.

    Returns
    -------
    The relations between these genes; pairs that repeat count once, a gene's relation to itself does not.

    Raises
    ------
    InputError
        If it is no such table, a weight is no number or infinite, or not one relation is between two of the
        genes.
    MissingNameError
        If there is no such column of `var`.
    """
    table = _as_table(relations)
    names = _names(var_names, var, key, var_is)
    sources, targets = (_column(table, column) for column in ("source", "target"))
    weights = _weights(table)
    # names that several genes share stand for none of them
    unique = ~names.duplicated(keep=False)
    place = pd.Series(np.flatnonzero(unique), index=names[unique])
    from_places, to_places = (
        place.reindex(column).fillna(-1).to_numpy(dtype=np.int64) for column in (sources, targets)
    )
    matched = (from_places >= 0) & (to_places >= 0)
    found = KnownRelations.of_entries(len(names), from_places[matched], to_places[matched], weights[matched])
    unknown = pd.unique(pd.concat([sources[from_places < 0], targets[to_places < 0]]))
    where = f"{var_is}_names" if key is None else f"{var_is}[{key!r}]"
    if not len(found):
        example = f", such as {', '.join(map(repr, map(str, unknown[:_SHOWN])))}" if len(unknown) else ""
        raise InputError(
            f"none of the {len(table):,} relations is between two genes of {where}{example}: name the column "
            f"of {var_is} with the table's names as relations_key, or match the names first."
        )
    logger.info(
        "Relations: %d of %d entries are between genes of %s (%d genes with known targets of %d); %d names "
        "are not there%s, %d entries repeat or relate a gene to itself.",
        len(found),
        len(table),
        where,
        np.unique(found.sources).size,
        len(names),
        len(unknown),
        f" ({', '.join(map(str, unknown[:_SHOWN]))}{' ...' if len(unknown) > _SHOWN else ''})"
        if len(unknown)
        else "",
        int(matched.sum()) - len(found),
    )
    return found


def _as_table(relations: Any) -> pd.DataFrame:
    if not isinstance(relations, pd.DataFrame):
        raise InputError(
            "relations is a data frame with columns 'source', 'target' and, where signs are known, 'weight', "
            f"not a {type(relations).__name__}."
        )
    absent = [name for name in ("source", "target") if name not in relations.columns]
    if absent:
        raise InputError(
            f"relations has no column {' and '.join(map(repr, absent))}: it has {_listed(relations.columns)}."
        )
    if not len(relations):
        raise InputError("relations has no rows: leave it out, or give relations that are known.")
    return relations


def _listed(columns: Any) -> str:
    return ", ".join(map(repr, map(str, list(columns)[:10]))) or "no columns"


def _names(var_names: pd.Index, var: Any, key: str | None, var_is: str) -> pd.Index:
    if key is None:
        return pd.Index(var_names.astype(str))
    if not isinstance(key, str):
        raise InputError(f"relations_key is the name of one column of {var_is}, not {key!r}.")
    if key not in var:
        raise MissingNameError(
            f"there is no column {key!r} in {var_is} (relations_key); it has {_listed(var)}."
        )
    return pd.Index(pd.Series(var[key]).astype(str))


def _only(table: pd.DataFrame, name: str) -> pd.Series:
    """The column of that name, of which there is one."""
    column = table[name]
    if isinstance(column, pd.DataFrame):
        raise InputError(f"relations has several columns {name!r}.")
    return column


def _column(table: pd.DataFrame, name: str) -> pd.Series:
    column = _only(table, name)
    if column.isna().any():
        raise InputError(f"relations has {int(column.isna().sum())} rows without a name in {name!r}.")
    return column.astype(str).reset_index(drop=True)


def _weights(table: pd.DataFrame) -> np.ndarray:
    if "weight" not in table.columns:
        return np.full(len(table), np.nan)
    column = _only(table, "weight")
    if column.dtype.kind in "mMc":
        raise InputError(f"relations has weights that are no numbers ({column.dtype}).")
    try:
        weights = pd.to_numeric(column).to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise InputError(f"relations has weights that are no numbers ({error}).") from None
    if np.isinf(weights).any():
        raise InputError(
            f"relations has {int(np.isinf(weights).sum())} weights that are infinite: a sign or a strength "
            "is wanted, or nothing where it is not known."
        )
    return weights
