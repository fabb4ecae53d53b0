"""`cdn_sc.get.graph_difference`: the local causal edges of a gene, in control and in perturbed cells."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from anndata import AnnData

from cdn_sc.errors import InputError, MissingNameError, did_you_mean
from cdn_sc.get._arguments import check_whole_number
from cdn_sc.get._predicted_targets_df import predicted_targets_df, result_of

if TYPE_CHECKING:
    from cdn_sc.graphs.local import LocalEdges
    from cdn_sc.tl._expression import Expression

# An edge counts as there where at least half of the subsets have it, and as changed where shuffled labels
# seldom give as large a difference.
_THERE = 0.5
LEVEL = 0.05


def graph_difference(
    adata: AnnData,
    group: object,
    gene: str,
    *,
    groupby: str | None = None,
    control: str | Iterable[str] | None = None,
    key: str = "cdn_targets",
    n_subsets: int = 400,
    n_shuffles: int = 100,
    rng: int | None = None,
) -> pd.DataFrame:
    """Return the local causal edges of one gene in control and in perturbed cells, and which changed.

    The steps by which networks of the published architecture read a comparison (*Identifying biological
    perturbation targets through causal differential networks*, Wu et al., ICML 2025, section 3): subsets of 5
    candidate genes are sampled, and the causal graph of each is estimated by fast causal inference (FCI,
    Fisher's z at a level of 0.05). Here all subsets hold the gene asked for, and each is estimated in both
    sets of cells, on equally many cells of each, at most 500. The default model, a gene transformer, does not
    read such graphs.

    Among hundreds of pairs of genes many edges come and go by chance. So the labels of the cells are shuffled
    and everything is counted again: `chance` says how often that gave as large a difference. It is not
    corrected for the number of neighbours: of 200 of them, up to 10 reach 0.05 where nothing changed.

    Parameters
    ----------
    adata
        Object with a result of :func:`~cdn_sc.tl.predict_targets`, and the expression it was made from: the
        layer or `raw`, the candidate genes, the labels and the seed are those of the result.
    group
        Label of a group that was scored, as it is in `adata.obs` or as a string.
    gene
        One of the group's candidate genes.
    groupby
        Column of `adata.obs` with the labels, if it is not the one of the result.
    control
        Label of the control cells, or a list of them, if they are not those of the result. Of more than
        20,000 a random 20,000 are used.
    key
        Key of `adata.uns` with the result.
    n_subsets
        How many subsets of genes to sample, at least 2. More of them make shares more precise, and let more
        genes meet.
    n_shuffles
        How often to shuffle the labels of the cells, at least 19.
    rng
        Seed; `None` takes that of the result.

    Returns
    -------
    One row for each candidate gene that shared a subset with the gene, those with the most frequent edges
    first. An edge is written with the gene left and the neighbour right: `-->` (gene causes neighbour),
    `<--`, `<->` (a common cause that is not measured), `o->`, `<-o`, `o-o` (a circle: an arrow or none).

    `neighbour` : str
        The other gene.
    `subsets` : int
        In how many subsets the two were together.
    `edge_control`, `edge_perturbed` : str
        The edge seen most often, empty if there was never one.
    `share_control`, `share_perturbed` : float
        Share of the subsets in which there was an edge, whatever its ends.
    `marks_control`, `marks_perturbed` : float
        Share of the subsets with just that edge.
    `chance` : float
        Share of the shuffles in which the two shares differed at least as much, the labels as they are
        counted as one.
    `change` : categorical
        An edge is taken to be there where its share is at least a half. `gained`, `lost`: there in the
        perturbed, or the control cells alone, with a `chance` of at most 0.05; `unclear` with a larger one.
        `turned`: there in both, with other ends that are each seen in at least half of the subsets (this
        is not tested). `kept`: there in both. `none`: in neither.

    Raises
    ------
    MissingNameError
        (A :class:`KeyError`.) No such result, group, candidate gene, column, layer or label.
    InputError
        (A :class:`ValueError`.) An argument cannot be used, or the group has a single candidate gene.

    Examples
    --------
    >>> import cdn_sc
    >>> import scanpy as sc
    >>> adata = cdn_sc.datasets.simulated_screen()
    >>> sc.pp.normalize_total(adata)
    >>> sc.pp.log1p(adata)
    >>> cdn_sc.tl.predict_targets(adata, groupby="perturbation", control="control", progress=False)
    >>> edges = cdn_sc.get.graph_difference(adata, "gene_136 (activity)", "gene_136")
    >>> edges.columns.to_list()[:4]
    ['neighbour', 'subsets', 'edge_control', 'edge_perturbed']
    """
    from cdn_sc.graphs.local import local_edges
    from cdn_sc.tl._randomness import generator_of_group, resolve_seed

    check_whole_number("n_subsets", n_subsets, 2)
    check_whole_number("n_shuffles", n_shuffles, round(1 / LEVEL) - 1)
    params = result_of(adata, key)["params"]
    candidates = predicted_targets_df(adata, [group], key=key)
    name = str(candidates["group"].iloc[0])
    genes = _columns_of_candidates(adata, candidates, params, gene, name)
    control_values, values = _values_of_arms(adata, name, genes, params, groupby, control)
    rng_of_gene = generator_of_group(
        resolve_seed(int(params["seed"]) if rng is None else rng), f"{name}\n{gene}"
    )
    names = _expression(adata, params).var_names.astype(str)[genes]
    edges = local_edges(
        control_values,
        values,
        int(np.flatnonzero(names == gene)[0]),
        n_subsets=n_subsets,
        n_shuffles=n_shuffles,
        rng=rng_of_gene,
    )
    return _table(edges, names)


def _expression(adata: AnnData, params: Mapping[str, Any]) -> "Expression":
    from cdn_sc.tl._expression import Expression

    return Expression(adata, layer=str(params["layer"]) or None, use_raw=bool(params["use_raw"]))


def _columns_of_candidates(
    adata: AnnData, candidates: pd.DataFrame, params: Mapping[str, Any], gene: str, group: str
) -> np.ndarray:
    """Columns, increasing, of the group's candidates, the gene among them."""
    scored = candidates["gene"].astype(str)
    if gene not in set(scored):
        raise MissingNameError(
            f"{gene!r} is no candidate gene of the group {group!r}. {did_you_mean(gene, scored)}"
        )
    if len(scored) < 2:
        raise InputError(f"{gene!r} is the only candidate gene of the group {group!r}: edges need two.")
    expression = _expression(adata, params)
    found = expression.var_names.astype(str).get_indexer(pd.Index(scored))
    if (found < 0).any():
        absent = scored[found < 0].iloc[0]
        raise MissingNameError(
            f"{expression.name} has no gene {absent!r}, a candidate of the group {group!r}: give the object "
            "that the result was made from."
        )
    return np.sort(found)


def _values_of_arms(
    adata: AnnData,
    group: str,
    genes: np.ndarray,
    params: Mapping[str, Any],
    groupby: str | None,
    control: str | Iterable[str] | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Control and perturbed values at these genes, dense."""
    from cdn_sc.tl._control_cells import MOST_CONTROL_CELLS
    from cdn_sc.tl._expression import dense
    from cdn_sc.tl._groups import split_into_arms

    expression = _expression(adata, params)
    if control is None:
        control = params["control"]
    arms = split_into_arms(
        adata,
        params["groupby"] if groupby is None else groupby,
        control if isinstance(control, str) or not isinstance(control, Iterable) else list(control),
        [group],
    )
    control_cells = arms.control
    if len(control_cells) > MOST_CONTROL_CELLS:
        rng = np.random.default_rng(int(params["seed"]))
        control_cells = np.sort(rng.choice(control_cells, MOST_CONTROL_CELLS, replace=False))
    control_values, values = (
        dense(expression.rows(cells), genes) for cells in (control_cells, arms.groups[group])
    )
    if not (np.isfinite(control_values).all() and np.isfinite(values).all()):
        raise InputError(f"{expression.name} holds NaN or infinite values: they were not there when scored.")
    return control_values, values


def _table(edges: "LocalEdges", names: pd.Index) -> pd.DataFrame:
    from cdn_sc.graphs.tokens import EDGES, NO_EDGE

    table: dict[str, Any] = {"neighbour": names[edges.neighbours], "subsets": edges.subsets}
    with_edge = edges.seen[:, :, NO_EDGE + 1 :]
    commonest = with_edge.argmax(axis=2)
    there = with_edge.sum(axis=2)
    marks = np.take_along_axis(with_edge, commonest[:, :, None], axis=2)[:, :, 0]
    written = np.where(there > 0, np.array(EDGES[NO_EDGE + 1 :], dtype=object)[commonest], "")
    for column, values in (
        ("edge", written),
        ("share", there / edges.subsets),
        ("marks", marks / edges.subsets),
    ):
        for arm, of_arm in zip(("control", "perturbed"), values, strict=True):
            table[f"{column}_{arm}"] = of_arm
    frame = pd.DataFrame(table | {"chance": edges.chance})
    frame["change"] = pd.Categorical(_change(frame), ["gained", "lost", "turned", "kept", "unclear", "none"])
    most = frame[["share_control", "share_perturbed"]].max(axis=1)
    order = np.lexsort((-frame["subsets"], -most))
    return frame.iloc[order].reset_index(drop=True)


def _change(frame: pd.DataFrame) -> np.ndarray:
    """What became of each edge; see the section Returns of `graph_difference`."""
    before, after = frame["share_control"] >= _THERE, frame["share_perturbed"] >= _THERE
    by_chance = frame["chance"] > LEVEL
    other_ends = (frame["edge_control"] != frame["edge_perturbed"]) & (
        frame[["marks_control", "marks_perturbed"]].min(axis=1) >= _THERE
    )
    cases = {
        "turned": before & after & other_ends,
        "kept": before & after,
        "unclear": (before ^ after) & by_chance,
        "gained": after,
        "lost": before,
    }
    return np.select(list(cases.values()), list(cases), "none")
