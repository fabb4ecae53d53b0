"""Sparse matrices on any device."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse
from torch import Tensor


@dataclass(frozen=True)
class SparseRows:
    """A sparse matrix as plain tensors, which travel between processes and devices.

    Parameters
    ----------
    places
        Row and column of each stored value, 2 x values, in the order of rows and columns, each place once.
    values
        The values.
    size
        Numbers of rows and columns.
    """

    places: Tensor
    values: Tensor
    size: tuple[int, int]

    @classmethod
    def of(cls, matrix: sparse.csr_array) -> SparseRows:
        """From a scipy matrix."""
        matrix.sum_duplicates()
        rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
        return cls(
            torch.from_numpy(np.stack([rows, matrix.indices]).astype(np.int64)),
            torch.from_numpy(matrix.data.astype(np.float32)),
            (int(matrix.shape[0]), int(matrix.shape[1])),
        )

    def to(self, device: torch.device | str) -> SparseRows:
        """The same on another device."""
        return SparseRows(self.places.to(device), self.values.to(device), self.size)

    def tensor(self) -> Tensor:
        """The sparse tensor."""
        # checks would read all of it
        return torch.sparse_coo_tensor(
            self.places, self.values, size=self.size, check_invariants=False, is_coalesced=True
        )
