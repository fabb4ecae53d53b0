"""Deconvolution by itself, as a rival: the effects of few genes that explain the changes of all."""

import numpy as np


def deconvolution_effects(
    control: np.ndarray, perturbed: np.ndarray, relations: np.ndarray, wilcoxon: np.ndarray
) -> np.ndarray:
    """Effects of genes that explain the changes of all: nearly an input of the gene transformer, by itself.

    Parameters
    ----------
    control, perturbed
        Cells x the same genes; at least two cells an arm.
    relations
        Correlations among the control cells, genes x genes.
    wilcoxon
        Tie-corrected z of each gene.

    Returns
    -------
    One a gene, float64; 0 for those that explain nothing.
    """
    import torch

    from cdn_sc.features._deconvolution import deconvolve
    from cdn_sc.features._relations import largest_singular_value, sparse_correlation

    sparse = sparse_correlation(torch.from_numpy(relations.astype(np.float32)), len(control))
    change = torch.from_numpy(signed_change(control, perturbed, wilcoxon).astype(np.float32))[None]
    effects, _ = deconvolve(sparse, change, largest_singular_value(sparse))
    return effects[0].double().numpy()


def signed_change(control: np.ndarray, perturbed: np.ndarray, wilcoxon: np.ndarray) -> np.ndarray:
    """Change of each gene in standard errors: the mean of pooled t and Wilcoxon z, within [-30, 30].

    No more cells count than in what the gene transformer reads; a gene that is silent in one arm has a
    variance there nevertheless, or its t would have no bounds.
    """
    from cdn_sc.features.statistics import Comparison

    sizes = np.array([len(control), len(perturbed)])
    counted = np.minimum(sizes, [Comparison.MAX_CONTROL_CELLS, Comparison.MAX_PERTURBED_CELLS])
    variances = [arm.var(axis=0, ddof=1, dtype=np.float64) for arm in (control, perturbed)]
    usual = np.where(variances[0] > 0, variances[0], np.where(variances[1] > 0, variances[1], 1.0))
    floored = [np.maximum(variance, 1e-3 * usual + 1e-12) for variance in variances]
    pooled = sum((n - 1) * variance for n, variance in zip(sizes, floored, strict=True)) / (sizes.sum() - 2)
    difference = perturbed.mean(axis=0, dtype=np.float64) - control.mean(axis=0, dtype=np.float64)
    t = difference / np.sqrt(pooled * (1 / counted).sum())
    z = np.nan_to_num(wilcoxon) * np.sqrt((1 / sizes).sum() / (1 / counted).sum())
    return np.clip((t + z) / 2, -30.0, 30.0)
