"""Time the compiled FCI per gene subset against causal-learn, on the same subsets in one run.

    python benchmarks/fci.py --subsets 200 --cells 500

Prints a table, and how often both find the same adjacencies and marks. A whole arm: `arm_inputs.py`.
"""

import argparse
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from time import perf_counter

import numpy as np
import pandas as pd

from cdn_sc.graphs import fci_graphs
from cdn_sc.graphs.estimate import estimate, pearson_correlation
from common import machine, median_seconds, write_table


def random_subsets(n_subsets: int, n_cells: int, n_genes: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Cells of random linear models with random acyclic graphs and one hidden common cause."""
    subsets = []
    for _ in range(n_subsets):
        n = n_genes + 1
        present = np.triu(rng.random((n, n)) < rng.uniform(0.2, 0.8), 1)
        mixing = np.linalg.inv(np.eye(n) - rng.normal(size=(n, n)) * present)
        subsets.append((rng.normal(size=(n_cells, n)) @ mixing)[:, rng.permutation(n)[:n_genes]])
    return subsets


def measure(subsets: list[np.ndarray], repeats: int) -> tuple[pd.DataFrame, str]:
    """Time both estimators on the same subsets, and say how often they agree."""
    n_cells = len(subsets[0])
    matrices = np.stack([pearson_correlation(values) for values in subsets])
    started = perf_counter()
    graphs, _ = fci_graphs(matrices, n_cells)
    first_call = perf_counter() - started
    many = np.resize(matrices, (repeats, *matrices.shape[1:]))
    ours = min(median_seconds(lambda: fci_graphs(many, n_cells), 1) for _ in range(5)) / len(many)
    started = perf_counter()
    from_values, _ = estimate(subsets)
    with_correlations = (perf_counter() - started) / len(subsets)
    started = perf_counter()
    others, _ = estimate(subsets, estimator="causal-learn")
    theirs = (perf_counter() - started) / len(subsets)
    rows = [
        ("fci", "correlations", len(many), 1e6 * ours, theirs / ours),
        ("fci", "values", len(subsets), 1e6 * with_correlations, theirs / with_correlations),
        (f"causal-learn {version('causal-learn')}", "values", len(subsets), 1e6 * theirs, 1.0),
    ]
    same_edges = ((graphs != 0) == (others != 0)).all(axis=(1, 2)).mean()
    same_marks = (from_values == others).all(axis=(1, 2)).mean()
    note = (
        f"First call (compiling, or reading the cache): {first_call:.1f} s. Graphs with the same "
        f"adjacencies: {same_edges:.1%}; with the same marks too: {same_marks:.1%}."
    )
    return pd.DataFrame(rows, columns=["estimator", "input", "graphs", "microseconds a graph", "ratio"]), note


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the comparison that the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--subsets", type=int, default=200, help="gene subsets (default: 200)")
    parser.add_argument("--cells", type=int, default=500, help="cells per subset (default: 500)")
    parser.add_argument("--genes", type=int, default=5, help="genes per subset (default: 5)")
    parser.add_argument("--repeats", type=int, default=20_000, help="graphs timed of ours (default: 20000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="folder for fci.csv and fci.md")
    options = parser.parse_args(arguments)
    rng = np.random.default_rng(options.seed)
    table, note = measure(random_subsets(options.subsets, options.cells, options.genes, rng), options.repeats)
    write_table("fci", table, f"{note} {machine()}.", options.output)


if __name__ == "__main__":
    main()
