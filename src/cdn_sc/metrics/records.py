"""Rows of an evaluation, kept in a file so that it can go on where it was stopped."""

import json
from os import PathLike
from pathlib import Path
from typing import Any, TextIO

import numpy as np


class Records:
    """Rows of the pairs scored so far, in memory and in a file of one JSON line per pair.

    Parameters
    ----------
    path
        The file; None keeps the rows in memory alone.
    settings
        What decides the rows. It is the first line of the file, which is written with the first pair's rows.
    limit
        Take over at most the rows of so many pairs.

    Raises
    ------
    ValueError
        If the file was written with other settings, or is no such file.
    """

    def __init__(
        self, path: str | PathLike[str] | None, settings: dict[str, Any], limit: int | None = None
    ) -> None:
        self.rows: list[dict[str, Any]] = []
        self.n_pairs = 0
        self._file: TextIO | None = None
        self._path = None if path is None else Path(path)
        self._lines: list[str] = []
        if self._path is None:
            return
        header = json.dumps(settings, default=str, sort_keys=True)
        lines = _whole_lines(self._path)
        if lines and lines[0] != header:
            raise ValueError(
                f"{path} holds another evaluation (other data, models, options or version): give another "
                "folder, or delete that file"
            )
        self._lines = lines or [header]
        for line in self._lines[1:][:limit]:
            self.rows += json.loads(line)
            self.n_pairs += 1

    def add(self, rows: list[dict[str, Any]]) -> None:
        """Add the rows of the next pair."""
        self.rows += rows
        self.n_pairs += 1
        if self._path is not None:
            if self._file is None:
                # written anew, so that a line that was cut off does not stay
                self._file = self._path.open("w", encoding="utf-8")
                self._file.writelines(f"{line}\n" for line in self._lines)
            self._file.write(json.dumps(rows, default=_plain) + "\n")
            self._file.flush()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


def _whole_lines(path: Path) -> list[str]:
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    return lines[:-1]


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{value!r} cannot be written as JSON")
