"""Files that others wrote, read in pieces whose size they cannot choose."""

from __future__ import annotations

from typing import IO


class TooLongError(ValueError):
    """A file announces a piece that is longer than any honest one."""


class ShortReads:
    """A binary file that never hands over more than a fixed number of bytes at once.

    `zipfile` reads a table of contents in one piece, and `tarfile` a name or header, as long as the file says
    that it is; for a compressed file that may be any length.

    Parameters
    ----------
    file
        A binary file, opened for reading.
    most
        Largest number of bytes of one read.
    """

    def __init__(self, file: IO[bytes], most: int) -> None:
        self._file, self._most = file, most

    def read(self, size: int = -1) -> bytes:
        """Read like any file.

        Raises
        ------
        TooLongError
            If more than `most` bytes are asked for, and there are more.
        """
        if 0 <= size <= self._most:
            return self._file.read(size)
        content = self._file.read(self._most + 1)
        if len(content) > self._most:
            raise TooLongError(f"it has a part of more than {self._most:,} bytes where a short one belongs")
        return content

    def seek(self, position: int, whence: int = 0) -> int:
        """Go to a place."""
        return self._file.seek(position, whence)

    def tell(self) -> int:
        """Say the place."""
        return self._file.tell()

    def seekable(self) -> bool:
        """Whether places can be gone to."""
        return self._file.seekable()
