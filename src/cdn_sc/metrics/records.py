"""Rows of an evaluation, kept in a file so that it can go on where it was stopped."""

import json
from contextlib import ExitStack
from hashlib import sha256
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from cdn_sc._files import append_to, writing
from cdn_sc._run_lock import only_run
from cdn_sc.errors import InputError


class Records:
    """Rows of the pairs scored so far, in memory and in a file of one JSON line per pair.

    The file only grows, so that a kill cannot take what it holds: a last line that was cut off counts as not
    written. Each line has the number of its pair and a checksum of all lines up to it. No other run can use
    the file until `close`.

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
    InputError
        If the file was written with other settings, a line is damaged or not in its place, or it is no such
        file.
    WriteError
        If another run uses the file.
    """

    def __init__(
        self, path: str | PathLike[str] | None, settings: dict[str, Any], limit: int | None = None
    ) -> None:
        self.rows: list[dict[str, Any]] = []
        self.n_pairs = 0
        self._path = None if path is None else Path(path)
        self._checksum = ""
        self._header = self._sealed({"settings": json.dumps(settings, default=str, sort_keys=True)})
        # lines of the file that are whole, and their bytes
        self._n_lines = self._n_bytes = 0
        self._lock = ExitStack()
        if self._path is not None:
            lock_file = self._path.with_name(f".{self._path.name[:60]}.lock")
            self._lock.enter_context(only_run(self._path, lock_file))
            try:
                self._read(self._path, limit)
            except BaseException:
                self.close()
                raise

    def add(self, rows: list[dict[str, Any]]) -> None:
        """Add the rows of the next pair.

        Raises
        ------
        WriteError
            If they cannot be written; the pairs before stay.
        """
        self.rows += rows
        self.n_pairs += 1
        if self._path is None:
            return
        lines = [] if self._n_lines else [self._header]
        lines.append(self._sealed({"pair": max(self._n_lines - 1, 0), "rows": rows}))
        content = b"".join(lines)
        with append_to(self._path) as file:
            file.truncate(self._n_bytes)  # drops what was cut off
            file.write(content)
        self._n_lines += len(lines)
        self._n_bytes += len(content)

    def close(self) -> None:
        """Let other runs use the file."""
        self._lock.close()

    def _read(self, path: Path, limit: int | None) -> None:
        if not path.exists():
            return
        with writing(path):
            *lines, cut_off = path.read_bytes().split(b"\n")
        first = lines[0] + b"\n" if lines else cut_off
        if first != self._header and (lines or not self._header.startswith(first)):
            raise InputError(
                f"{path} holds another evaluation (other data, models, options or version): give another "
                "folder, or delete that file"
            )
        for line in lines:
            if self._n_lines > 0:
                rows = self._rows_of(line + b"\n", path)
                if limit is None or self.n_pairs < limit:
                    self.rows += rows
                    self.n_pairs += 1
            self._n_lines += 1
            self._n_bytes += len(line) + 1

    def _rows_of(self, line: bytes, path: Path) -> list[dict[str, Any]]:
        """Rows of the next line, which has to be the one that was written in this place."""
        pair = self._n_lines - 1
        try:
            rows = json.loads(line)["rows"]
            whole = self._sealed({"pair": pair, "rows": rows}) == line
        except (ValueError, TypeError, KeyError, RecursionError):
            whole = False
        if not whole:
            raise InputError(
                f"line {self._n_lines + 1} of {path} is not what was written there: it was changed, moved, "
                f"doubled or damaged. Delete it and all lines below, to go on from the {pair} pairs above, "
                "or the file, to begin anew"
            )
        return list(rows)

    def _sealed(self, entry: dict[str, Any]) -> bytes:
        """Return the line of an entry, with a checksum over it and the checksum of the line above."""
        text = json.dumps(entry, default=_plain)
        self._checksum = sha256((self._checksum + text).encode()).hexdigest()[:16]
        return f'{text[:-1]}, "checksum": "{self._checksum}"}}\n'.encode()


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{value!r} cannot be written as JSON")
