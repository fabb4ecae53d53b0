"""Rows of a file in another order: copied to a scratch file in one pass, in place of scattered reads."""

import mmap
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from cdn_sc._logging import logger

if TYPE_CHECKING:
    from cdn_sc.tl._expression import Expression
    from cdn_sc.tl._groups import Arms

_ROWS_AT_ONCE = 4096
# Of fewer of a file's rows the scattered reads cost less than going through all of it.
LEAST_SHARE = 0.25


@contextmanager
def rows_by_group(
    expression: "Expression", arms: "Arms", *, conditions: bool = True
) -> Iterator["Expression"]:
    """Give the values with the cells of each group together, for as long as they are read.

    Values in memory, files of which few rows are wanted, and files in which the cells of each group follow
    each other are given as they are; so is a file of whose rows no copy can be made, for lack of space with a
    warning.

    Parameters
    ----------
    expression
        The values.
    arms
        Rows of the control cells, of each group and of each other condition.
    conditions
        Whether those of other conditions are read too.
    """
    read = arms.conditions | arms.groups if conditions else arms.groups
    parts = [arms.control, *read.values()]
    wanted = sum(map(len, parts))
    scattered = sum(len(part) > 1 and part[-1] - part[0] + 1 != len(part) for part in parts)
    if not expression.in_file or not scattered or wanted < LEAST_SHARE * expression.shape[0]:
        yield expression
        return
    with ExitStack() as files:
        copied = _copied(expression, np.concatenate(parts), files)
        yield expression if copied is None else copied


def _copied(expression: "Expression", order: np.ndarray, files: ExitStack) -> "Expression | None":
    try:
        with ExitStack() as made:
            copied = expression.regrouped(order, made)
            files.push(made.pop_all())
    except ScratchError as error:
        logger.warning(
            "The cells of a group are scattered over the file, and no copy in the order of the groups can be "
            "made in the folder for temporary files (%s): they are read as they lie, which may be slow. Sort "
            "the file by group, or name a folder with more room in the variable TMPDIR.",
            error.__cause__,
        )
        return None
    except OSError as error:  # which groups cannot be read, is said where they are
        logger.debug("No copy in the order of the groups, since the file cannot be read: %s", error)
        return None
    logger.info(
        "The cells of a group are scattered over the file: read from a copy in the order of the groups. A "
        "file sorted by group needs none."
    )
    return copied


class ScratchError(Exception):
    """The scratch file cannot be written; its cause says why."""


def regroup(values: Any, order: np.ndarray, files: ExitStack, read: Callable[[Any, int, int], Any]) -> Any:
    """Copy rows of a matrix in a file to a scratch file.

    Parameters
    ----------
    values
        The matrix in the file.
    order
        The rows wanted, each once, in the order of the copy.
    files
        Closes the scratch file, which is gone then; it has no name, so that it goes with the process too,
        however that ends.
    read
        Gives rows of the matrix, from the first to before the last, as a CSR matrix or an array.

    Returns
    -------
    A CSR matrix or a dense array on the scratch file, rows in that order.

    Raises
    ------
    ScratchError
        If the scratch file cannot be written.
    OSError
        If the matrix cannot be read.
    """
    n_rows, n_genes = values.shape
    place = np.full(n_rows, -1)
    place[order] = np.arange(len(order))
    starts = range(0, n_rows, _ROWS_AT_ONCE)
    chunks = ((start, read(values, start, min(start + _ROWS_AT_ONCE, n_rows))) for start in starts)
    first: Any = read(values, 0, 0)
    dtype = np.dtype(first.dtype)
    if not sparse.issparse(first):
        scratch = _Scratch(dtype, len(order) * n_genes, files)
        for start, chunk in chunks:
            for row, to in enumerate(place[start : start + len(chunk)]):
                if to >= 0:
                    scratch.write(chunk[row], int(to) * n_genes)
        return scratch.mapped().reshape(len(order), n_genes)
    lengths = np.diff(np.asarray(values.group["indptr"][:]).astype(np.int64))[order]
    ends = np.concatenate([[0], np.cumsum(lengths)])
    data, indices = (_Scratch(each, int(ends[-1]), files) for each in (dtype, np.dtype(np.int32)))
    for start, chunk in chunks:
        for row, to in enumerate(place[start : start + chunk.shape[0]]):
            if to >= 0:
                stored = slice(chunk.indptr[row], chunk.indptr[row + 1])
                data.write(chunk.data[stored], int(ends[to]))
                indices.write(chunk.indices[stored].astype(np.int32, copy=False), int(ends[to]))
    parts = (data.mapped(), indices.mapped(), ends.astype(np.int64 if ends[-1] > 2**31 - 1 else np.int32))
    matrix: Any = sparse.csr_matrix((len(order), int(n_genes)), dtype=dtype)
    # without scipy's checks, which would read all of it
    matrix.data, matrix.indices, matrix.indptr = parts
    return matrix


def forget_pages(values: Any) -> None:
    """Take what was read of a scratch file out of the process's memory; it is read again when looked at.

    Parameters
    ----------
    values
        What :func:`regroup` returned.
    """
    arrays = (values,) if isinstance(values, np.ndarray) else (values.data, values.indices)
    for array in arrays:
        pages = getattr(_owner(array), "_mmap", None)
        if pages is not None and hasattr(mmap, "MADV_DONTNEED"):
            pages.madvise(mmap.MADV_DONTNEED)


def _owner(array: Any) -> Any:
    while isinstance(array, np.ndarray) and not isinstance(array, np.memmap):
        array = array.base
    return array


class _Scratch:
    """A nameless file of so many values, written in any order: without a map, so a full disk is an error."""

    def __init__(self, dtype: np.dtype, size: int, files: ExitStack) -> None:
        self._dtype, self._size = np.dtype(dtype), size
        try:
            self._file = files.enter_context(TemporaryFile(buffering=0))  # noqa: SIM115
        except OSError as error:
            raise ScratchError from error

    def write(self, values: np.ndarray, start: int) -> None:
        """Write values from this place on."""
        left = np.ascontiguousarray(values).view(np.uint8).data
        try:
            self._file.seek(start * self._dtype.itemsize)
            while left:
                left = left[self._file.write(left) :]
        except OSError as error:
            raise ScratchError from error

    def mapped(self) -> np.ndarray:
        """The values, read when they are looked at."""
        if not self._size:
            return np.zeros(0, dtype=self._dtype)
        return np.asarray(np.memmap(self._file, dtype=self._dtype, mode="r", shape=(self._size,)))
