"""Rows of an expression matrix, whatever its kind, read without densifying the matrix."""

from collections.abc import Mapping
from contextlib import ExitStack
from copy import copy
from hashlib import sha256
from threading import Lock
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from anndata.abc import CSCDataset, CSRDataset
from scipy import sparse

from cdn_sc.errors import InputError, MissingNameError, did_you_mean
from cdn_sc.tl._regroup import forget_pages, regroup
from cdn_sc.tl._remedies import Place

# Rows of a file are read in windows of this size where many of them are wanted.
_WINDOW = 1024


class Expression:
    """The values of one matrix of an AnnData (X, a layer or raw), with the names of its genes.

    Attributes
    ----------
    place, name
        Where the values are, and that as a user writes it.
    log_scale
        By what a value is multiplied to be a natural logarithm: that of the base which
        :func:`scanpy.pp.log1p` has noted in `adata.uns`, which scanpy takes for `X`, layers and `raw` alike.
    """

    def __init__(self, adata: AnnData, *, layer: str | None = None, use_raw: bool = False) -> None:
        if layer is not None and use_raw:
            raise InputError(f"Give either layer={layer!r} or use_raw=True, not both.")
        if use_raw and adata.raw is None:
            raise InputError("use_raw=True, but adata.raw is not set. Leave use_raw out to read adata.X.")
        if layer is not None and layer not in adata.layers:
            # anndata 0.13 lists X among the layers, as None
            there = [name for name in adata.layers.keys() if name is not None]  # noqa: SIM118
            raise MissingNameError(f"adata.layers has no {layer!r}. {did_you_mean(layer, there)}")

        source = adata.raw if use_raw else adata
        self.place = Place(layer, use_raw)
        self.name = self.place.matrix
        self.var: pd.DataFrame = source.var
        self.var_names: pd.Index = source.var_names
        # names of several types, or missing ones, have no order of their own
        self.cell_names = pd.Index([str(name) for name in adata.obs_names], dtype=object)
        values = adata.layers[layer] if layer is not None else source.X
        if values is None:
            raise InputError(
                f"{self.name} is empty (None). Name a layer with log-normalised values in layer=."
            )
        self._values = self._readable(values)
        self._columns: np.ndarray | None = None
        self._places: np.ndarray | None = None
        self.shape: tuple[int, int] = self._values.shape
        self.dtype = np.dtype(self._values.dtype)
        self.log_scale = _log_scale(adata.uns)
        # h5py and anndata do not promise reads from several threads at once.
        self._lock = Lock()

    def only(self, mask: np.ndarray) -> "Expression":
        """Return the same values at some genes alone, as if there were no others."""
        chosen = copy(self)
        columns = np.flatnonzero(mask)
        chosen._columns = columns if self._columns is None else self._columns[columns]
        chosen.var_names = self.var_names[columns]
        chosen.shape = (self.shape[0], len(columns))
        return chosen

    def _readable(self, values: Any) -> Any:
        if isinstance(values, CSCDataset):
            # Rows of a column-compressed file are spread over all of it: read it once, kept sparse.
            values = values.to_memory()
        if isinstance(values, CSRDataset):
            self._check_starts(values.group["indptr"][:], len(values.group["indices"]))
            return values
        if is_file_array(values):
            return values
        if is_sparse(values):
            if values.format in ("csr", "csc"):
                self._check_starts(values.indptr, len(values.indices))
            if values.format == "csc":
                self._check_places(values.indices, values.shape[0])
            return _native(values).tocsr() if values.dtype.kind in "biuf" else values
        if np.ma.is_masked(values):
            raise InputError(
                f"{self.name} is a masked array with values that are masked: fill them, for example with\n"
                f"{self.place.convert('filled(0)')}"
            )
        if isinstance(values, np.ndarray):
            return np.asarray(values)
        raise InputError(
            f"{self.name} is a {type(values).__module__}.{type(values).__name__}, which cannot be read: a "
            "numpy array, a scipy sparse matrix or array, or a backed AnnData is wanted. For lazy arrays "
            "call adata.to_memory() first."
        )

    def _check_starts(self, starts: Any, n_stored: int) -> None:
        """Raise where rows, or columns, of a compressed matrix begin at places that cannot be."""
        starts = np.asarray(starts)
        if starts.size and (starts[0] != 0 or (np.diff(starts) < 0).any() or starts[-1] > n_stored):
            raise InputError(
                f"{self.name} is a damaged sparse matrix: its rows or columns (indptr) begin at places "
                "that do not ascend from 0 to the number of stored values. Write the object anew from where "
                "it came from."
            )

    def _check_places(self, places: np.ndarray, most: int) -> None:
        """Raise where values of a compressed matrix lie outside of it: compiled code would go there."""
        if places.size and not 0 <= int(places.min()) <= int(places.max()) < most:
            wrong = places[(places < 0) | (places >= most)][0]
            raise InputError(
                f"{self.name} is a damaged sparse matrix: it has a value at the place {wrong} (indices), "
                f"where places from 0 to {most - 1} are. Write the object anew from where it came from."
            )

    @property
    def places_by_name(self) -> np.ndarray:
        """Place of each gene among all, by their names."""
        return np.argsort(np.argsort([str(name) for name in self.var_names]))

    @property
    def is_sparse(self) -> bool:
        """Whether rows come sparse."""
        return is_sparse(self._values) or isinstance(self._values, CSRDataset)

    @property
    def in_file(self) -> bool:
        """Whether rows are read from a file each time."""
        return not isinstance(self._values, np.ndarray) and not is_sparse(self._values)

    def regrouped(self, order: np.ndarray, files: ExitStack) -> "Expression":
        """Copy rows of a file into a scratch file, in another order, in one pass over the file.

        Parameters
        ----------
        order
            The rows wanted, each once, in the order in which they will be read.
        files
            Closes the scratch file, which is gone then.

        Raises
        ------
        ScratchError
            If there is no room for the copy.
        OSError
            If the file cannot be read.
        """
        copied = copy(self)
        copied._values = regroup(self._values, order, files, _run_of_file)
        copied._places = np.full(self.shape[0], -1)
        copied._places[order] = np.arange(len(order))
        return copied

    def rows(self, index: np.ndarray) -> Any:
        """Return these rows, all genes, as a CSR matrix or array or as a dense array.

        Of float32 or float64: other types are converted, to the one that holds their values.

        Parameters
        ----------
        index
            Row numbers, increasing.
        """
        if self._places is not None:
            index = self._places[index]
            forget_pages(self._values)
        if isinstance(self._values, np.ndarray):
            chosen = index if self._columns is None else np.ix_(index, self._columns)
            return _computable(np.asarray(self._values[chosen]))
        if is_sparse(self._values):
            in_a_row = index.size and index[-1] - index[0] + 1 == index.size and (np.diff(index) == 1).all()
            rows = self._values[index[0] : index[-1] + 1] if in_a_row else self._values[index]
        else:
            with self._lock:
                rows = _rows_of_file(self._values, index)
        if is_sparse(rows):
            self._check_places(rows.indices, rows.shape[1])
        if self._columns is not None:
            rows = rows[:, self._columns]
        if is_sparse(rows):
            rows.sum_duplicates()
        return _computable(rows)


def _log_scale(uns: Any) -> float:
    noted = uns.get("log1p")
    base = noted.get("base") if isinstance(noted, Mapping) else None
    try:
        base = None if base is None else float(base)
    except (TypeError, ValueError):
        base = None
    return 1.0 if base is None or not 1 < base < np.inf else float(np.log(base))


def _native(values: Any) -> Any:
    """Return a sparse matrix in a type that scipy can compute with."""
    if not values.dtype.isnative:
        return values.astype(values.dtype.newbyteorder("="))
    return values.astype(np.float32) if values.dtype == np.float16 else values


def _computable(rows: Any) -> Any:
    """Return rows as native float32, or as float64 where that could not hold their values."""
    dtype = rows.dtype
    if dtype in (np.float32, np.float64) and dtype.isnative:
        return rows
    return rows.astype(np.float32 if np.can_cast(dtype, np.float32) else np.float64)


def is_sparse(values: Any) -> bool:
    """Return whether the values are a scipy sparse matrix or array, of any kind."""
    return bool(sparse.issparse(values))


def is_file_array(values: Any) -> bool:
    """Return whether the values are a dense array in an HDF5 or zarr file."""
    return type(values).__module__.split(".")[0] in ("h5py", "zarr") and hasattr(values, "shape")


def _rows_of_file(values: Any, index: np.ndarray) -> Any:
    """Read rows of a matrix in a file: whole windows where rows are close, single rows elsewhere."""
    parts = []
    for window in np.split(index, np.flatnonzero(np.diff(index // _WINDOW)) + 1):
        if not window.size:
            continue
        start, stop = int(window[0]), int(window[-1]) + 1
        if 4 * window.size >= stop - start:
            parts.append(_run_of_file(values, start, stop)[window - start])
        else:
            parts.extend(_run_of_file(values, int(row), int(row) + 1) for row in window)
    if isinstance(values, CSRDataset):
        return sparse.vstack(parts, format="csr") if parts else sparse.csr_matrix((0, values.shape[1]))
    return np.concatenate(parts) if parts else np.empty((0, values.shape[1]), values.dtype)


def _run_of_file(values: Any, start: int, stop: int) -> Any:
    """Read rows of a file that follow each other."""
    if isinstance(values, CSRDataset):
        return _native(values[start:stop]).tocsr()
    return np.asarray(values[start:stop])


def extremes(rows: Any) -> tuple[float, float]:
    """Return the least and the largest of the values (sparse or dense); NaN where one is NaN."""
    if is_sparse(rows):
        values = rows.data
        ends = [0.0] if values.size < rows.shape[0] * rows.shape[1] else []
    else:
        values, ends = rows, []
    if values.size:
        ends = [*ends, values.min(), values.max()]
    return float(np.min(ends)), float(np.max(ends))


def dense(rows: Any, genes: np.ndarray) -> np.ndarray:
    """Return some genes of rows already read, dense: float32 of shape (cells, genes)."""
    chosen = rows[:, genes]
    values = chosen.toarray(order="C") if is_sparse(chosen) else chosen
    return np.ascontiguousarray(values, dtype=np.float32)


def digest_of(rows: Any) -> bytes:
    """Return the SHA-256 of rows already read, of their kind and every value."""
    parts = (rows.data, rows.indices, rows.indptr) if is_sparse(rows) else (rows,)
    digest = sha256(repr(rows.shape).encode())
    for part in parts:
        digest.update(part.dtype.str.encode())
        digest.update(np.ascontiguousarray(part).tobytes())
    return digest.digest()
