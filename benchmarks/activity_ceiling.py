"""How much of activity can be found at all: the model beside one that knows the network.

    python benchmarks/activity_ceiling.py --model default --output docs/results

Groups whose target's transcript does not move (kind "activity"), on simulated networks that neither training
nor a suite draws, with more and more control cells. `known network` ranks genes by how well the loss of each
gene's regulation, computed with the true network, matches the changes seen; `deconvolution` is the input of
that name by itself; `wilcoxon` the best a test of each gene alone can do. The cells of the perturbed groups
are the same along a row's columns, the networks the same down the rows.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed

from accuracy_points import cluster_interval
from cdn_sc.features import FEATURES, gene_inputs, summarize_control
from cdn_sc.metrics.ranking import rank_metrics, score_ranks
from cdn_sc.predictors import load_predictor
from cdn_sc.simulate.counts import draw_technical, log_normalise, simulate_counts
from cdn_sc.simulate.perturbation import choose_targets, draw_perturbation
from cdn_sc.simulate.regulation import RegulatoryNetwork, draw_network, steady_state
from cdn_sc.simulate.scm import seeded_rng
from common import machine, markdown

CONTROL_CELLS = (500, 1000, 2000, 4000, 8000, 20000)
MIN_MEAN = 0.15
# cells over which the true effect of a loss is averaged, and the usual share of a regulator's effect lost
EFFECT_CELLS, LOST = 60, 0.85
MOST_CELLS = 1000
METHODS = ("wilcoxon", "deconvolution", "model", "model, told", "known network")


def true_effects(network: RegulatoryNetwork, rng: np.random.Generator) -> np.ndarray:
    """Change of every gene's log rate when a regulator's activity is lost, genes (lost) x genes."""
    drive = rng.standard_normal((network.n_genes, EFFECT_CELLS), dtype=np.float32) * network.noise[:, None]
    factors = rng.standard_normal((len(network.programmes), EFFECT_CELLS), dtype=np.float32)
    drive += network.programmes.T @ factors
    kept = np.ones((network.regulators.size, EFFECT_CELLS), dtype=np.float32)
    usual = steady_state(network, drive, kept)
    effects = np.zeros((network.n_genes, network.n_genes))
    for row, gene in enumerate(network.regulators):
        kept[row] = 1.0 - LOST
        effects[gene] = (steady_state(network, drive, kept) - usual).mean(axis=1)
        kept[row] = 1.0
    np.fill_diagonal(effects, 0.0)
    return effects


def match(
    effects: np.ndarray, control: np.ndarray, perturbed: np.ndarray, loadings: np.ndarray
) -> np.ndarray:
    """How well each gene's true effects explain the changes, shifts of whole programmes apart."""
    # the expected changes are approximate: beyond some precision only that would be measured
    n_control = min(len(control), MOST_CELLS)
    error = np.sqrt(control.var(axis=0) / n_control + perturbed.var(axis=0) / len(perturbed) + 1e-9)
    change = np.clip((perturbed.mean(axis=0) - control.mean(axis=0)) / error, -30, 30)
    # a change of the rate moves log(1 + count) the less, the fewer counts there are
    weight = (1.0 - np.exp(-control.mean(axis=0))) / error
    expected = effects * weight
    if len(loadings):
        shared, _ = np.linalg.qr((loadings * weight).T)
        change = change - shared @ (shared.T @ change)
        expected = expected - (expected @ shared) @ shared.T
    fit = expected @ change
    return np.sign(fit) * fit**2 / (np.einsum("ij,ij->i", expected, expected) + 4.0)


def score_network(
    model: str, seed: int, n_genes: int, n_groups: int, cells: tuple[int, int]
) -> Iterator[dict[str, object]]:
    """Average precision of every method, for the groups on one network and each number of control cells."""
    predictor = load_predictor(model, columns=False)
    rng = seeded_rng("test", seed, "activity ceiling", n_genes)
    network = draw_network(n_genes, rng)
    eligible = network.baseline > np.log(MIN_MEAN)
    eligible[np.argsort(-network.baseline)[:5]] = True
    groups = [
        draw_perturbation("activity", choose_targets(network, "activity", 1, eligible, rng), int(n), rng)
        for n in rng.integers(cells[0], cells[1] + 1, n_groups)
    ]
    screen = simulate_counts(network, groups, max(CONTROL_CELLS), draw_technical(rng), rng)
    values = log_normalise(screen.counts, screen.counts.sum(axis=1))
    effects = true_effects(network, rng)
    for n_control in CONTROL_CELLS:
        control = np.ascontiguousarray(values[:n_control])
        summary = summarize_control(control)
        for index, group in enumerate(groups):
            perturbed = values[screen.group == index]
            inputs = gene_inputs(summary, perturbed).features[0].numpy()
            logits = [
                predictor.predict(control, perturbed, rng=rng, kind=k).logits for k in (None, "activity")
            ]
            scores = (
                np.abs(inputs[:, FEATURES.index("wilcoxon")]),
                np.abs(inputs[:, FEATURES.index("deconvolved")]),
                *logits,
                match(effects, control, perturbed, network.programmes),
            )
            for method, score in zip(METHODS, scores, strict=True):
                ranks = score_ranks(score, rng.permutation(n_genes))[group.targets]
                precision = rank_metrics(ranks, n_genes)["average_precision"]
                yield {"network": seed, "cells": n_control, "method": method, "precision": precision}


def table_of(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean average precision with its interval over networks: methods x numbers of control cells."""
    cell = {}
    for (method, n_control), part in rows.groupby(["method", "cells"]):
        means = part.groupby("network")["precision"].mean().to_numpy()
        low, high = cluster_interval(means)
        cell[method, n_control] = f"{means.mean():.2f} [{low:.2f}, {high:.2f}]"
    numbers = sorted(rows["cells"].unique())
    return pd.DataFrame(
        [[method, *(cell[method, n] for n in numbers)] for method in METHODS],
        columns=["method", *(f"{n:,} control cells" for n in numbers)],
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="default", help="name, or file of weights")
    parser.add_argument("--networks", type=int, default=30)
    parser.add_argument("--groups", type=int, default=4, help="groups a network")
    parser.add_argument("--genes", type=int, default=200)
    parser.add_argument("--cells", type=int, nargs=2, default=(100, 500), help="perturbed cells, from and to")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--output", type=Path, help="folder for activity_ceiling.md")
    options = parser.parse_args(arguments)
    jobs = (
        delayed(lambda *a: list(score_network(*a)))(
            options.model, seed, options.genes, options.groups, tuple(options.cells)
        )
        for seed in range(options.networks)
    )
    found = Parallel(options.jobs)(jobs)
    rows = pd.DataFrame(row for network in found for row in network)
    text = markdown(table_of(rows)) + (
        f"\n{options.networks} networks of {options.genes} genes, {options.groups} groups each of "
        f"{options.cells[0]} to {options.cells[1]} cells, one target; mean average precision with the 95% "
        f"bootstrap interval over networks. {machine()}.\n"
    )
    print(text)
    if options.output:
        (options.output / "activity_ceiling.md").write_text(text)


if __name__ == "__main__":
    main()
