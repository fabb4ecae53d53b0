"""What single inputs find of activity, and variants of them that were tried: average precision, no network.

    python benchmarks/activity_inputs.py --output docs/results

Every row ranks the genes of the same groups by the absolute value of one statistic: inputs of the gene
transformer as they are, and the deconvolution with other penalties, signs and matrices.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from accuracy_points import cluster_interval
from cdn_sc.features import FEATURES, ControlSummary, gene_inputs, summarize_control
from cdn_sc.features import _deconvolution as deconvolution
from cdn_sc.features.control import Precision
from cdn_sc.metrics.ranking import rank_metrics, score_ranks
from cdn_sc.simulate import screen_pairs
from cdn_sc.simulate.scm import seeded_rng
from common import machine, markdown

INPUTS = (
    "wilcoxon", "correlation_projection", "partial_projection", "residual_projection", "sparse_projection",
    "programme_free_projection", "deconvolved",
)  # fmt: skip
STEPS = 40


def signed_deconvolution(weights: np.ndarray, change: np.ndarray, penalty: float, own: float) -> np.ndarray:
    """The deconvolution with effects that can only be lost (at most 0)."""
    step = 1.0 / max(float(np.linalg.norm(weights, 2)) ** 2, 1e-6)
    effects = momentum = previous = np.zeros(change.size)
    for iteration in range(STEPS):
        residual = np.clip(change - momentum @ weights, -own, own)
        effects = np.minimum(momentum + step * (weights @ residual + penalty), 0.0)
        momentum = effects + iteration / (iteration + 3.0) * (effects - previous)
        previous = effects
    return effects


def unit_rows(weights: np.ndarray) -> np.ndarray:
    """Rows of unit length."""
    return weights / np.maximum(np.linalg.norm(weights, axis=1), 0.02)[:, None]


def thresholded(relations: np.ndarray, n_cells: int, errors: float = 2.0) -> np.ndarray:
    """Relations less so many standard errors, rows of unit length, no diagonal."""
    kept = np.sign(relations) * np.maximum(np.abs(relations) - errors / np.sqrt(n_cells), 0.0)
    np.fill_diagonal(kept, 0.0)
    return unit_rows(kept)


def without_leading(correlation: np.ndarray, number: int) -> np.ndarray:
    """Correlations without their leading directions, which programmes and depth fill."""
    values, vectors = np.linalg.eigh(correlation)
    leading = vectors[:, -number:]
    return correlation - (leading * values[-number:]) @ leading.T


def partial_correlation(precision: Precision) -> np.ndarray:
    """Of each pair of genes given all others; 0 on the diagonal."""
    matrix = precision.matrix.numpy().astype(np.float64)
    scale = 1.0 / np.sqrt(np.diag(matrix))
    partial = -matrix * np.outer(scale, scale)
    np.fill_diagonal(partial, 0.0)
    return partial


def depth_free(control: np.ndarray) -> np.ndarray:
    """Correlations after each gene's regression on the cell's mean standardised value."""
    spread = control.std(axis=0)
    standardised = (control - control.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    depth = standardised.mean(axis=1)
    left = standardised - np.outer(depth, depth @ standardised / (depth @ depth))
    length = np.linalg.norm(left, axis=0)
    left /= np.where(length > 0, length, 1.0)
    return left.T @ left


def statistics(
    summary: ControlSummary, control: np.ndarray, perturbed: np.ndarray
) -> Iterator[tuple[str, np.ndarray]]:
    """Name and values of every statistic, for one group."""
    inputs = gene_inputs(summary, perturbed).features[0].numpy()
    for name in INPUTS:
        yield f"input: {name}", inputs[:, FEATURES.index(name)]
    compressed = inputs[:, FEATURES.index("wilcoxon")].astype(np.float64)
    change = np.sign(compressed) * np.expm1(np.abs(compressed))
    n = len(control)
    correlation = summary.correlation.numpy().astype(np.float64)
    by_correlation = thresholded(correlation, n)
    penalties = deconvolution.EFFECT_PENALTY, deconvolution.OWN_PENALTY
    yield "lost effects only", signed_deconvolution(by_correlation, change, *penalties)
    yield "lost effects only, penalty x 2", signed_deconvolution(by_correlation, change, 1.4, penalties[1])
    yield "lost effects only, own changes cheaper", signed_deconvolution(by_correlation, change, 0.7, 4.0)
    by_partial = thresholded(partial_correlation(summary.precisions[0]), n)
    yield "lost effects only, partial correlations", signed_deconvolution(by_partial, change, *penalties)
    both = unit_rows(by_correlation + by_partial)
    yield "lost effects only, both", signed_deconvolution(both, change, *penalties)
    for number in (1, 3):
        weights = thresholded(without_leading(correlation, number), n)
        name = f"lost effects only, {number} leading direction(s) removed"
        yield name, signed_deconvolution(weights, change, *penalties)
    weights = thresholded(depth_free(control.astype(np.float64)), n)
    yield "lost effects only, depth removed", signed_deconvolution(weights, change, *penalties)


def score(networks: int, n_groups: int) -> pd.DataFrame:
    """Average precision of every statistic, network and group."""
    rows = []
    for network in range(networks):
        rng = seeded_rng("test", 0, "activity inputs", network)
        pairs = screen_pairs(
            rng,
            n_genes=round(float(np.exp(rng.uniform(np.log(100), np.log(300))))),
            n_groups=n_groups,
            n_control=round(float(np.exp(rng.uniform(np.log(1000), np.log(4000))))),
            n_perturbed=(100, 500),
            kinds={"activity": 1.0},
        )
        summary = summarize_control(pairs[0].control)
        for pair in pairs:
            order = rng.permutation(pair.control.shape[1])
            for name, values in statistics(summary, pair.control, pair.perturbed):
                ranks = score_ranks(np.abs(values), order)[pair.targets]
                precision = rank_metrics(ranks, order.size)["average_precision"]
                rows.append({"statistic": name, "network": network, "precision": precision})
    return pd.DataFrame(rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", type=int, default=100)
    parser.add_argument("--groups", type=int, default=6, help="groups a network")
    parser.add_argument("--output", type=Path, help="folder for activity_inputs.md")
    options = parser.parse_args(arguments)
    rows = score(options.networks, options.groups)
    table = []
    for name, part in rows.groupby("statistic", sort=False):
        means = part.groupby("network")["precision"].mean().to_numpy()
        low, high = cluster_interval(means)
        table.append({"statistic": name, "mAP": f"{means.mean():.3f} [{low:.3f}, {high:.3f}]"})
    text = markdown(pd.DataFrame(table)) + (
        f"\n{options.networks} networks of 100 to 300 genes, {options.groups} groups each of 100 to 500 "
        f"cells, 1,000 to 4,000 control cells; 95% bootstrap interval over networks. {machine()}.\n"
    )
    print(text)
    if options.output:
        (options.output / "activity_inputs.md").write_text(text)


if __name__ == "__main__":
    main()
