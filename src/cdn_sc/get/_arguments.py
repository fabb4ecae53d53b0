"""Arguments that several functions take: labels of groups, whole numbers, shares."""

from collections.abc import Iterable
from numbers import Real

import numpy as np

from cdn_sc.errors import InputError


def as_list(labels: object, argument: str) -> list:
    """Return one label, or several, as a list.

    Parameters
    ----------
    labels
        A label of any type, or an iterable of labels.
    argument
        Name of the argument, for the message.

    Raises
    ------
    InputError
        If there is no label, or one cannot be a label (a list, say).
    """
    if isinstance(labels, str | bytes) or not isinstance(labels, Iterable):
        labels = [labels]
    listed = list(labels)
    if not listed:
        raise InputError(f"{argument} is an empty list: name at least one label.")
    for label in listed:
        if getattr(type(label), "__hash__", None) is None:
            raise InputError(
                f"{argument} holds {label!r}, a {type(label).__name__}: a label, or a flat list of labels, "
                "is wanted."
            )
    return listed


def check_whole_number(argument: str, value: object, least: int) -> None:
    """Raise unless the value is a whole number of at least the given size; booleans are none."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise InputError(f"{argument} is a whole number of at least {least}, not {value!r}.")


def check_share(argument: str, value: object) -> None:
    """Raise unless the value is a number from 0 to 1; booleans are none."""
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= float(value) <= 1:
        raise InputError(f"{argument} is a share, from 0 to 1, not {value!r}.")
