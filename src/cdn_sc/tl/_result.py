"""The result as it is kept in `adata.uns`: written and read by h5ad and zarr at any number of groups."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from cdn_sc.predictors import sigmoid


@dataclass(frozen=True)
class GroupResult:
    """The scores of one group's candidate genes, in the order of the genes.

    All groups of a call have the same further `columns`, those of :class:`cdn_sc.predictors.Prediction`.
    """

    group: str
    genes: np.ndarray
    logits: np.ndarray
    logfoldchange: np.ndarray
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)


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


def skipped_table(skipped: Mapping[str, str]) -> pd.DataFrame:
    """Return the groups that were not scored as a table with columns `group` and `reason`."""
    groups = sorted(skipped)
    return pd.DataFrame({"group": _strings(groups), "reason": _strings([skipped[group] for group in groups])})


def _strings(values: Sequence[object] | pd.Index) -> pd.Index:
    """Return strings in the type that pandas has for them, which is what files are read as: of 2 object."""
    return pd.Index([str(value) for value in values], dtype=pd.Index([""]).dtype)
