"""Rows of an expression matrix, whatever its kind, read without densifying the matrix."""

from hashlib import sha256
from threading import Lock
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from anndata.abc import CSCDataset, CSRDataset
from scipy import sparse

from cdn_sc.errors import InputError, MissingNameError, did_you_mean

# Rows of a file are read in windows of this size where many of them are wanted.
_WINDOW = 1024


class Expression:
    """The values of one matrix of an AnnData (X, a layer or raw), with the names of its genes."""

    def __init__(self, adata: AnnData, *, layer: str | None = None, use_raw: bool = False) -> None:
        if layer is not None and use_raw:
            raise InputError(f"Give either layer={layer!r} or use_raw=True, not both.")
        if use_raw and adata.raw is None:
            raise InputError("use_raw=True, but adata.raw is not set. Leave use_raw out to read adata.X.")
        if layer is not None and layer not in adata.layers:
            raise MissingNameError(
                f"adata.layers has no {layer!r}. {did_you_mean(layer, adata.layers.keys())}"
            )

        source = adata.raw if use_raw else adata
        self.name = "adata.raw.X" if use_raw else "adata.X" if layer is None else f"adata.layers[{layer!r}]"
        self.var: pd.DataFrame = source.var
        self.var_names: pd.Index = source.var_names
        self.cell_names: pd.Index = adata.obs_names
        values = adata.layers[layer] if layer is not None else source.X
        if values is None:
            raise InputError(
                f"{self.name} is empty (None). Name a layer with log-normalised values in layer=."
            )
        self._values = self._readable(values)
        self.shape: tuple[int, int] = self._values.shape
        self.dtype = np.dtype(self._values.dtype)
        # h5py and anndata do not promise reads from several threads at once.
        self._lock = Lock()

    def _readable(self, values: Any) -> Any:
        if isinstance(values, CSCDataset):
            # Rows of a column-compressed file are spread over all of it: read it once, kept sparse.
            values = values.to_memory()
        if isinstance(values, CSRDataset) or is_file_array(values):
            return values
        if is_sparse(values):
            return values.tocsr()
        if isinstance(values, np.ndarray):
            return np.asarray(values)
        raise InputError(
            f"{self.name} is a {type(values).__module__}.{type(values).__name__}, which cannot be read: a "
            "numpy array, a scipy sparse matrix or array, or a backed AnnData is wanted. For lazy arrays "
            "call adata.to_memory() first."
        )

    @property
    def is_sparse(self) -> bool:
        """Whether rows come sparse."""
        return is_sparse(self._values) or isinstance(self._values, CSRDataset)

    def rows(self, index: np.ndarray) -> Any:
        """Return these rows, all genes, as a CSR matrix or array or as a dense array.

        Parameters
        ----------
        index
            Row numbers, increasing.
        """
        if isinstance(self._values, np.ndarray) or is_sparse(self._values):
            return self._values[index]
        with self._lock:
            if isinstance(self._values, CSRDataset):
                return self._values[index].tocsr()
            return _rows_of_file(self._values, index)


def is_sparse(values: Any) -> bool:
    """Return whether the values are a scipy sparse matrix or array, of any kind."""
    return bool(sparse.issparse(values))


def is_file_array(values: Any) -> bool:
    """Return whether the values are a dense array in an HDF5 or zarr file."""
    return type(values).__module__.split(".")[0] in ("h5py", "zarr") and hasattr(values, "shape")


def _rows_of_file(values: Any, index: np.ndarray) -> np.ndarray:
    """Read rows of a dense array in a file: whole windows where rows are close, single rows elsewhere."""
    parts = []
    for window in np.split(index, np.flatnonzero(np.diff(index // _WINDOW)) + 1):
        if not window.size:
            continue
        start, stop = int(window[0]), int(window[-1]) + 1
        if 4 * window.size >= stop - start:
            parts.append(np.asarray(values[start:stop])[window - start])
        else:
            parts.extend(np.asarray(values[int(row)])[None] for row in window)
    return np.concatenate(parts) if parts else np.empty((0, values.shape[1]), values.dtype)


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
