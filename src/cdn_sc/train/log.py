"""The table of a training run: one row for each validation."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

LOG = "log.csv"
LOG_COLUMNS = ("step", "pairs", "seconds", "learning_rate", "loss", "validation_map", "validation_auroc")


def append_row(path: Path, row: Sequence[float]) -> None:
    """Add a row of ``LOG_COLUMNS``, below a header where the file is new."""
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.writer(file)
        if new:
            writer.writerow(LOG_COLUMNS)
        writer.writerow(row)


def logged_steps(path: Path) -> set[int]:
    """Steps that have a row."""
    return {int(row["step"]) for row in _rows(path)}


def truncate_log(path: Path, step: int) -> None:
    """Drop rows past a checkpoint's step, which the resumed run writes again."""
    if not path.exists():
        return
    kept = [row for row in _rows(path) if int(row["step"]) <= step]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, LOG_COLUMNS)
        writer.writeheader()
        writer.writerows(kept)


def read_log(path: Path) -> dict[str, list[float | None]]:
    """Columns of the table; None where a value is missing or NaN."""

    def value(text: str | None) -> float | None:
        number = float(text) if text else float("nan")
        return None if np.isnan(number) else number

    rows = _rows(path)
    return {name: [value(row.get(name)) for row in rows] for name in LOG_COLUMNS}


def _rows(path: Path) -> list[dict[str, str]]:
    """Rows that have a step."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [row for row in csv.DictReader(file) if (row.get("step") or "").isdecimal()]
