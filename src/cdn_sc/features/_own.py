"""What a gene's own values say: two-sample tests of each gene by itself."""

import numpy as np

from cdn_sc.features._comparison import Comparison
from cdn_sc.features._rank_tests import rank_tests, sort_genes
from cdn_sc.features._scales import rank_features, squash

OWN_FEATURES = (
    "welch_t", "pooled_t", "wilcoxon", "ks_rise", "ks_fall", "log_variance_ratio", "detection_change",
    "effect_size", "log_fold_change", "control_detection", "perturbed_detection", "control_mean",
    "control_variance", "welch_t_rank", "wilcoxon_rank", "ks_rank", "variance_rank", "effect_rank",
)  # fmt: skip
# Added to means before their ratio is taken, in units of log-normalised expression
PSEUDO_EXPRESSION = 0.02


def own_features(comparison: Comparison) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Two-sample tests of each gene.

    Returns
    -------
    The features of ``OWN_FEATURES``, one value a gene each, and the signed change in standard errors
    (mean of pooled t and Wilcoxon z, within [-30, 30]) that the projections over other genes start from.
    """
    control, perturbed, shift = comparison.control, comparison.perturbed, comparison.shift
    n0, n1 = comparison.n_control, comparison.n_perturbed
    m0, m1 = comparison.capped_control, comparison.capped_perturbed
    # a floor on each arm's variance keeps a gene that is silent in one arm from an infinite statistic
    floor = 1e-3 * comparison.spread**2 + 1e-12
    v0, v1 = np.maximum(control.variance, floor), np.maximum(perturbed.variance, floor)
    welch = shift / np.sqrt(v0 / m0 + v1 / m1)
    pooled_variance = (v0 * (n0 - 1) + v1 * (n1 - 1)) / (n0 + n1 - 2)
    pooled = shift / np.sqrt(pooled_variance * comparison.inverse_cells)

    wilcoxon, rise, fall = rank_tests(control.sorted_values, sort_genes(comparison.values))
    wilcoxon = wilcoxon * np.sqrt((1 / n0 + 1 / n1) / comparison.inverse_cells)
    ks_scale = 1.0 / np.sqrt(comparison.inverse_cells)

    log_ratio = _log_variance_ratio(comparison, v0, v1)
    fold = np.log(
        (np.abs(control.mean + shift) + PSEUDO_EXPRESSION) / (np.abs(control.mean) + PSEUDO_EXPRESSION)
    )
    effect = shift / comparison.spread
    features = {
        "welch_t": squash(welch),
        "pooled_t": squash(pooled),
        "wilcoxon": squash(wilcoxon),
        "ks_rise": squash(rise * ks_scale),
        "ks_fall": squash(fall * ks_scale),
        "log_variance_ratio": squash(log_ratio),
        "detection_change": squash(_detection_change(comparison)),
        "effect_size": squash(effect),
        "log_fold_change": np.clip(fold, -4, 4),
        "control_detection": control.detection,
        "perturbed_detection": perturbed.detection,
        "control_mean": squash(control.mean),
        "control_variance": np.clip(np.log(v0), -6, 6) / 3.0,
    }
    ranks = {
        "welch_t_rank": np.abs(welch),
        "wilcoxon_rank": np.abs(wilcoxon),
        "ks_rank": np.maximum(rise, fall),
        "variance_rank": np.abs(log_ratio),
        "effect_rank": np.abs(effect),
    }
    return features | rank_features(ranks), np.clip(0.5 * (pooled + wilcoxon), -30.0, 30.0)


def _log_variance_ratio(comparison: Comparison, v0: np.ndarray, v1: np.ndarray) -> np.ndarray:
    """Log ratio of variances in standard errors, which heavy tails widen."""
    n0, n1 = comparison.n_control, comparison.n_perturbed
    kurtosis = comparison.control.excess_kurtosis * n0 + comparison.perturbed.excess_kurtosis * n1
    kurtosis = np.clip(kurtosis / (n0 + n1), -1.5, 30.0)
    return np.log(v1 / v0) / np.sqrt((2.0 + kurtosis) * comparison.inverse_cells)


def _detection_change(comparison: Comparison) -> np.ndarray:
    """Change of the share of cells with the gene, in standard errors."""
    before, after = comparison.control.detection, comparison.perturbed.detection
    n0, n1 = comparison.n_control, comparison.n_perturbed
    rate = (before * n0 + after * n1) / (n0 + n1)
    return (after - before) / np.sqrt(np.maximum(rate * (1 - rate), 1e-4) * comparison.inverse_cells)
