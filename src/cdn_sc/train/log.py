"""The table of a training run: one row for each validation."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from cdn_sc._files import append_to, write_text, writing

LOG = "log.csv"
LOG_COLUMNS = ("step", "pairs", "seconds", "learning_rate", "loss", "validation_map", "validation_auroc")


def append_row(path: Path, row: Sequence[float]) -> None:
    """Add a row of ``LOG_COLUMNS``, below a header where the file is new.

    Raises
    ------
    WriteError
        If it cannot be written.
    """
    new = not path.exists() or path.stat().st_size == 0
    with append_to(path) as file:
        file.write(_text([LOG_COLUMNS, row] if new else [row]).encode())


def logged_steps(path: Path) -> set[int]:
    """Steps that have a row."""
    return {int(row["step"]) for row in _rows(path)}


def truncate_log(path: Path, step: int) -> None:
    """Drop rows past a checkpoint's step, which the resumed run writes again.

    Of a row that is doubled, or that does not come after the one above it, nothing is kept.
    """
    if path.exists():
        restore_log(path, log_text(path, step))


def log_text(path: Path, step: int) -> str:
    """Return the header and all whole rows up to a step, as they are in the file."""
    kept = [row for row in _rows(path) if int(row["step"]) <= step]
    return _text([LOG_COLUMNS, *([row[name] for name in LOG_COLUMNS] for row in kept)])


def restore_log(path: Path, text: str) -> None:
    """Write the table as a checkpoint remembers it, whatever became of the file.

    Raises
    ------
    WriteError
        If it cannot be written; the file is then as it was.
    """
    with writing(path):
        before = path.read_bytes() if path.exists() else _text([LOG_COLUMNS]).encode()
    if before != text.encode():
        write_text(path, text)


def read_log(path: Path) -> dict[str, list[float | None]]:
    """Columns of the table; None where a value is NaN."""

    def value(text: str) -> float | None:
        number = float(text)
        return None if np.isnan(number) else number

    rows = _rows(path)
    return {name: [value(row[name]) for row in rows] for name in LOG_COLUMNS}


def _rows(path: Path) -> list[dict[str, str]]:
    """Rows that are whole, each of a later step than the one above."""
    if not path.exists():
        return []
    # a line without its end was cut off
    text = path.read_text(encoding="utf-8", errors="replace")
    lines = text[: text.rfind("\n") + 1].splitlines()
    rows: list[dict[str, str]] = []
    last = -1
    for row in csv.DictReader(lines):
        if _is_whole(row) and int(row["step"]) > last:
            rows.append(row)
            last = int(row["step"])
    return rows


def _is_whole(row: dict[str, str]) -> bool:
    if set(row) != set(LOG_COLUMNS) or not (row["step"] or "").isdecimal():
        return False
    try:
        return all(math.isfinite(float(value)) or value == "nan" for value in row.values())
    except (TypeError, ValueError):
        return False


def _text(rows: Iterable[Sequence[object]]) -> str:
    written = io.StringIO()
    csv.writer(written).writerows(rows)
    return written.getvalue()
