"""Metrics of one ranking of candidate genes, and of a whole result table."""

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from cdn_sc._labels import LabelIndex, as_genes, label_name, printable
from cdn_sc._logging import logger

METRICS = (
    "normalised_rank",
    "recall_at_1",
    "recall_at_5",
    "recall_at_10",
    "recall_at_top_1_percent",
    "reciprocal_rank",
    "auroc",
    "average_precision",
)
"""Names of the metrics, as columns of the result of `target_metrics`; 1 is perfect in each of them."""

_COLUMNS = ("group", "gene", "rank", "logfoldchange")


def rank_metrics(target_ranks: np.ndarray, n_candidates: int, n_missing: int = 0) -> dict[str, float]:
    """Metrics of one ranking without ties.

    Targets that are no candidates count as ranked last: they are added below the last candidate.

    Parameters
    ----------
    target_ranks
        Ranks of the targets among the candidates, 1 is best.
    n_candidates
        Number of candidates.
    n_missing
        Number of targets that are no candidates.

    Returns
    -------
    The metrics of `METRICS`. Normalised rank and reciprocal rank are those of the best target (a normalised
    rank of 0 if no target is a candidate), recall is the share of the targets found. A metric is NaN where
    it does not exist: the normalised rank of one candidate, the AUROC without a candidate that is no target.
    """
    n_genes = n_candidates + n_missing
    ranks = np.concatenate([np.sort(target_ranks), np.arange(n_candidates + 1, n_genes + 1)]).astype(float)
    n_targets = ranks.size
    if not n_targets:
        raise ValueError("a ranking is scored against at least one target, but there is none")
    n_others = n_genes - n_targets
    found = np.arange(1, n_targets + 1)
    # the other genes above the k-th target are rank - k; each is a pair in the wrong order
    wrong_pairs = (ranks - found).sum()
    # several targets below the last candidate share the last place: none of them was ranked
    best = ranks[0] if n_missing < n_targets else n_genes
    top_1_percent = max(1, int(np.ceil(0.01 * n_genes)))
    return {
        "normalised_rank": 1 - (best - 1) / (n_genes - 1) if n_genes > 1 else np.nan,
        "recall_at_1": float(np.mean(ranks <= 1)),
        "recall_at_5": float(np.mean(ranks <= 5)),
        "recall_at_10": float(np.mean(ranks <= 10)),
        "recall_at_top_1_percent": float(np.mean(ranks <= top_1_percent)),
        "reciprocal_rank": 1 / ranks[0],
        "auroc": 1 - wrong_pairs / (n_targets * n_others) if n_others else np.nan,
        "average_precision": float(np.mean(found / ranks)),
    }


def score_ranks(scores: np.ndarray, tie_break: np.ndarray) -> np.ndarray:
    """Rank genes by descending score, 1 is best, with ties in a given order and NaN last.

    Parameters
    ----------
    scores
        One score a gene; NaN where there is none.
    tie_break
        A permutation of the genes: of two equal scores the smaller entry is ranked first. A random one,
        the same for every method, profits none of them; the order of the genes itself might.
    """
    scores = np.asarray(scores, dtype=float)
    order = np.lexsort((tie_break, -np.where(np.isnan(scores), -np.inf, scores)))
    ranks = np.empty(scores.size, dtype=np.int64)
    ranks[order] = np.arange(1, scores.size + 1)
    return ranks


def is_trivial(logfoldchange: np.ndarray, is_target: np.ndarray) -> bool:
    """Return whether a target has the largest absolute log fold change of all candidates."""
    magnitude = np.nan_to_num(np.abs(logfoldchange), nan=0.0, posinf=np.inf)
    if not magnitude.size or not is_target.any() or magnitude.max() == 0:
        return False
    return bool(magnitude[is_target].max() == magnitude.max())


def target_metrics(table: pd.DataFrame, truth: Mapping[str, str | Iterable[str] | None]) -> pd.DataFrame:
    """Score a table of predicted targets against the true ones.

    Parameters
    ----------
    table
        Columns `group`, `gene`, `rank` (1 is best) and `logfoldchange`, one row for every group and
        candidate gene, as `cdn_sc.tl.predict_targets` writes it.
    truth
        Group -> true target gene or genes. Groups of the table that are not in it, or whose target is
        empty, None or NaN, are left out; groups that are not in the table are left out with a warning.

    Returns
    -------
    One row for every group scored: `group`, the columns of `METRICS`, `n_candidates`, `n_targets`,
    `n_missing` (targets that are no candidates, which count as ranked last) and `trivial` (a target has
    the largest absolute log fold change).

    Raises
    ------
    ValueError
        If a column is missing, the truth is no mapping to names of genes, a group has two candidates of the
        same rank or name, or no group of the table has a known target.
    """
    lacking = [column for column in _COLUMNS if column not in table.columns]
    if lacking:
        raise ValueError(f"the table lacks the columns {lacking}; it has {list(table.columns)}")
    if not isinstance(truth, Mapping | pd.Series):
        raise ValueError(f"truth is a {type(truth).__name__}, and a mapping of group to target is wanted")
    rows_of = table.groupby("group", observed=True, sort=False).indices
    names = LabelIndex(map(label_name, rows_of), "the table")
    given, unknown = names.by_name(truth)
    known = {group: genes for group, targets in given.items() if (genes := as_genes(group, targets))}
    absent = [group for group, targets in unknown.items() if as_genes(group, targets)]
    rows = []
    gene_names = table["gene"].to_numpy(dtype=object)
    ranks = table["rank"].to_numpy()
    logfoldchanges = table["logfoldchange"].to_numpy(dtype=float)
    for group, members in rows_of.items():
        targets = known.get(label_name(group))
        if targets is None:
            continue
        positions = np.asarray(members)
        positions = positions[np.argsort(ranks[positions], kind="stable")]
        genes = pd.Index(gene_names[positions])
        if not genes.is_unique or np.unique(ranks[positions]).size < positions.size:
            raise ValueError(f"group {group!r} lists a gene or a rank twice; each candidate has its own rank")
        found = genes.get_indexer(targets)
        hits = found[found >= 0]
        is_target = np.zeros(positions.size, dtype=bool)
        is_target[hits] = True
        n_missing = len(targets) - hits.size
        rows.append(
            {
                "group": group,
                **rank_metrics(hits + 1, positions.size, n_missing),
                "n_candidates": positions.size,
                "n_targets": len(targets),
                "n_missing": n_missing,
                "trivial": is_trivial(logfoldchanges[positions], is_target),
            }
        )
    if absent:
        logger.warning("%d groups with known targets are not in the table: %s", len(absent), _some(absent))
    if not rows:
        raise ValueError(f"no group of the table has a known target; its groups: {_some(rows_of)}")
    return pd.DataFrame(rows)


def _some(names: Iterable[object], limit: int = 5) -> str:
    listed = [printable(str(name)) for name in names]
    return ", ".join(listed[:limit]) + (", ..." if len(listed) > limit else "")
