"""What the model has to beat: statistics of perturbed against control cells, and other tools."""

from collections.abc import Iterator

import numpy as np

from cdn_sc.metrics._moderated_t import moderated_t_statistic
from cdn_sc.metrics._other_packages import rivals_of_other_packages
from cdn_sc.metrics._untrained_deconvolution import deconvolution_effects

RIVALS = (
    "log_fold_change",
    "t_test",
    "moderated_t",
    "wilcoxon",
    "variance_ratio",
    "kolmogorov_smirnov",
    "differential_network",
    "deconvolution",
    "random",
)
"""Names of the rivals that every pair has, as keys of the result of `rivals`."""

DIRECTIONS = {"knockdown": -1, "knockout": -1, "activation": 1}
"""Where a hit gene's transcript goes, by the kind of perturbation."""

_MAX_CHUNK_VALUES = 4_000_000


def rivals(
    control: np.ndarray,
    perturbed: np.ndarray,
    *,
    rng: np.random.Generator | int = 0,
    kind: str | None = None,
) -> dict[str, np.ndarray]:
    """Score every gene by simple statistics of perturbed against control cells, and by other packages.

    Parameters
    ----------
    control, perturbed
        Values of the same genes, cells x genes; at least two cells an arm.
    rng
        Generator or seed of the random rival.
    kind
        What was done, such as ``"knockdown"``; with it there is a rival more, `one_sided_t`. None where that
        is not told.

    Returns
    -------
    Name -> score of each gene, larger is more likely a target; -inf where the statistic does not exist (a
    gene that varies in neither arm), so that such genes rank last.

    - `log_fold_change`: absolute, as scanpy defines it for log1p values; the absolute difference in means
      where any value is negative.
    - `t_test`: absolute statistic of Welch's test (scanpy's method "t-test").
    - `moderated_t`: absolute t with equal variances, moderated by what the genes' variances have in common
      (Smyth 2004).
    - `wilcoxon`: absolute z of the rank-sum test with tie correction (scanpy's "wilcoxon",
      ``tie_correct=True``).
    - `variance_ratio`: Levene's test around the median (Brown and Forsythe 1974).
    - `kolmogorov_smirnov`: largest distance between the two empirical distributions.
    - `differential_network`: row sum of the absolute difference of the Fisher-transformed correlation
      matrices; undefined correlations count as none.
    - `deconvolution`: absolute effect of the gene on all others, where few genes' effects, through the
      correlations among control cells, explain all changes; nothing is trained.
    - `random`: the floor.

    Where they can be computed, before `random`:

    - `one_sided_t`, where `kind` is given: the signed statistic of Welch's test, in the direction that the
      kind tells (down for knockdown and knockout, up for activation); else the same as `t_test`.
    - `ulm_50`, with decoupler, up to 2,000 genes: absolute t of its univariate linear model on the statistics
      of Welch's test; each gene's set are the 50 others that correlate most with it among control cells.
    - `cipher`, with cipher-perturb, up to 2,000 genes, log1p values: CIPHER's probability that the gene is
      the driver.
    - `permscore`, with permscore, up to 30 genes: how clearly PermScore takes the gene to be hit.

    Raises
    ------
    ValueError
        If the arms have different genes, or an arm fewer than two cells.
    """
    control, perturbed = np.asarray(control), np.asarray(perturbed)
    if control.ndim != 2 or perturbed.ndim != 2 or control.shape[1] != perturbed.shape[1]:
        raise ValueError(
            f"control {control.shape} and perturbed {perturbed.shape} must be cells x the same genes"
        )
    if min(len(control), len(perturbed)) < 2:
        raise ValueError(f"an arm needs two cells; control has {len(control)}, perturbed {len(perturbed)}")
    wilcoxon, kolmogorov_smirnov = rank_statistics(control, perturbed)
    welch, relations = welch_statistic(control, perturbed), correlations(control)
    scores = {
        "log_fold_change": np.abs(log_fold_change(control, perturbed)),
        "t_test": np.abs(welch),
        "moderated_t": np.abs(moderated_t_statistic(control, perturbed)),
        "wilcoxon": np.abs(wilcoxon),
        "variance_ratio": levene_statistic(control, perturbed),
        "kolmogorov_smirnov": kolmogorov_smirnov,
        "differential_network": differential_network(control, perturbed),
        "deconvolution": np.abs(deconvolution_effects(control, perturbed, relations, wilcoxon)),
        **({} if kind is None else {"one_sided_t": one_sided(welch, kind)}),
        **rivals_of_other_packages(control, perturbed, relations, welch),
        "random": np.random.default_rng(rng).random(control.shape[1]),
    }
    varies = np.ptp(control, axis=0) + np.ptp(perturbed, axis=0) > 0
    varies |= control[0] != perturbed[0]
    return {name: np.where(varies & ~np.isnan(score), score, -np.inf) for name, score in scores.items()}


def log_fold_change(control: np.ndarray, perturbed: np.ndarray) -> np.ndarray:
    """Log2 fold change of each gene as scanpy defines it, or the difference in means of negative data.

    Scanpy's definition is for log1p values: log2 of the ratio of ``expm1(mean) + 1e-9``.
    """
    means = [arm.mean(axis=0, dtype=np.float64) for arm in (control, perturbed)]
    if min(control.min(), perturbed.min()) < 0:
        return means[1] - means[0]
    return np.log2((np.expm1(means[1]) + 1e-9) / (np.expm1(means[0]) + 1e-9))


def _mean_difference_statistic(difference: np.ndarray, variance: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return difference / np.sqrt(variance)


def welch_statistic(control: np.ndarray, perturbed: np.ndarray) -> np.ndarray:
    """Statistic of Welch's t-test of each gene, positive where the perturbed mean is larger."""
    difference = perturbed.mean(axis=0, dtype=np.float64) - control.mean(axis=0, dtype=np.float64)
    variance = sum(arm.var(axis=0, ddof=1, dtype=np.float64) / len(arm) for arm in (control, perturbed))
    return _mean_difference_statistic(difference, np.asarray(variance))


def one_sided(statistic: np.ndarray, kind: str) -> np.ndarray:
    """Signed statistic, larger the further a gene went where the kind leads; absolute if that is unknown."""
    return DIRECTIONS[kind] * statistic if kind in DIRECTIONS else np.abs(statistic)


def levene_statistic(control: np.ndarray, perturbed: np.ndarray) -> np.ndarray:
    """Statistic of Levene's test around the median: pooled t of the absolute deviations, squared."""
    deviations = [np.abs(arm - np.median(arm, axis=0)) for arm in (control, perturbed)]
    sizes = np.array([len(arm) for arm in deviations])
    difference = np.diff([arm.mean(axis=0, dtype=np.float64) for arm in deviations], axis=0)[0]
    squares = sum(len(arm) * arm.var(axis=0, dtype=np.float64) for arm in deviations)
    pooled = np.asarray(squares) / (sizes.sum() - 2)
    return _mean_difference_statistic(difference, pooled * (1 / sizes).sum()) ** 2


def _gene_chunks(n_cells: int, n_genes: int) -> Iterator[slice]:
    width = max(1, _MAX_CHUNK_VALUES // n_cells)
    return (slice(start, start + width) for start in range(0, n_genes, width))


def rank_statistics(control: np.ndarray, perturbed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Tie-corrected Wilcoxon z and Kolmogorov-Smirnov distance of each gene, from one sort.

    Genes go in chunks, so that memory does not grow with their number.
    """
    n_genes = control.shape[1]
    z, distance = np.empty(n_genes), np.empty(n_genes)
    for chunk in _gene_chunks(len(control) + len(perturbed), n_genes):
        z[chunk], distance[chunk] = _rank_statistics(control[:, chunk], perturbed[:, chunk])
    return z, distance


def _rank_statistics(control: np.ndarray, perturbed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    n_control, n_perturbed = len(control), len(perturbed)
    n_cells = n_control + n_perturbed
    pooled = np.ascontiguousarray(np.concatenate([control, perturbed]).T)  # genes x cells
    order = np.argsort(pooled, axis=1)
    pooled = np.take_along_axis(pooled, order, axis=1)
    is_perturbed = order >= n_control

    # first and last position of the run of equal values that each position belongs to
    changes = pooled[:, 1:] != pooled[:, :-1]
    edge = np.ones((len(pooled), 1), dtype=bool)
    starts, ends = np.hstack([edge, changes]), np.hstack([changes, edge])
    position = np.arange(n_cells)
    first = np.maximum.accumulate(np.where(starts, position, 0), axis=1)
    last = np.minimum.accumulate(np.where(ends, position, n_cells)[:, ::-1], axis=1)[:, ::-1]

    rank_sum = np.where(is_perturbed, (first + last) / 2 + 1, 0).sum(axis=1)
    # sum of t^3 - t over runs of length t equals the sum of t^2 - 1 over cells
    ties = ((last - first + 1.0) ** 2 - 1).sum(axis=1)
    expected = n_perturbed * (n_cells + 1) / 2
    correction = 1 - ties / (n_cells**3 - n_cells)
    variance = correction * n_control * n_perturbed * (n_cells + 1) / 12
    z = _mean_difference_statistic(rank_sum - expected, variance)

    share = np.cumsum(is_perturbed, axis=1)
    gap = np.abs(share / n_perturbed - (position + 1 - share) / n_control)
    return z, np.where(ends, gap, 0).max(axis=1)


def correlations(values: np.ndarray) -> np.ndarray:
    """Pearson correlations of genes, genes x genes, from cells x genes; zero diagonal, 0 where undefined."""
    centred = values - values.mean(axis=0, dtype=np.float64)
    norms = np.sqrt(np.einsum("ij,ij->j", centred, centred))
    # a constant gene keeps rounding errors that would pass for correlations
    norms[np.ptp(values, axis=0) == 0] = np.inf
    correlation = (centred / norms).T @ (centred / norms)
    np.fill_diagonal(correlation, 0)
    return correlation


def _fisher_z(values: np.ndarray) -> np.ndarray:
    return np.arctanh(np.clip(correlations(values), -1 + 1e-7, 1 - 1e-7))


def differential_network(control: np.ndarray, perturbed: np.ndarray) -> np.ndarray:
    """Row sums of the absolute difference of the arms' Fisher-transformed correlations."""
    return np.abs(_fisher_z(perturbed) - _fisher_z(control)).sum(axis=1)
