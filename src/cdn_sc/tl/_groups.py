"""Which cells are the control, and which are the groups."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from anndata import AnnData

from cdn_sc._labels import (
    LabelIndex,
    check_can_be_written,
    column_of,
    has_missing_part,
    is_missing,
    label_name,
    names_of_labels,
)
from cdn_sc.errors import InputError, MissingNameError, did_you_mean
from cdn_sc.get._arguments import as_list


@dataclass(frozen=True)
class Arms:
    """Row numbers (increasing) of the control cells and of the cells of each group, groups by name.

    `conditions` are all labels other than the control's, whether or not they are to be scored.
    """

    control_labels: list[str]
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
        Column of `adata.obs`, categorical or not. Cells without a label belong to no arm, nor do cells whose
        label is how a missing one is printed (`nan`, an empty string), unless it is named in `control` or
        `groups`; categories without cells are no groups.
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
    if groupby not in adata.obs.columns:
        raise MissingNameError(
            f"adata.obs has no column {groupby!r} (groupby). {did_you_mean(groupby, adata.obs.columns)}"
        )
    names, codes = _labels(column_of(adata.obs, groupby, "adata.obs"), groupby)
    where = f"adata.obs[{groupby!r}]"
    index = LabelIndex(names, where)

    control_names = _resolve(as_list(control, "control"), index, where, "control")
    group_names = _named_groups(groups, control_names, index, where)
    codes, missing = _without_missing(codes, names, {*control_names, *group_names})
    used = {names[code] for code in np.unique(codes[codes >= 0])}
    conditions = sorted(used - set(control_names))
    if isinstance(groups, str):
        group_names = conditions
        _warn_of_missing(missing, conditions, where)
        if not conditions:
            raise InputError(
                f"{where} has no group besides the control ({', '.join(map(repr, control_names))}): there is "
                "nothing to compare."
            )
    check_can_be_written([groupby], "the name of the column")
    check_can_be_written([*control_names, *group_names], f"{where}: the label")

    code_of = {name: code for code, name in enumerate(names)}
    order = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[order], np.arange(len(names) + 1))

    def rows(name: str) -> np.ndarray:
        code = code_of[name]
        return order[starts[code] : starts[code + 1]]

    return Arms(
        control_labels=control_names,
        control=np.sort(np.concatenate([rows(name) for name in control_names])),
        groups={name: rows(name) for name in group_names},
        conditions={name: rows(name) for name in conditions},
        n_unlabelled=int((codes < 0).sum()),
    )


def check_number_of_controls(arms: Arms, control: object, min_cells: int) -> None:
    """Raise where the control, as the caller named it, has too few cells."""
    if len(arms.control) < min_cells:
        raise InputError(
            f"the control ({control!r}) has {len(arms.control)} cells, fewer than min_cells={min_cells}."
        )


def _labels(column: pd.Series, groupby: str) -> tuple[list[str], np.ndarray]:
    """Return the names of the labels and each cell's position among them, -1 for none."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        labels, codes = list(column.cat.categories), column.cat.codes.to_numpy()
    else:
        try:
            codes, uniques = pd.factorize(column)
        except TypeError as error:  # a list, say, has no hash
            raise InputError(
                f"adata.obs[{groupby!r}] holds values that cannot be labels ({error}): make them strings."
            ) from error
        labels = list(uniques)
    names = names_of_labels(labels, f"adata.obs[{groupby!r}]")
    if not (codes >= 0).any():
        raise InputError(f"adata.obs[{groupby!r}] has no labels: every value is missing.")
    return names, codes.astype(np.int64)


def _resolve(wanted: list, index: LabelIndex, where: str, what: str) -> list[str]:
    """Return the names of labels that were asked for, without repeats."""
    resolved = []
    for label in wanted:
        name = index.find(label)
        if name is None:
            raise MissingNameError(
                f"{where} has no {what} {label_name(label)!r}. {did_you_mean(label, index.names)}"
            )
        resolved.append(name)
    return list(dict.fromkeys(resolved))


def _named_groups(
    groups: str | Iterable[str], control: list[str], index: LabelIndex, where: str
) -> list[str]:
    """Return the names of the groups that were asked for, none for `all`."""
    if isinstance(groups, str):
        if groups == "all":
            return []
        raise InputError(f"groups is 'all' or a list of labels: write groups=[{groups!r}].")
    names = sorted(_resolve(as_list(groups, "groups"), index, where, "group"))
    both = [name for name in names if name in control]
    if both:
        raise InputError(f"{both[0]!r} is the control and cannot be one of the groups too.")
    return names


def _without_missing(
    codes: np.ndarray, names: Sequence[str], meant: set[str]
) -> tuple[np.ndarray, dict[str, int]]:
    """Take the labels that are how a missing one is printed, unless they are meant, for missing.

    Returns
    -------
    The codes, and how many cells had each of these labels.
    """
    printed = {code: name for code, name in enumerate(names) if is_missing(name) and name not in meant}
    counted = np.bincount(codes[codes >= 0], minlength=len(names))
    missing = {name: int(counted[code]) for code, name in printed.items() if counted[code]}
    return np.where(np.isin(codes, list(printed)), -1, codes), missing


def _warn_of_missing(missing: Mapping[str, int], groups: Sequence[str], where: str) -> None:
    """Say which strings were taken for missing labels, and which groups have a label with a missing part."""
    sentences = []
    if missing:
        sentences.append(
            f"{sum(missing.values())} cells have a label that is how a missing one is printed "
            f"({_some(sorted(missing))}) and are left out. If it is meant, name it in control= or "
            "groups=[...], or rename it, for example to 'gene nan'."
        )
    if partly := [name for name in groups if has_missing_part(name)]:
        sentences.append(
            f"{len(partly)} groups have a label with a missing part ({_some(partly)}), and are scored: leave "
            "the label of such cells missing."
        )
    if sentences:
        warnings.warn(f"{where}: {' '.join(sentences)}", stacklevel=4)


def _some(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:5])) + (" and others" if len(names) > 5 else "")
