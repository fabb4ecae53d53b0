"""Sampling, correlations and graphs of one arm on one core, against plain numpy and causal-learn.

    python benchmarks/arm_inputs.py --genes 1000 --output docs/results

One arm of 2,000 cells, 50 subsets; both ways in one run on the same cells. `without all correlations` leaves
out the N x N correlation matrix that the network reads once an arm: what is left is sampling, the
correlations within subsets, graphs and tokens. The plain way (`straightforward.read_arm`) forms the N x N
probabilities of every draw in numpy and runs causal-learn on every subset.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

import straightforward
from cdn_sc.graphs import arm_inputs, sample
from common import machine, median_seconds, write_table


def simulate(n_cells: int, n_genes: int) -> np.ndarray:
    """Log-normal cells with correlated genes."""
    rng = np.random.default_rng(n_genes)
    factors = rng.normal(size=(n_cells, 8)) @ rng.normal(size=(8, n_genes))
    return np.log1p(rng.poisson(np.exp(0.3 * factors + rng.normal(0, 0.5, n_genes)))).astype(np.float32)


def measure(
    n_cells: int, n_genes: int, n_subsets: int, repeats: int, plain_repeats: int
) -> dict[str, object]:
    """One row of the table."""
    values = simulate(n_cells, n_genes)

    def ours() -> object:
        return arm_inputs(values, n_subsets=n_subsets, rng=np.random.default_rng(0))

    def no_statistics(by_gene: np.ndarray, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros((0, 0), dtype=np.float32), np.zeros((len(by_gene), 2), dtype=np.float32)

    ours()
    with threadpool_limits(1):
        seconds = median_seconds(ours, repeats)
        with mock.patch.object(sample, "_statistics", no_statistics):
            without = median_seconds(ours, repeats)
        plain = median_seconds(
            lambda: straightforward.read_arm(values, n_subsets, np.random.default_rng(0)), plain_repeats
        )
    return {
        "genes": n_genes,
        "cells": n_cells,
        "subsets": n_subsets,
        "plain ms": 1e3 * plain,
        "ours ms": 1e3 * seconds,
        "without all correlations ms": 1e3 * without,
        "ratio": plain / seconds,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--genes", type=int, nargs="+", default=[20, 100, 300, 1000])
    parser.add_argument("--cells", type=int, default=2000)
    parser.add_argument("--subsets", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--plain-repeats", type=int, default=3)
    parser.add_argument("--output", type=Path, help="folder for arm_inputs.csv and arm_inputs.md")
    options = parser.parse_args(arguments)
    rows = [
        measure(options.cells, n, options.subsets, options.repeats, options.plain_repeats)
        for n in options.genes
    ]
    write_table("arm_inputs", pd.DataFrame(rows), f"Median; one thread. {machine()}.", options.output)


if __name__ == "__main__":
    main()
