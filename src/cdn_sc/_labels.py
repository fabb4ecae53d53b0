"""One rule for labels: how they are named, found, told from missing ones, and shown."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from cdn_sc.errors import InputError

_Value = TypeVar("_Value")

# How pandas, numpy and R print and read a missing value.
_MISSING = frozenset({"", "nan", "NaN", "None", "<NA>", "NaT", "NA", "N/A", "n/a", "null", "NULL"})
# What joins the parts of a label such as "drug 10.0" or "drug_24h".
_BETWEEN_PARTS = re.compile(r"[\s_+|,;:/-]+")
_WHOLE_NUMBER = re.compile(r"(-?\d+)\.0+")
_TRUTH_VALUES = {"True": "1", "False": "0", "1": "True", "0": "False"}


def label_name(label: object) -> str:
    """Return the name of a label: its string, of a date or duration in the form that pandas has it."""
    if isinstance(label, np.datetime64):
        return str(pd.Timestamp(label))
    if isinstance(label, np.timedelta64):
        return str(pd.Timedelta(label))
    return str(label)


class LabelIndex:
    """Finds labels by their name, or by a number of the same value.

    A label is first sought by its string; then 1, 1.0, numpy's 1 and the strings "1" and "1.0" are the same,
    and so are 1 and True, as they are in Python.

    Parameters
    ----------
    names
        The names that there are.
    where
        What they are the labels of, for messages.
    """

    def __init__(self, names: Iterable[str], where: str) -> None:
        self.names = list(names)
        self._where = where
        self._exact = frozenset(self.names)
        self._by_value: dict[str, list[str]] = {}
        for name in self._exact:
            self._by_value.setdefault(_value_of(name), []).append(name)

    def find(self, label: object) -> str | None:
        """Return the name of a label, or None if there is no such label.

        Raises
        ------
        InputError
            If it stands for several.
        """
        name = label_name(label)
        if name in self._exact:
            return name
        value = _value_of(name)
        found = sorted(self._by_value.get(value, []))
        if not found and not isinstance(label, str):
            found = self._by_value.get(_TRUTH_VALUES.get(value, ""), [])
        if len(found) > 1:
            raise InputError(
                f"{label!r} stands for several labels of {self._where}: {', '.join(map(repr, found))}. "
                "Name one of them, as a string."
            )
        return found[0] if found else None

    def by_name(
        self, values: "Mapping[Any, _Value] | pd.Series"
    ) -> tuple[dict[str, _Value], dict[object, _Value]]:
        """Return the values of a mapping of labels by name, and the part of it whose labels are not there.

        Raises
        ------
        InputError
            If two of its labels stand for the same.
        """
        found: dict[str, _Value] = {}
        given: dict[str, object] = {}
        unknown: dict[object, _Value] = {}
        for label, value in values.items():
            name = self.find(label)
            if name is None:
                unknown[label] = value
                continue
            if name in found:
                raise InputError(
                    f"{given[name]!r} and {label!r} both stand for the label {name!r} of {self._where}: keep "
                    "one of them."
                )
            found[name], given[name] = value, label
        return found, unknown


def names_of_labels(labels: Iterable[object], where: str) -> list[str]:
    """Return the names of labels, which have to differ.

    Raises
    ------
    InputError
        If two labels have the same name, such as 1 and "1".
    """
    names = [label_name(label) for label in labels]
    if len(set(names)) < len(names):
        repeated = next(name for i, name in enumerate(names) if name in names[:i])
        raise InputError(
            f"{where} has labels that differ only by type, such as {repeated} and {repeated!r}: "
            "make them strings."
        )
    return names


def is_missing(name: str) -> bool:
    """Return whether a string is how a missing label is printed, or several such strings joined."""
    stripped = name.strip()
    parts = [part for part in _BETWEEN_PARTS.split(stripped) if part]
    return stripped in _MISSING or (bool(parts) and all(part in _MISSING for part in parts))


def has_missing_part(name: str) -> bool:
    """Return whether a part of a label is how pandas prints a missing value, as in "nan 10.0"."""
    return not {"nan", "<NA>", "NaT"}.isdisjoint(_BETWEEN_PARTS.split(name.strip()))


def as_genes(group: object, targets: Any) -> list[str]:
    """Return the names of a group's targets; None, NaN and empty names stand for a target that is not known.

    Parameters
    ----------
    group
        The label, for the message.
    targets
        The name of a gene, or several.

    Raises
    ------
    InputError
        If something else than names is among them.
    """
    listed = targets if isinstance(targets, Iterable) and not isinstance(targets, str | bytes) else [targets]
    genes = [gene for gene in listed if not (gene is None or gene is pd.NA or gene == "" or gene != gene)]
    for gene in genes:
        if not isinstance(gene, str):
            raise InputError(f"the truth of group {group!r} holds {gene!r}, and names of genes are wanted")
    return list(dict.fromkeys(str(gene) for gene in genes))


def column_of(frame: Any, name: str, what: str) -> pd.Series:
    """Return one column of `obs` or `var`; of a lazily read one, this column alone is read."""
    if isinstance(frame, pd.DataFrame):
        column = frame[name]
        if isinstance(column, pd.DataFrame):
            raise InputError(f"{what} has several columns named {name!r}: rename all but one.")
        return column
    return frame[[name]].to_memory()[name]


def check_can_be_written(names: Iterable[str], what: str) -> None:
    """Raise if a name cannot be written into a file, so that this is not found out after the work.

    Raises
    ------
    InputError
        If a name holds a NUL character or half a surrogate pair.
    """
    for name in names:
        if "\0" in name or not _is_unicode(name):
            raise InputError(
                f"{what} {name!r} holds a character that h5ad files cannot: take NUL and unpaired surrogate "
                "characters out of the names."
            )


def printable(name: str) -> str:
    r"""Return a name for a terminal or a picture: a space for other spaces, control characters as `\x1b`."""
    if name.isprintable():
        return name
    return "".join(c if c.isprintable() else " " if c.isspace() else repr(c)[1:-1] for c in name)


def _is_unicode(name: str) -> bool:
    return name.isascii() or not any("\ud800" <= c <= "\udfff" for c in name)


def _value_of(name: str) -> str:
    whole = _WHOLE_NUMBER.fullmatch(name)
    return whole[1] if whole else name
