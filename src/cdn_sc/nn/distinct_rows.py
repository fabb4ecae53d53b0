"""Which rows of a pair stream differ, where nothing is dropped out.

A subset's row of the stream (T x K) differs from another's by three things only: by its own filled entries;
by the keys that it offers to row attention, which are its entries at the pairs of the first subset; and by
its weights in column attention, which are all 1 where a single subset holds the first pair. So where a single
one does, all other subsets that share no pair with the first one have one row in common, but for some 20
filled entries each. (The one that holds the first pair has a row of its own: all of it is read as the keys of
column attention.) With 100 genes or more that leaves a tenth of the stream, and the result is the same.
Dropout would tell those rows apart, so training takes the whole stream.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class DistinctRows:
    """Which rows of one arm's pair stream are held, R of T, and where its tokens are.

    The stream is kept flat: the R rows of K entries, then the entries that the first row has no place for, as
    each belongs to one of the subsets that share that row.

    Attributes
    ----------
    subset_rows
        Row of each subset, (T,).
    row_subsets
        A subset of each row, (R,).
    counts
        Number of subsets that each row stands for, (R,).
    filled
        Which entries (T, P) are tokens rather than padding.
    columns
        Pair of each token, (T, P).
    entries
        Position of each token in the flat stream, (T, P).
    keys
        Pairs of the first subset, (J,).
    key_rows
        Rows of the subsets that hold the first pair, (S,).
    lone_columns
        Pair of each entry after the rows, (E,).
    n_pairs
        K.
    """

    subset_rows: Tensor
    row_subsets: Tensor
    counts: Tensor
    filled: Tensor
    columns: Tensor
    entries: Tensor
    keys: Tensor
    key_rows: Tensor
    lone_columns: Tensor
    n_pairs: int

    @classmethod
    def of(cls, tokens: np.ndarray, columns: np.ndarray, n_pairs: int) -> Self:
        """Find the rows of an arm.

        Parameters
        ----------
        tokens
            Edge tokens of each subset, (T, P), 0 for padding.
        columns
            Pair of each token, (T, P).
        n_pairs
            Number of pairs K.
        """
        filled = tokens != 0
        columns = np.where(filled, columns, 0)
        holders = np.flatnonzero((filled & (columns == 0)).any(axis=1))
        keys = columns[0, filled[0]] if len(columns) else columns.ravel()
        own = (filled & np.isin(columns, keys)).any(axis=1)
        own[:1] = own[holders] = True
        if len(holders) != 1 or (~own).sum() < 2:
            own[:] = True
        sharing = np.flatnonzero(~own)
        row_subsets = np.concatenate([sharing[:1], np.flatnonzero(own)])
        subset_rows = np.zeros(len(tokens), np.int64)
        subset_rows[row_subsets] = np.arange(len(row_subsets))
        subset_rows[sharing] = 0
        entries = np.where(filled, subset_rows[:, None] * n_pairs + columns, 0)
        lone = filled & ~own[:, None]
        entries[lone] = len(row_subsets) * n_pairs + np.arange(lone.sum())
        tensor = torch.from_numpy
        return cls(
            subset_rows=tensor(subset_rows),
            row_subsets=tensor(row_subsets),
            counts=tensor(np.bincount(subset_rows, minlength=len(row_subsets))),
            filled=tensor(filled),
            columns=tensor(columns),
            entries=tensor(entries),
            keys=tensor(keys if len(keys) else np.zeros(1, np.int64)),
            key_rows=tensor(subset_rows[holders] if len(holders) else np.zeros(1, np.int64)),
            lone_columns=tensor(columns[lone]),
            n_pairs=n_pairs,
        )
