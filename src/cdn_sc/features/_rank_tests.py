"""Two-sample rank statistics of many genes at once, from sorted values.

The control arm is sorted once and shared by all groups that are compared with it; each comparison then looks
up the places of its own values among the control cells', from one to the next, which costs little where the
group has few cells or most values are tied.
"""

import numpy as np

from cdn_sc._compile import compiled


@compiled
def _first_beyond(values, start, value, inclusive):  # type: ignore[no-untyped-def]
    """First place from `start` on of sorted values that is above `value`, or not below it (`inclusive`)."""
    n = values.size
    step, low, high = 1, start, start
    while high < n and (values[high] < value or (not inclusive and values[high] == value)):
        low = high + 1
        high = high + step
        step *= 2
    high = min(high, n)
    while low < high:
        middle = (low + high) // 2
        if values[middle] < value or (not inclusive and values[middle] == value):
            low = middle + 1
        else:
            high = middle
    return low


@compiled
def _compare_gene(control, perturbed):  # type: ignore[no-untyped-def]
    """Rank sum of the perturbed, what their values add to the sum of t^3 - t over ties, largest CDF gaps."""
    n_control, n_perturbed = control.size, perturbed.size
    rank_sum = ties = above = below = 0.0
    place, first = 0, 0
    while first < n_perturbed:
        value = perturbed[first]
        last = first
        while last < n_perturbed and perturbed[last] == value:
            last += 1
        here = last - first
        lower = _first_beyond(control, place, value, True)
        upper = _first_beyond(control, lower, value, False)
        there = upper - lower
        # just before the value the control function leads most, at it the perturbed one
        above = max(above, lower / n_control - first / n_perturbed)
        below = max(below, last / n_perturbed - upper / n_control)
        tied = float(here + there)
        rank_sum += here * (lower + first + 0.5 * (tied + 1.0))
        ties += tied * (tied * tied - 1.0) - float(there) * (float(there) * there - 1.0)
        first, place = last, upper
    return rank_sum, ties, above, below


@compiled
def _rank_tests(control, control_ties, perturbed):  # type: ignore[no-untyped-def]
    n_genes, n_control = control.shape
    n_perturbed = perturbed.shape[1]
    total = float(n_control + n_perturbed)
    out = np.zeros((3, n_genes), dtype=np.float32)
    for gene in range(n_genes):
        rank_sum, ties, above, below = _compare_gene(control[gene], perturbed[gene])
        ties += control_ties[gene]
        expected = 0.5 * n_perturbed * (total + 1.0)
        variance = n_control * n_perturbed / 12.0 * ((total + 1.0) - ties / (total * (total - 1.0)))
        if variance > 1e-9 * total * n_control * n_perturbed:
            out[0, gene] = (rank_sum - expected) / np.sqrt(variance)
        out[1, gene] = above
        out[2, gene] = below
    return out


@compiled
def _tie_sums(ascending):  # type: ignore[no-untyped-def]
    sums = np.zeros(ascending.shape[0])
    for gene in range(ascending.shape[0]):
        first = 0
        while first < ascending.shape[1]:
            last = first
            while last < ascending.shape[1] and ascending[gene, last] == ascending[gene, first]:
                last += 1
            tied = float(last - first)
            sums[gene] += tied * (tied * tied - 1.0)
            first = last
    return sums


def sort_genes(values: np.ndarray) -> np.ndarray:
    """Cells x genes to genes x cells, each gene's values ascending, float32 and contiguous."""
    by_gene = np.array(values.T, dtype=np.float32, order="C")  # a copy, also of a single gene
    by_gene.sort(axis=1)
    return by_gene


def tie_sums(ascending: np.ndarray) -> np.ndarray:
    """Sum of t^3 - t over the runs of t equal values of each gene, from sorted genes x cells."""
    return np.asarray(_tie_sums(ascending))


def rank_tests(
    control_sorted: np.ndarray, perturbed_sorted: np.ndarray, control_ties: np.ndarray | None = None
) -> tuple[np.ndarray, ...]:
    """Wilcoxon rank-sum and Kolmogorov-Smirnov statistics per gene.

    Parameters
    ----------
    control_sorted, perturbed_sorted
        Genes x cells, ascending along cells, as :func:`sort_genes` gives them.
    control_ties
        :func:`tie_sums` of the control cells, where they are at hand.

    Returns
    -------
    wilcoxon
        Rank-sum z score, normal approximation with tie correction, positive where the perturbed arm is
        higher; 0 where all values are tied.
    rise, fall
        One-sided Kolmogorov-Smirnov distances: by how much at most the perturbed distribution function
        lies below (values rose) and above (values fell) that of the control arm, each in [0, 1].
    """
    control = np.ascontiguousarray(control_sorted, dtype=np.float32)
    ties = tie_sums(control) if control_ties is None else control_ties
    found = _rank_tests(control, ties, np.ascontiguousarray(perturbed_sorted, dtype=np.float32))
    return found[0], found[1], found[2]
