"""Which cells are the control, and which are the groups."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from anndata import AnnData

from cdn_sc.errors import InputError, MissingNameError, did_you_mean
from cdn_sc.get._arguments import as_list, names_of


@dataclass(frozen=True)
class Arms:
    """Row numbers (increasing) of the control cells and of the cells of each group, groups by name.

    `conditions` are all labels other than the control's, whether or not they are to be scored.
    """

    control: np.ndarray
    groups: dict[str, np.ndarray]
    conditions: dict[str, np.ndarray]
    n_unlabelled: int

    @property
    def cells(self) -> np.ndarray:
        """Rows of all these cells, increasing."""
        return np.sort(np.concatenate([self.control, *self.groups.values()]))


def split_into_arms(
    adata: AnnData, groupby: str, control: str | Iterable[str], groups: str | Iterable[str]
) -> Arms:
    """Split the cells by their labels in `adata.obs[groupby]`.

    Parameters
    ----------
    adata
        The object.
    groupby
        Column of `adata.obs`, categorical or not. Cells without a label belong to no arm, and
        categories without cells are no groups.
    control
        Label, or list of labels, of the control cells.
    groups
        Labels of the groups, or `all` for every label other than the control's.

    Returns
    -------
    The rows of the arms; the groups in the order of their names.
    """
    if not isinstance(groupby, str):
        raise InputError(f"groupby is the name of one column of adata.obs, not {groupby!r}.")
    if groupby not in adata.obs:
        raise MissingNameError(
            f"adata.obs has no column {groupby!r} (groupby). {did_you_mean(groupby, adata.obs.columns)}"
        )
    labels, codes = _labels(adata.obs[groupby], groupby)
    names = {label: str(label) for label in labels}
    where = f"adata.obs[{groupby!r}]"

    control_names = _resolve(as_list(control, "control"), names, where, "control")
    used = {str(labels[code]) for code in np.unique(codes[codes >= 0])}
    if isinstance(groups, str) and groups == "all":
        wanted = sorted(used - set(control_names))
        if not wanted:
            raise InputError(
                f"{where} has no group besides the control ({', '.join(map(repr, control_names))}): there is "
                "nothing to compare."
            )
    else:
        if isinstance(groups, str):
            raise InputError(f"groups is 'all' or a list of labels: write groups=[{groups!r}].")
        wanted = sorted(set(_resolve(as_list(groups, "groups"), names, where, "group")))
        both = [name for name in wanted if name in control_names]
        if both:
            raise InputError(f"{both[0]!r} is the control and cannot be one of the groups too.")

    code_of = {name: code for code, name in enumerate(names.values())}
    order = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[order], np.arange(len(labels) + 1))

    def rows(name: str) -> np.ndarray:
        code = code_of[name]
        return order[starts[code] : starts[code + 1]]

    return Arms(
        control=np.sort(np.concatenate([rows(name) for name in control_names])),
        groups={name: rows(name) for name in wanted},
        conditions={name: rows(name) for name in sorted(used - set(control_names))},
        n_unlabelled=int((codes < 0).sum()),
    )


def _labels(column: pd.Series, groupby: str) -> tuple[list, np.ndarray]:
    """Return the labels and each cell's position among them, -1 for none."""
    if isinstance(column, pd.DataFrame):
        raise InputError(f"adata.obs has several columns named {groupby!r}: rename all but one.")
    if isinstance(column.dtype, pd.CategoricalDtype):
        labels, codes = list(column.cat.categories), column.cat.codes.to_numpy()
    else:
        codes, uniques = pd.factorize(column)
        labels = list(uniques)
    if len({str(label) for label in labels}) < len(labels):
        raise InputError(
            f"adata.obs[{groupby!r}] has labels that differ only by type, such as 1 and '1': "
            "make them strings."
        )
    if not (codes >= 0).any():
        raise InputError(f"adata.obs[{groupby!r}] has no labels: every value is missing.")
    return labels, codes.astype(np.int64)


def _resolve(wanted: list, names: dict, where: str, what: str) -> list[str]:
    """Return the labels as strings; a label is known by its value or by its string."""
    resolved = names_of(wanted, names)
    known = set(names.values())
    for name in resolved:
        if name not in known:
            raise MissingNameError(f"{where} has no {what} {name!r}. {did_you_mean(name, names.values())}")
    return resolved
