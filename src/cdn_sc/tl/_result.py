"""The result as it is kept in `adata.uns`: written and read by h5ad and zarr at any number of groups."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from cdn_sc.predictors import KINDS, sigmoid


@dataclass(frozen=True)
class GroupResult:
    """The scores of one group's candidate genes, in the order of the genes.

    All groups of a call have the same further `columns` and `kinds` (probability of each kind of
    perturbation, None where the network cannot tell), those of :class:`cdn_sc.predictors.Prediction`.
    """

    group: str
    genes: np.ndarray
    logits: np.ndarray
    logfoldchange: np.ndarray
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)
    n_cells: int = 0
    kinds: np.ndarray | None = None


def assemble_table(results: Sequence[GroupResult], var_names: pd.Index) -> pd.DataFrame:
    """Return the long table of all groups: one row per group and candidate gene.

    Parameters
    ----------
    results
        The groups' scores, in any order.
    var_names
        Names of all genes; :attr:`GroupResult.genes` are positions in it.

    Returns
    -------
    Columns `group` and `gene` (categorical), `rank` (int32, 1 is best), `score` (float32, between 0
    and 1), `logfoldchange` (float32) and those of the model; sorted by group and rank.
    """
    results = sorted(results, key=lambda result: result.group)
    orders = [np.argsort(-result.logits, kind="stable") for result in results]
    sizes = [len(order) for order in orders]

    def gather(arrays: Sequence[np.ndarray]) -> np.ndarray:
        return np.concatenate([np.asarray(array)[order] for array, order in zip(arrays, orders, strict=True)])

    used, gene_codes = np.unique(gather([result.genes for result in results]), return_inverse=True)
    codes = np.repeat(np.arange(len(results), dtype=np.int32), sizes)
    table = {
        "group": pd.Categorical.from_codes(codes, _strings([result.group for result in results])),
        "gene": pd.Categorical.from_codes(gene_codes.astype(np.int32), _strings(var_names[used])),
        "rank": np.concatenate([np.arange(1, size + 1, dtype=np.int32) for size in sizes]),
        "score": sigmoid(gather([result.logits for result in results])).astype(np.float32),
        "logfoldchange": gather([result.logfoldchange for result in results]).astype(np.float32),
    }
    for name in results[0].columns:
        table[name] = gather([result.columns[name] for result in results])
    return pd.DataFrame(table)


def groups_table(results: Sequence[GroupResult], var_names: pd.Index) -> pd.DataFrame:
    """Return what is said of each group as a whole: one row a group, sorted by its name.

    Parameters
    ----------
    results, var_names
        As of :func:`assemble_table`.

    Returns
    -------
    Columns `group` (str), `n_cells` (int64), `best_gene` (str), `best_score` (float32), and with a network
    that can tell `likely_kind` (str) and `kind_probability` (float32).
    """
    results = sorted(results, key=lambda result: result.group)
    best = [int(np.argmax(result.logits)) for result in results]
    table: dict[str, Any] = {
        "group": _strings([result.group for result in results]),
        "n_cells": np.array([result.n_cells for result in results], dtype=np.int64),
        "best_gene": _strings([var_names[r.genes[place]] for r, place in zip(results, best, strict=True)]),
        "best_score": np.array(
            [sigmoid(r.logits[place : place + 1])[0] for r, place in zip(results, best, strict=True)],
            dtype=np.float32,
        ),
    }
    if results[0].kinds is not None:
        kinds = np.stack([result.kinds for result in results if result.kinds is not None])
        table["likely_kind"] = _strings([KINDS[place] for place in kinds.argmax(axis=1)])
        table["kind_probability"] = kinds.max(axis=1).astype(np.float32)
    return pd.DataFrame(table)


def skipped_table(skipped: Mapping[str, str]) -> pd.DataFrame:
    """Return the groups that were not scored as a table with columns `group` and `reason`."""
    groups = sorted(skipped)
    return pd.DataFrame({"group": _strings(groups), "reason": _strings([skipped[group] for group in groups])})


def _strings(values: Sequence[object] | pd.Index) -> pd.Index:
    """Return strings in the type that pandas has for them, which is what files are read as: of 2 object."""
    return pd.Index([str(value) for value in values], dtype=pd.Index([""]).dtype)
