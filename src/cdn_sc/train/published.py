"""Pairs in the published layout: two files of values a pair, and a table that lists them.

The table (``perturbseq.csv``) has the columns ``fp_data``, the file of the perturbed cells; ``label``, the
target's index among the genes of that file; and ``split``, of which ``train`` and ``val`` are read here. The
file of the control cells has the same name with ``data`` in place of ``data_interv``. Where no row is
``val``, training rows whose number in the table is divisible by ten are for validation (Wu et al. 2025, arXiv
2410.03380, and its code).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import overload

import numpy as np
import pandas as pd

from cdn_sc.datasets._store import map_array
from cdn_sc.errors import InputError
from cdn_sc.simulate.pair import Pair

COLUMNS = ("fp_data", "label", "split")
_VALIDATION_EVERY = 10


class PublishedPairs(Sequence[Pair]):
    """Pairs of some rows of the table, each read from its two files when it is asked for.

    The control cells of the last pair are kept, since the next may share their file.

    Parameters
    ----------
    rows
        Rows of the table.
    folder
        What the paths in it are relative to.
    """

    def __init__(self, rows: pd.DataFrame, folder: Path) -> None:
        self._rows, self._folder = rows.reset_index(drop=True), folder
        self._control: tuple[Path, np.ndarray] | None = None

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Pair: ...
    @overload
    def __getitem__(self, index: slice) -> PublishedPairs: ...
    def __getitem__(self, index: int | slice) -> Pair | PublishedPairs:
        """Read a pair; of a slice, the pairs that are still to be read."""
        if isinstance(index, slice):
            return PublishedPairs(self._rows.iloc[index], self._folder)
        row = self._rows.iloc[index]
        path = self._folder / str(row["fp_data"])
        control_path = control_file(path)
        if self._control is None or self._control[0] != control_path:
            self._control = control_path, _read(control_path)
        control, perturbed = self._control[1], _read(path)
        target = int(row["label"])
        if control.shape[1] != perturbed.shape[1]:
            raise InputError(
                f"{path} has {perturbed.shape[1]} genes and {control_path.name} has {control.shape[1]}; the "
                "same genes are needed in both."
            )
        if not 0 <= target < control.shape[1]:
            raise InputError(f"the label {target} of {path} is none of its {control.shape[1]} genes.")
        known = {name: str(row[name]) for name in ("pert", "name", "cluster") if name in row.index}
        return Pair(control, perturbed, np.array([target]), {**known, "genes": control.shape[1]})


@dataclass(frozen=True)
class PublishedSet:
    """Training and validation pairs of one table.

    Parameters
    ----------
    rows
        Training and validation rows of the table, with their numbers in it as index.
    folder
        What the paths in it are relative to.
    """

    rows: pd.DataFrame
    folder: Path

    @cached_property
    def training(self) -> PublishedPairs:
        """Rows that are not for validation."""
        return PublishedPairs(self.rows[~self._validates], self.folder)

    @cached_property
    def validation(self) -> PublishedPairs:
        """Rows whose split is ``val``; of a table that has none, every tenth by its number in the table."""
        return PublishedPairs(self.rows[self._validates], self.folder)

    @cached_property
    def _validates(self) -> np.ndarray:
        named = (self.rows["split"] == "val").to_numpy()
        return named if named.any() else self.rows.index.to_numpy() % _VALIDATION_EVERY == 0

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of paths and labels."""
        listed = self.rows[["fp_data", "label"]].assign(validates=self._validates).to_csv(index=True)
        return sha256(listed.encode()).hexdigest()


def read_published(folder: str | Path, splits: str | Path) -> PublishedSet:
    """Open a folder in the published layout.

    Parameters
    ----------
    folder
        What the paths of the table are relative to: the folder that holds ``data``.
    splits
        The table, such as ``perturbseq.csv``.

    Raises
    ------
    InputError
        If the table cannot be read, lacks a column or has no training rows, or files that it lists are not
        there.
    """
    folder, splits = Path(folder).expanduser(), Path(splits).expanduser()
    try:
        table = pd.read_csv(splits)
    except (OSError, ValueError) as error:  # pandas raises kinds of ValueError for what is no table
        raise InputError(f"cannot read the table of splits {str(splits)!r}: {error}") from error
    absent = [name for name in COLUMNS if name not in table.columns]
    if absent:
        raise InputError(f"{splits} lacks the columns {absent}; it has {list(table.columns)}.")
    rows = table[table["split"].isin(["train", "val"])]
    if not (rows["split"] == "train").any():
        found = ", ".join(map(repr, sorted(table["split"].astype(str).unique())))
        raise InputError(f"{splits} has no row whose split is 'train'; its splits: {found}.")
    if not pd.api.types.is_integer_dtype(rows["label"]):
        raise InputError(f"the labels in {splits} are no whole numbers: indices of genes are needed.")
    _check_files(rows, folder)
    return PublishedSet(rows, folder)


def control_file(perturbed: Path) -> Path:
    """File of the control cells that belong to a file of perturbed ones."""
    return perturbed.with_name(perturbed.name.replace("data_interv", "data", 1))


def _check_files(rows: pd.DataFrame, folder: Path) -> None:
    """Say at the start what is missing, not after hours."""
    paths = [folder / str(name) for name in rows["fp_data"]]
    missing = [path for path in (*paths, *map(control_file, paths)) if not path.is_file()]
    if missing:
        raise InputError(
            f"{len(missing)} of {2 * len(paths)} files of the table are not there, the first is "
            f"{str(missing[0])!r}; its paths are relative to the folder {str(folder)!r}."
        )


def _read(path: Path) -> np.ndarray:
    try:
        values = map_array(path)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path} as an array of numpy: {error}") from error
    if values.ndim != 2 or len(values) < 2 or not values.size or values.dtype.kind not in "iuf":
        raise InputError(
            f"{path} has shape {values.shape} and type {values.dtype}; numbers, at least 2 cells x genes, "
            "are needed."
        )
    with np.errstate(over="ignore"):  # what becomes infinite is told below
        read = np.array(values, dtype=np.float32, order="C")
    if not np.isfinite(read).all():
        raise InputError(f"{path} holds NaN or infinite values.")
    return read
