"""Checks of the arguments of `cdn_sc.tl.fine_tune`."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np
from anndata import AnnData

from cdn_sc.errors import InputError
from cdn_sc.get._arguments import check_share, check_whole_number
from cdn_sc.tl._known_targets import validation_labels
from cdn_sc.tl._scoring import list_skipped
from cdn_sc.tl._screen_pairs import TrainingGroup


def check_arguments(
    adata: AnnData,
    n_genes: int | None,
    min_detection: float,
    min_cells: int,
    epochs: int,
    patience: int,
    learning_rate: float | None,
    batch_size: int,
    cells_kept: float,
    name: str,
    max_seconds: float | None,
) -> None:
    """Raise if an argument is of a type or size that cannot be."""
    if not isinstance(adata, AnnData):
        raise InputError(f"adata is a {type(adata).__name__}, and an AnnData is wanted.")
    if n_genes is not None:
        check_whole_number("n_genes", n_genes, 2)
    check_share("min_detection", min_detection)
    for argument, value, least in (
        ("min_cells", min_cells, 2),
        ("epochs", epochs, 1),
        ("patience", patience, 0),
        ("batch_size", batch_size, 1),
    ):
        check_whole_number(argument, value, least)
    if learning_rate is not None and not _is_number(learning_rate, 0, math.inf):
        raise InputError(f"learning_rate is a number above 0, or None, not {learning_rate!r}.")
    if not (_is_number(cells_kept, 0, 1) or (cells_kept == 1 and not isinstance(cells_kept, bool))):
        raise InputError(f"cells_kept is a share above 0, up to 1, not {cells_kept!r}.")
    if not isinstance(name, str) or re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) is None:
        raise InputError(
            "name is of letters, digits, '.', '_' and '-', a letter or digit first, since it names a file, "
            f"not {name!r}."
        )
    if max_seconds is not None and max_seconds != 0 and not _is_number(max_seconds, 0, math.inf):
        raise InputError(f"max_seconds is a number of at least 0, or None, not {max_seconds!r}.")


def _is_number(value: Any, low: float, high: float) -> bool:
    """Whether it is a number between the two, and neither of them."""
    return isinstance(value, Real) and not isinstance(value, bool) and low < float(value) < high


def check_validation(validation: Any, groups: Mapping[str, np.ndarray]) -> tuple[float, list[str] | None]:
    """Return the share of groups for validation, or the labels of those that are."""
    if isinstance(validation, str) or (
        not isinstance(validation, Iterable)
        and not _is_number(validation, 0, 1)
        and (isinstance(validation, bool) or validation != 0)
    ):
        raise InputError(
            f"validation is a share of the groups from 0 up to, not with, 1, or a list of their labels, not "
            f"{validation!r}."
        )
    if not isinstance(validation, Iterable):
        return float(validation), None
    return 0.0, validation_labels(validation, groups)


def check_usable(labels: Sequence[str], usable: Sequence[TrainingGroup], skipped: Mapping[str, str]) -> None:
    """Raise if a group that is to validate cannot."""
    can = {group.label for group in usable}
    cannot = {label: skipped.get(label, "no known target") for label in labels if label not in can}
    if cannot:
        raise InputError(f"validation names groups that cannot validate: {list_skipped(cannot)}.")
