"""Split the groups of a screen into training and validation so that similar effects stay together."""

from collections.abc import Iterable, Sequence

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from cdn_sc.errors import InputError

SIMILAR = 0.5
"""Effects that correlate more than this over the genes are similar."""

# Where nearly all effects are alike, only those more alike than this are kept together.
_STRICTER = (0.6, 0.7, 0.8, 0.9, 0.95, 0.99)


def effect_clusters(effects: np.ndarray, targets: Sequence[Iterable[int]], share: float = 0.2) -> np.ndarray:
    """Cluster groups by their log fold changes, and by shared targets.

    Single linkage on 1 - Pearson correlation: two groups whose effects correlate above `SIMILAR` are always
    in one cluster, and so are two with a target in common. Only where the largest cluster leaves too few
    groups for validation, the correlation asked for is raised in steps.

    Parameters
    ----------
    effects
        Groups x genes: log fold changes against control, finite.
    targets
        Positions of the target genes of each group.
    share
        Share of the groups that are wanted for validation.

    Returns
    -------
    Number of its cluster for each group, from 0, in the order of first appearance.
    """
    n_groups = len(effects)
    distance = _correlation_distance(effects)
    genes = [set(map(int, of_group)) for of_group in targets]
    for first in range(n_groups):
        for second in range(first):
            if genes[first] & genes[second]:
                distance[first, second] = distance[second, first] = 0.0
    if n_groups == 1:
        return np.zeros(1, dtype=int)
    tree = linkage(squareform(distance, checks=False), method="single")
    clusters = np.zeros(n_groups, dtype=int)
    for similar in (SIMILAR, *_STRICTER):
        clusters = _numbered(fcluster(tree, 1 - similar, criterion="distance"))
        if n_groups - np.bincount(clusters).max() >= _number(share, n_groups):
            break
    return clusters


def choose_validation(clusters: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Choose whole clusters for validation.

    Parameters
    ----------
    clusters
        Number of its cluster for each group, see `effect_clusters`.
    share
        Share of the groups wanted, in (0, 1). Clusters are taken in random order as long as they fit; if
        none does, a smallest one is taken.
    rng
        Source of the order.

    Returns
    -------
    For each group whether it is for validation: at least one group, and never all.

    Raises
    ------
    InputError
        If there is but one cluster.
    """
    sizes = np.bincount(clusters)
    if len(sizes) < 2:
        raise InputError(
            f"the {len(clusters)} group(s) with a known target cannot be split into training and validation: "
            "their effects or targets are the same. More groups are needed, or validation=0 to do without."
        )
    wanted = _number(share, len(clusters))
    order = rng.permutation(len(sizes))
    taken: list[int] = []
    for cluster in order:
        if sizes[[*taken, cluster]].sum() <= wanted and len(taken) + 1 < len(sizes):
            taken.append(int(cluster))
    if not taken:
        taken = [int(order[np.argmin(sizes[order])])]
    return np.isin(clusters, taken)


def _number(share: float, n_groups: int) -> int:
    """Groups for validation."""
    return max(1, round(share * n_groups))


def _correlation_distance(effects: np.ndarray) -> np.ndarray:
    """1 - Pearson correlation of the rows; a row without variance is like no other."""
    centred = effects - effects.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(centred, axis=1, keepdims=True)
    scaled = np.divide(centred, norms, out=np.zeros_like(centred, dtype=float), where=norms > 0)
    distance = np.clip(1 - scaled @ scaled.T, 0, 2)
    np.fill_diagonal(distance, 0)
    return distance


def _numbered(labels: np.ndarray) -> np.ndarray:
    """Number labels from 0 in the order of first appearance."""
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse]
