"""Everything but the network: time and memory against cells and groups, on large sparse screens.

    python benchmarks/scaling.py --cells 10000 100000 1000000 --groups 1 20 200 2000 --output docs/results

`predict_targets` with a model that scores every gene 0 at no cost: reading arms, statistics, the choice of
genes (one panel for all groups, or for each group its own, as for models with a limit), their values, and the
result table; at most `--n-genes` of the genes. A tenth of the cells are control cells, 5% of the
values are not 0. Peak memory is that beyond the input.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from types import SimpleNamespace
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

from cdn_sc import predictors, settings, tl
from cdn_sc.predictors import Prediction
from common import machine, peak_memory, reset_peak_memory, write_table

CONTROL_SHARE = 0.1
ONE_PANEL, OF_EACH_GROUP = "one panel", "of each group"


class NoNetwork:
    """Takes the place of a model."""

    name, version, sha256 = "none", "", ""
    uses_graphs = takes_kind = takes_relations = uses_correlations = False
    min_genes, max_subsets = 1, None
    device = "cpu"

    def __init__(self, max_genes: int | None) -> None:
        self.max_genes = max_genes

    def prepare_control(self, control: np.ndarray, contrasts: None = None) -> None:
        """Need nothing of the control cells."""

    def prepare(self, control: np.ndarray, perturbed: np.ndarray, **options: Any) -> Prediction:
        """Score every gene 0."""
        return Prediction(np.zeros(control.shape[1], dtype=np.float32))

    def launch(self, prepared: list[Prediction]) -> Any:
        """Hand back what was prepared."""
        return SimpleNamespace(fetch=lambda: prepared)

    def batch_size(self, n_genes: int, n_subsets: int) -> int:
        """Any number will do."""
        return 1


def simulate(n_cells: int, n_genes: int, density: float) -> sparse.csr_matrix:
    """Sparse cells of no structure: the time depends on their numbers alone."""
    rng = np.random.default_rng(0)
    per_cell = rng.binomial(n_genes, density, n_cells)
    indptr = np.concatenate([[0], np.cumsum(per_cell)])
    indices = np.empty(indptr[-1], dtype=np.int32)
    values = np.empty(indptr[-1], dtype=np.float32)
    for cell in range(n_cells):
        part = slice(indptr[cell], indptr[cell + 1])
        start = rng.integers(n_genes)
        # evenly spread and distinct, with a stride that does not divide the number of genes
        indices[part] = np.sort((start + 7 * np.arange(per_cell[cell])) % n_genes)
        values[part] = 0.5 + rng.random(per_cell[cell], dtype=np.float32)
    return sparse.csr_matrix((values, indices, indptr), shape=(n_cells, n_genes))


def label(adata: ad.AnnData, n_groups: int) -> None:
    """Make a tenth of the cells control cells, and spread the others over groups."""
    rng = np.random.default_rng(n_groups)
    n_cells = adata.n_obs
    group = np.where(rng.random(n_cells) < CONTROL_SHARE, n_groups, rng.integers(0, n_groups, n_cells))
    labels = pd.Index([*(f"group_{i:05d}" for i in range(n_groups)), "control"])
    adata.obs["perturbation"] = pd.Categorical.from_codes(group, labels)


def measure(adata: ad.AnnData, n_groups: int, choice: str, n_genes: int) -> dict[str, object]:
    """One row of the table."""
    model = NoNetwork(None if choice == ONE_PANEL else n_genes)
    predictors.load_predictor = lambda *_, **__: model  # type: ignore[assignment,return-value]
    reset_peak_memory()
    before, started = peak_memory(), perf_counter()
    tl.predict_targets(adata, "perturbation", "control", n_genes=n_genes, min_cells=2, progress=False)
    seconds = perf_counter() - started
    peak = (peak_memory() - before) / 1024
    result = adata.uns.pop("cdn_targets")
    return {
        "cells": adata.n_obs,
        "groups": n_groups,
        "genes": choice,
        "seconds": seconds,
        "ms a group": 1e3 * seconds / n_groups,
        "input GB": adata.X.data.nbytes / 1e9 + adata.X.indices.nbytes / 1e9,
        "peak GB beyond it": peak,
        "rows of the result": len(result["table"]),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cells", type=int, nargs="+", default=[1000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--groups", type=int, nargs="+", default=[1, 20, 200, 2000, 10_000])
    parser.add_argument("--genes", type=int, default=5000)
    parser.add_argument("--density", type=float, default=0.05)
    parser.add_argument("--n-genes", type=int, default=1000, help="genes of the panel, and of each group")
    parser.add_argument(
        "--most-per-group", type=int, default=2000, help="most groups with genes of their own"
    )
    parser.add_argument("--output", type=Path, help="folder for scaling.csv and scaling.md")
    options = parser.parse_args(arguments)
    settings.verbosity = "error"
    load = predictors.load_predictor
    rows = []
    try:
        small = ad.AnnData(simulate(100, options.genes, options.density))
        label(small, 1)
        measure(small, 1, ONE_PANEL, options.n_genes)  # the first call compiles
        for cells in options.cells:
            adata = ad.AnnData(simulate(cells, options.genes, options.density))
            for groups in options.groups:
                if cells < 20 * groups:
                    continue
                label(adata, groups)
                for choice in (OF_EACH_GROUP, ONE_PANEL):
                    if choice == ONE_PANEL or groups <= options.most_per_group:
                        rows.append(measure(adata, groups, choice, options.n_genes))
                        print({name: f"{value:.4g}" for name, value in rows[-1].items()
                               if isinstance(value, float)}, flush=True)  # fmt: skip
    finally:
        predictors.load_predictor = load
    note = (
        f"{options.genes:,} genes, {options.n_genes:,} of them chosen, {options.density:.0%} of values "
        f"not 0. {machine()}."
    )
    write_table("scaling", pd.DataFrame(rows), note, options.output)


if __name__ == "__main__":
    main()
