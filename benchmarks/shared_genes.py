"""Candidate genes chosen once for a screen, or for each group: how well targets are found, and how fast.

    python benchmarks/shared_genes.py --output docs/results

Simulated screens of more genes (400) than candidates (100), groups of all kinds; the same screens, model and
seed for both. A target that is no candidate counts as ranked last of all. `difference` is that of the mean
average precisions, shared less per group, with a 95% bootstrap interval over screens.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

import numpy as np
import pandas as pd

from cdn_sc import metrics, models, settings, simulate, tl
from cdn_sc.metrics.summary import bootstrap
from common import machine, write_table

CHOICES = ("per_group", "shared")
KINDS = ("knockdown", "activation", "knockout", "activity")
SHOWN = ("average_precision", "reciprocal_rank", "recall_at_1", "recall_at_10")


def score(
    model: str, n_screens: int, n_genes: int, n_groups: int, n_candidates: int, n_cells: int
) -> pd.DataFrame:
    """Metrics of every group of every screen under both choices, with the seconds that a group took."""
    network = models.load(model)
    found = []
    for seed in range(n_screens):
        adata = simulate.screen(
            n_genes, dict.fromkeys(KINDS, n_groups), n_control=n_cells, n_perturbed=200, seed=1000 + seed
        )
        total = adata.X.sum(axis=1)
        adata.X = adata.X.multiply(np.median(np.asarray(total)) / np.maximum(total, 1)).tocsr().log1p()
        for choice in CHOICES:
            options = {"n_genes": n_candidates, "genes": choice, "model": network, "device": "cpu"}
            if not found:  # the first call compiles
                tl.predict_targets(adata, "perturbation", "control", progress=False, **options)
            started = perf_counter()
            tl.predict_targets(adata, "perturbation", "control", progress=False, **options)
            seconds = perf_counter() - started
            table = adata.uns["cdn_targets"]["table"]
            of_groups = metrics.target_metrics(table, adata.uns["targets"])
            found.append(
                of_groups.assign(
                    screen=seed,
                    candidates=choice,
                    is_candidate=of_groups["n_missing"] == 0,
                    seconds=seconds / len(of_groups),
                )
            )
    return pd.concat(found, ignore_index=True)


def difference(per_group: pd.DataFrame, n_bootstrap: int = 2000) -> tuple[float, float, float]:
    """Mean difference of average precision, shared less per group, and its 95% interval."""
    wide = per_group.set_index(["screen", "group", "candidates"])["average_precision"]
    change = wide.xs("shared", level=2) - wide.xs("per_group", level=2)
    # the groups of a screen share their control cells and network
    screens = pd.factorize(change.index.get_level_values("screen"))[0]
    found = bootstrap(change.to_numpy()[:, None], screens, n_bootstrap=n_bootstrap).iloc[0]
    return float(found["mean"]), float(found["low"]), float(found["high"])


def summarise(model: str, per_group: pd.DataFrame) -> pd.DataFrame:
    """One row for each choice."""
    columns = [*SHOWN, "is_candidate", "seconds"]
    means = per_group.groupby("candidates")[columns].mean().loc[list(CHOICES)].reset_index()
    means = means.rename(columns={"is_candidate": "target is a candidate", "seconds": "seconds a group"})
    means.insert(0, "model", model)
    change, low, high = difference(per_group)
    means["difference"] = ["", f"{change:+.3f} ({low:+.3f} to {high:+.3f})"]
    return means


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", default=["gene-transformer", "cdn-screens"])
    parser.add_argument("--screens", type=int, default=4)
    parser.add_argument("--genes", type=int, default=400)
    parser.add_argument("--candidates", type=int, default=100, help="n_genes of predict_targets")
    parser.add_argument("--groups", type=int, default=5, help="groups of each kind and screen")
    parser.add_argument("--cells", type=int, default=1500, help="control cells")
    parser.add_argument("--output", type=Path, help="folder for shared_genes.csv and shared_genes.md")
    options = parser.parse_args(arguments)
    settings.verbosity = "error"
    tables = []
    for model in options.models:
        per_group = score(
            model, options.screens, options.genes, options.groups, options.candidates, options.cells
        )
        tables.append(summarise(model, per_group))
    note = (
        f"{options.screens} screens of {options.genes} genes, {len(KINDS) * options.groups} groups of 200 "
        f"cells, {options.cells:,} control cells; {options.candidates} candidates. {machine()}."
    )
    write_table("shared_genes", pd.concat(tables, ignore_index=True), note, options.output)


if __name__ == "__main__":
    main()
