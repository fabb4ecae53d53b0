"""A table of relations from what perturbing each gene did in another screen."""

from collections.abc import Iterable, Mapping
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from cdn_sc._logging import logger
from cdn_sc.errors import InputError
from cdn_sc.get._arguments import check_whole_number
from cdn_sc.predictors import KINDS
from cdn_sc.tl._candidates import arm_statistics, welch_t
from cdn_sc.tl._checks import check_shape, check_type, scan_values
from cdn_sc.tl._expression import Expression
from cdn_sc.tl._groups import check_number_of_controls, split_into_arms
from cdn_sc.tl._known_targets import known_targets


def relations_from_screen(
    adata: AnnData,
    groupby: str,
    control: str | Iterable[str],
    targets: Mapping[Any, Any] | None = None,
    *,
    kind: str = "knockdown",
    threshold: float = 2.0,
    layer: str | None = None,
    use_raw: bool = False,
    min_cells: int = 10,
    allow_counts: bool = False,
) -> pd.DataFrame:
    """Turn a screen of known targets into a table of relations, for another screen's `predict_targets`.

    A relation leads from each perturbed gene to each gene that responded: with Welch's t beyond `threshold`.
    These are total effects, not edges of regulation; that is what a screen of related cells, or a drug
    compared with knockdowns of its possible targets, is asked.

    Parameters
    ----------
    adata
        Cells x genes with log-normalised expression. It is not changed.
    groupby, control
        Column of `adata.obs` with the perturbations, and its label, or labels, of the control cells.
    targets
        Label -> target gene; labels of no or of several target genes are left out. `None`: each label that is
        the name of a gene is its own target.
    kind
        What the screen did: after `knockdown`, `knockout` and `activity` (loss of activity) a response
        downwards means that the gene is activated by the target, after `activation` one upwards.
    threshold
        Absolute Welch t from which a gene counts as responding. Weak responses weigh little in predictions,
        but there are many of them.
    layer, use_raw
        Where the values are, as of :func:`cdn_sc.tl.predict_targets`.
    min_cells
        Groups of fewer cells are left out; the control needs as many.
    allow_counts
        Whether to take whole numbers as they are.

    Returns
    -------
    One row a relation: `source` (the perturbed gene), `target` (the gene that responded; never the source),
    `weight` (float64: Welch's t, its sign that of the regulation), sorted by source and falling absolute
    weight. decoupler reads the same table as a network. Of several groups with one target the mean t counts,
    weighted by the number of cells.

    Raises
    ------
    MissingNameError
        (A :class:`KeyError`.) No such column, label or layer.
    InputError
        (A :class:`ValueError`.) The values or an argument cannot be used, no group has a known target, or no
        gene responded.

    Warns
    -----
    UserWarning
        Once, if groups are left out since their target is no gene.

    Examples
    --------
    >>> import cdn_sc
    >>> import scanpy as sc
    >>> reference = cdn_sc.datasets.simulated_screen()
    >>> sc.pp.normalize_total(reference)
    >>> sc.pp.log1p(reference)
    >>> targets = reference.uns["targets"]
    >>> table = cdn_sc.tl.relations_from_screen(reference, "perturbation", "control", targets)
    >>> table.columns.to_list()
    ['source', 'target', 'weight']
    """
    if not isinstance(adata, AnnData):
        raise InputError(f"adata is a {type(adata).__name__}, and an AnnData is wanted.")
    if kind not in KINDS:
        raise InputError(f"kind is one of {', '.join(map(repr, KINDS))}, not {kind!r}.")
    if isinstance(threshold, bool) or not isinstance(threshold, Real) or not threshold > 0:
        raise InputError(f"threshold is a t statistic above 0, not {threshold!r}.")
    check_whole_number("min_cells", min_cells, 2)
    expression = Expression(adata, layer=layer, use_raw=use_raw)
    check_shape(adata, expression)
    check_type(expression, allow_counts=allow_counts)
    control = (
        control if isinstance(control, str | bytes) or not isinstance(control, Iterable) else list(control)
    )
    arms = split_into_arms(adata, groupby, control, "all")
    scan_values(adata, expression, arms.cells, allow_counts=allow_counts)
    check_number_of_controls(arms, control, min_cells)
    groups = [group for group, cells in arms.groups.items() if len(cells) >= min_cells]
    if not groups:
        raise InputError(f"no group has min_cells={min_cells} cells.")
    names = expression.var_names
    of_groups = known_targets(targets, groups, names, f"adata.obs[{groupby!r}]", list(arms.groups))
    single = {group: int(genes[0]) for group, genes in of_groups.items() if genes.size == 1}
    of_control = arm_statistics(expression.rows(arms.control))
    total: dict[int, np.ndarray] = {}
    n_cells: dict[int, int] = {}
    for group, gene in single.items():
        found = arm_statistics(expression.rows(arms.groups[group]))
        total[gene] = total.get(gene, 0.0) + found.n_cells * welch_t(of_control, found)
        n_cells[gene] = n_cells.get(gene, 0) + found.n_cells
    sign = 1.0 if kind == "activation" else -1.0
    parts = []
    for gene in sorted(total, key=lambda place: str(names[place])):
        t = total[gene] / n_cells[gene]
        t[gene] = 0.0
        responding = np.flatnonzero(np.abs(t) > threshold)
        responding = responding[np.argsort(-np.abs(t[responding]), kind="stable")]
        parts.append(
            pd.DataFrame(
                {
                    "source": str(names[gene]),
                    "target": names[responding].astype(str),
                    "weight": sign * t[responding],
                }
            )
        )
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
    if not len(table):
        raise InputError(
            f"no gene responds with an absolute t above {threshold:g} in {len(single)} groups of one known "
            "target: lower the threshold, or take another screen."
        )
    logger.info(
        "Relations: %d responses to %d perturbed genes (of %d groups, %d with one known target).",
        len(table),
        len(total),
        len(arms.groups),
        len(single),
    )
    return table
