"""Two-sample rank statistics of many genes at once, from sorted values.

The control arm is sorted once and shared by all groups that are compared with it; each comparison then
costs one merge per gene.
"""

import numpy as np

from cdn_sc._compile import compiled


@compiled
def _merge_gene(control: np.ndarray, perturbed: np.ndarray) -> tuple[float, float, float, float]:
    """Merge two sorted vectors: rank sum of the perturbed, sum of t^3 - t over ties, largest CDF gaps."""
    n_control, n_perturbed = control.size, perturbed.size
    i = j = 0
    rank_sum = ties = above = below = 0.0
    while i < n_control or j < n_perturbed:
        if j >= n_perturbed or (i < n_control and control[i] <= perturbed[j]):
            value = control[i]
        else:
            value = perturbed[j]
        first_i, first_j = i, j
        while i < n_control and control[i] == value:
            i += 1
        while j < n_perturbed and perturbed[j] == value:
            j += 1
        tied = float(i - first_i + j - first_j)
        rank_sum += (j - first_j) * (first_i + first_j + 0.5 * (tied + 1.0))
        if tied > 1.0:
            ties += tied * (tied * tied - 1.0)
        gap = i / n_control - j / n_perturbed
        above = max(above, gap)
        below = max(below, -gap)
    return rank_sum, ties, above, below


@compiled
def _rank_tests(control: np.ndarray, perturbed: np.ndarray) -> np.ndarray:
    n_genes, n_control = control.shape
    n_perturbed = perturbed.shape[1]
    total = float(n_control + n_perturbed)
    out = np.zeros((n_genes, 3))
    for gene in range(n_genes):
        rank_sum, ties, above, below = _merge_gene(control[gene], perturbed[gene])
        expected = 0.5 * n_perturbed * (total + 1.0)
        variance = n_control * n_perturbed / 12.0 * ((total + 1.0) - ties / (total * (total - 1.0)))
        if variance > 1e-12:
            out[gene, 0] = (rank_sum - expected) / np.sqrt(variance)
        out[gene, 1] = above
        out[gene, 2] = below
    return out


def sort_genes(values: np.ndarray) -> np.ndarray:
    """Cells x genes to genes x cells, each gene's values ascending, float32 and contiguous."""
    by_gene = np.array(values.T, dtype=np.float32, order="C")  # a copy, also of a single gene
    by_gene.sort(axis=1)
    return by_gene


def rank_tests(control_sorted: np.ndarray, perturbed_sorted: np.ndarray) -> tuple[np.ndarray, ...]:
    """Wilcoxon rank-sum and Kolmogorov-Smirnov statistics per gene.

    Parameters
    ----------
    control_sorted, perturbed_sorted
        Genes x cells, ascending along cells, as :func:`sort_genes` gives them.

    Returns
    -------
    wilcoxon
        Rank-sum z score, normal approximation with tie correction, positive where the perturbed arm is
        higher; 0 where all values are tied.
    rise, fall
        One-sided Kolmogorov-Smirnov distances: by how much at most the perturbed distribution function
        lies below (values rose) and above (values fell) that of the control arm, each in [0, 1].
    """
    result = _rank_tests(
        np.ascontiguousarray(control_sorted, dtype=np.float32),
        np.ascontiguousarray(perturbed_sorted, dtype=np.float32),
    )
    return result[:, 0], result[:, 1], result[:, 2]
