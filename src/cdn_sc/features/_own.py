"""What a gene's own values say: two-sample tests of each gene by itself."""

import torch
from torch import Tensor

from cdn_sc.features._moderated import moderate_variances
from cdn_sc.features._scales import rank_features, squash
from cdn_sc.features.statistics import Comparison

OWN_FEATURES = (
    "welch_t", "moderated_t", "wilcoxon", "ks_rise", "ks_fall", "log_variance_ratio", "detection_change",
    "effect_size", "log_fold_change", "control_detection", "perturbed_detection", "control_mean",
    "control_variance", "welch_t_rank", "moderated_t_rank", "wilcoxon_rank", "fold_rank", "ks_rank",
    "variance_rank", "effect_rank",
)  # fmt: skip
# Added to means before their ratio is taken, in units of log-normalised expression
PSEUDO_EXPRESSION = 0.02
# With so many perturbed cells the rank test has a quarter of a say in what a gene's change is, with many
# half: of few cells all orders look alike
CELLS_OF_RANKS = 10


def own_features(comparison: Comparison) -> tuple[dict[str, Tensor], Tensor]:
    """Two-sample tests of each gene.

    Returns
    -------
    The features of ``OWN_FEATURES``, groups x genes each, and the signed change in standard errors
    (mean of moderated t and Wilcoxon z, where cells are few mostly the first, within [-30, 30]) that the
    projections over other genes start from.
    """
    shift, spread = comparison.shift, comparison.spread
    n0, n1 = comparison.n_control, comparison.n_perturbed
    m0, m1 = comparison.capped_control, comparison.capped_perturbed
    # a floor on each arm's variance keeps a gene that is silent in one arm from an infinite statistic
    floor = 1e-3 * spread**2 + 1e-12
    v0 = torch.maximum(comparison.control_variance, floor)
    v1 = torch.maximum(comparison.variance, floor)
    welch = shift / (v0 / m0 + v1 / m1).sqrt()
    pooled_variance = (v0 * (n0 - 1) + v1 * (n1 - 1)) / (n0 + n1 - 2)
    varies = (comparison.control_variance > 0) | (comparison.variance > 0)
    variance = moderate_variances(pooled_variance, n0 + n1 - 2, varies)
    moderated = shift / (variance * comparison.inverse_cells).sqrt()
    wilcoxon = comparison.wilcoxon * ((1 / n0 + 1 / n1) / comparison.inverse_cells).sqrt()
    ks_scale = comparison.inverse_cells.rsqrt()
    log_ratio = _log_variance_ratio(comparison, v0, v1)
    before = comparison.control_mean
    fold = torch.log(((before + shift).abs() + PSEUDO_EXPRESSION) / (before.abs() + PSEUDO_EXPRESSION))
    effect = shift / spread
    features = {
        "welch_t": squash(welch),
        "moderated_t": squash(moderated),
        "wilcoxon": squash(wilcoxon),
        "ks_rise": squash(comparison.rise * ks_scale),
        "ks_fall": squash(comparison.fall * ks_scale),
        "log_variance_ratio": squash(log_ratio),
        "detection_change": squash(_detection_change(comparison)),
        "effect_size": squash(effect),
        "log_fold_change": fold.clamp(-4, 4),
        "control_detection": comparison.control_detection.expand_as(shift),
        "perturbed_detection": comparison.detection,
        "control_mean": squash(before).expand_as(shift),
        "control_variance": v0.log().clamp(-6, 6) / 3.0,
    }
    ranks = {
        "welch_t_rank": welch.abs(),
        "moderated_t_rank": moderated.abs(),
        "wilcoxon_rank": wilcoxon.abs(),
        "fold_rank": fold.abs(),
        "ks_rank": torch.maximum(comparison.rise, comparison.fall),
        "variance_rank": log_ratio.abs(),
        "effect_rank": effect.abs(),
    }
    of_ranks = 0.5 * m1 / (m1 + CELLS_OF_RANKS)
    change = moderated + of_ranks * (wilcoxon - moderated)
    return features | rank_features(ranks), change.clamp(-30.0, 30.0)


def _log_variance_ratio(comparison: Comparison, v0: Tensor, v1: Tensor) -> Tensor:
    """Log ratio of variances in standard errors, which heavy tails widen."""
    n0, n1 = comparison.n_control, comparison.n_perturbed
    kurtosis = comparison.control_kurtosis * n0 + comparison.excess_kurtosis * n1
    kurtosis = (kurtosis / (n0 + n1)).clamp(-1.5, 30.0)
    return torch.log(v1 / v0) / ((2.0 + kurtosis) * comparison.inverse_cells).sqrt()


def _detection_change(comparison: Comparison) -> Tensor:
    """Change of the share of cells with the gene, in standard errors."""
    before, after = comparison.control_detection, comparison.detection
    n0, n1 = comparison.n_control, comparison.n_perturbed
    rate = (before * n0 + after * n1) / (n0 + n1)
    return (after - before) / ((rate * (1 - rate)).clamp_min(1e-4) * comparison.inverse_cells).sqrt()
