"""Time the compiled FCI per gene subset against causal-learn, on the same subsets in one run.

    python benchmarks/fci.py --subsets 200 --cells 500

Prints one comma-separated line per estimator, and how often both find the same adjacencies and marks.
"""

import argparse
from importlib.metadata import version
from time import perf_counter

import numpy as np

from cdn_sc.graphs import arm_inputs, fci_graphs
from cdn_sc.graphs.estimate import estimate, pearson_correlation


def random_subsets(n_subsets: int, n_cells: int, n_genes: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Cells of random linear models with random acyclic graphs and one hidden common cause."""
    subsets = []
    for _ in range(n_subsets):
        n = n_genes + 1
        present = np.triu(rng.random((n, n)) < rng.uniform(0.2, 0.8), 1)
        mixing = np.linalg.inv(np.eye(n) - rng.normal(size=(n, n)) * present)
        subsets.append((rng.normal(size=(n_cells, n)) @ mixing)[:, rng.permutation(n)[:n_genes]])
    return subsets


def main() -> None:
    """Run the comparison that the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--subsets", type=int, default=200, help="gene subsets (default: 200)")
    parser.add_argument("--cells", type=int, default=500, help="cells per subset (default: 500)")
    parser.add_argument("--genes", type=int, default=5, help="genes per subset (default: 5)")
    parser.add_argument("--repeats", type=int, default=20_000, help="graphs timed of ours (default: 20000)")
    parser.add_argument("--arm", nargs=2, type=int, metavar=("CELLS", "GENES"), help="time a whole arm too")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    rng = np.random.default_rng(arguments.seed)
    subsets = random_subsets(arguments.subsets, arguments.cells, arguments.genes, rng)
    matrices = np.stack([pearson_correlation(values) for values in subsets])
    start = perf_counter()
    graphs, _ = fci_graphs(matrices, arguments.cells)
    first_call = perf_counter() - start
    many = np.resize(matrices, (arguments.repeats, *matrices.shape[1:]))
    ours = float("inf")
    for _ in range(5):
        start = perf_counter()
        fci_graphs(many, arguments.cells)
        ours = min(ours, (perf_counter() - start) / len(many))
    start = perf_counter()
    from_values, _ = estimate(subsets)
    with_correlations = (perf_counter() - start) / len(subsets)
    start = perf_counter()
    others, _ = estimate(subsets, estimator="causal-learn")
    theirs = (perf_counter() - start) / len(subsets)

    print("estimator,input,graphs,microseconds_per_graph,speedup")
    print(f"fci,correlations,{len(many)},{ours * 1e6:.2f},{theirs / ours:.0f}")
    print(f"fci,values,{len(subsets)},{with_correlations * 1e6:.2f},{theirs / with_correlations:.0f}")
    print(f"causal-learn {version('causal-learn')},values,{len(subsets)},{theirs * 1e6:.2f},1")
    print(f"# first call (compiling, or reading the cache): {first_call:.1f} s")
    same_edges = ((graphs != 0) == (others != 0)).all(axis=(1, 2)).mean()
    same_marks = (from_values == others).all(axis=(1, 2)).mean()
    print(f"# graphs with the same adjacencies: {same_edges:.1%}; with the same marks too: {same_marks:.1%}")
    if arguments.arm:
        cells, genes = arguments.arm
        values = rng.normal(size=(cells, 50)) @ rng.normal(size=(50, genes)) * 0.1
        values = np.maximum(values + rng.normal(size=(cells, genes)), 0).astype(np.float32)
        times = []
        for _ in range(10):
            start = perf_counter()
            arm_inputs(values, n_subsets=50, rng=rng)
            times.append(perf_counter() - start)
        print(f"# one arm, {cells} cells x {genes} genes, 50 subsets: {min(times[1:]) * 1e3:.1f} ms")


if __name__ == "__main__":
    main()
