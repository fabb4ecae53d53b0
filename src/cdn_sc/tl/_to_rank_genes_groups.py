"""`cdn_sc.tl.to_rank_genes_groups`: the result in the layout that scanpy's own functions read."""

import warnings
from collections.abc import Iterable

import numpy as np
from anndata import AnnData

from cdn_sc.errors import InputError
from cdn_sc.get._arguments import as_list
from cdn_sc.get._predicted_targets_df import is_result, result_of, select_groups

# HDF5 keeps the fields of a record array in one object header of at most 64 kB: each takes 52 bytes and
# its name, closed by a zero and filled up to a multiple of 8 (measured with h5py 3).
_HEADER_BYTES = 64 * 1024
_BYTES_PER_FIELD = 52


def to_rank_genes_groups(
    adata: AnnData,
    groups: object | Iterable[object] | None = None,
    *,
    key: str = "cdn_targets",
    key_added: str = "rank_genes_groups",
    copy: bool = False,
) -> AnnData | None:
    """Write predicted targets in the layout of :func:`scanpy.tl.rank_genes_groups`.

    Then :func:`scanpy.get.rank_genes_groups_df` and :func:`scanpy.pl.rank_genes_groups_dotplot`,
    `_matrixplot`, `_heatmap`, `_violin`, `_tracksplot` and their like show them.

    Parameters
    ----------
    adata
        Object with a result of :func:`~cdn_sc.tl.predict_targets`.
    groups
        Labels of the groups to convert, as they are in `adata.obs` or as strings; `None` converts all. That
        layout has one field per group,
        and h5ad files cannot hold it for more than several hundred groups.
    key
        Key of `adata.uns` with the result.
    key_added
        Key of `adata.uns` under which to write; what was there is replaced, unless it is a result of
        :func:`~cdn_sc.tl.predict_targets`.
    copy
        Whether to write into a copy of `adata` and return it.

    Returns
    -------
    Returns `None` if `copy=False`, else an :class:`~anndata.AnnData`. Sets the following fields, the
    arrays with one field per group, best gene first, as long as the shortest list of candidate genes
    among the groups:

    `adata.uns[key_added]['names']` : structured :class:`numpy.ndarray` (dtype `object`)
        Genes.
    `adata.uns[key_added]['scores']` : structured :class:`numpy.ndarray` (dtype `float32`)
        Scores of the model, between 0 and 1.
    `adata.uns[key_added]['logfoldchanges']` : structured :class:`numpy.ndarray` (dtype `float32`)
        Log2 fold changes.
    `adata.uns[key_added]['pvals']` : structured :class:`numpy.ndarray` (dtype `float64`)
        NaN, and so is `pvals_adj`: a score has no p-value. With a `pval_cutoff`, scanpy therefore
        keeps no gene.
    `adata.uns[key_added]['params']` : dict
        `groupby`, `reference`, `method` (`cdn_sc`), `use_raw`, `layer`, `corr_method`.

    Raises
    ------
    MissingNameError
        (A :class:`KeyError`.) No such result or group.
    InputError
        (A :class:`ValueError`.) `groups` is a str or an empty list, `key_added` holds predicted targets, or
        the only group has an empty label.

    Warns
    -----
    UserWarning
        If genes are left out since another group has fewer candidates, a group is left out since its label is
        empty, or there are more groups than an h5ad file can hold in this layout.
    """
    result = result_of(adata, key)
    if isinstance(groups, str):
        raise InputError(f"groups is a list of labels: write groups=[{groups!r}].")
    if is_result(adata.uns.get(key_added)):
        raise InputError(
            f"key_added={key_added!r} holds predicted targets, which would be lost: take another key."
        )
    table = result["table"]
    if groups is not None:
        table = select_groups(adata, key, as_list(groups, "groups"))
    names = _with_name(list(table["group"].cat.categories))
    table = table[table["group"].isin(names)]
    per_group = {str(name): rows for name, rows in table.groupby("group", observed=True, sort=False)}
    length = min(len(rows) for rows in per_group.values())
    longest = max(len(rows) for rows in per_group.values())
    if length < longest:
        warnings.warn(
            f"each group keeps its best {length} genes of up to {longest}, as many as the group with the "
            "fewest candidates has: that layout has one length for all. The result that was converted keeps "
            "them all.",
            stacklevel=2,
        )
    _warn_if_too_wide(names)

    def records(values: dict[str, np.ndarray], dtype: str) -> np.recarray:
        return np.rec.fromarrays(list(values.values()), dtype=[(name, dtype) for name in values])

    def column(name: str) -> dict[str, np.ndarray]:
        return {group: per_group[group][name].to_numpy()[:length] for group in names}

    missing = {group: np.full(length, np.nan) for group in names}
    params = result["params"]
    control = params["control"]
    written = {
        "params": {
            "groupby": str(params["groupby"]),
            "reference": control if isinstance(control, str) else ", ".join(control),
            "method": "cdn_sc",
            "use_raw": bool(params["use_raw"]),
            "layer": str(params["layer"]) or None,
            "corr_method": "none",
        },
        "names": records({group: genes.astype(object) for group, genes in column("gene").items()}, "O"),
        "scores": records(column("score"), "float32"),
        "logfoldchanges": records(column("logfoldchange"), "float32"),
        "pvals": records(missing, "float64"),
        "pvals_adj": records(missing, "float64"),
    }
    if copy:
        adata = adata.copy()
    adata.uns[key_added] = written
    return adata if copy else None


def _with_name(groups: list[str]) -> list[str]:
    """Return the groups without one whose label is empty, for which there can be no field."""
    named = [group for group in groups if group]
    if not named:
        raise InputError("the only group has an empty label, which that layout cannot hold: give it a name.")
    if len(named) < len(groups):
        warnings.warn(
            "a group with an empty label is left out, which that layout cannot hold: give it a name.",
            stacklevel=3,
        )
    return named


def _warn_if_too_wide(groups: list[str]) -> None:
    size = sum(_BYTES_PER_FIELD + 8 * (len(group.encode()) // 8 + 1) for group in groups)
    if size > _HEADER_BYTES:
        warnings.warn(
            f"{len(groups)} groups are more than an h5ad file can hold in this layout: name fewer in "
            "groups=[...], or delete it before you write the file. The result that was converted has no such "
            "limit.",
            stacklevel=3,
        )
