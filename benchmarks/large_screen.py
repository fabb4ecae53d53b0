"""A genome-scale screen on one machine: 300,000 cells x 8,000 genes x 2,000 groups, from a backed file.

    python benchmarks/large_screen.py make /tmp/large.h5ad          # about ten minutes
    python benchmarks/large_screen.py run /tmp/large.h5ad --output docs/results
    python benchmarks/large_screen.py run /tmp/large.h5ad --rivals ../rivals/bin/python --output docs/results

The screen is simulated, to the sparsity of a 10x screen, with its cells in random order, and written as
log-normalised values in a sparse matrix; the file, of about 2 GB, is kept out of the repository. Each tool
runs in a process of its own; scanpy's Wilcoxon on some of the groups, and its time extrapolated to all.
"""

import argparse
import sys
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
from scipy import sparse

from cdn_sc.simulate.counts import Technical, simulate_counts
from cdn_sc.simulate.perturbation import KINDS, choose_targets, draw_perturbation
from cdn_sc.simulate.regulation import draw_network
from common import machine, write_table
from every_gene import HERE, run

GROUPS_AT_ONCE = 16


def make(path: Path, n_cells: int, n_genes: int, n_groups: int, seed: int = 0) -> None:
    """Simulate the screen, a few groups at a time, and write it."""
    rng = np.random.default_rng(seed)
    # about one value in ten is not 0, as in a screen of 10,000 transcripts a cell
    network = draw_network(n_genes, rng, depth=-2.7, strength=0.6)
    technical = Technical(0.35, 0.5, 1, 0.0, 0.3)
    n_perturbed = n_cells * 9 // 10 // n_groups
    expressed = network.baseline > np.log(0.05)
    targets = rng.permutation(np.flatnonzero(expressed))
    parts: list[sparse.csr_array] = []
    labels: list[str] = []
    truth: dict[str, np.ndarray] = {}
    left = n_cells - n_perturbed * n_groups
    while left > 0:
        here = min(left, 2000)
        parts.append(sparse.csr_array(simulate_counts(network, [], here, technical, rng).counts))
        labels += ["control"] * here
        left -= here
    for start in range(0, n_groups, GROUPS_AT_ONCE):
        perturbations = []
        for group in range(start, min(start + GROUPS_AT_ONCE, n_groups)):
            kind = KINDS[group % len(KINDS)]
            eligible = np.zeros(n_genes, dtype=bool)
            eligible[targets[group % len(targets)]] = True
            if kind == "activity":  # what regulates nothing leaves no trace
                eligible = expressed
            target = choose_targets(network, kind, 1, eligible, rng)
            perturbations.append(draw_perturbation(kind, target, n_perturbed, rng))
            label = f"gene_{target[0]:04d} ({kind}) {group}"
            truth[label] = np.array([f"gene_{target[0]:04d}"])
            labels += [label] * n_perturbed
        parts.append(sparse.csr_array(simulate_counts(network, perturbations, 0, technical, rng).counts))
        print(f"\r{start + len(perturbations)} groups", end="", flush=True)
    counts = sparse.vstack(parts, format="csr")[order := rng.permutation(n_cells)]
    total = np.asarray(counts.sum(axis=1)).ravel()
    counts.data = np.log1p(counts.data * np.repeat(np.median(total) / total, np.diff(counts.indptr)))
    adata = ad.AnnData(
        sparse.csr_matrix(counts.astype(np.float32)),
        obs=pd.DataFrame(
            {"perturbation": pd.Categorical(np.array(labels)[order])},
            index=[f"cell_{i}" for i in range(n_cells)],
        ),
        var=pd.DataFrame(index=[f"gene_{i:04d}" for i in range(n_genes)]),
        uns={"targets": truth} if n_groups <= 1000 else {},
    )
    adata.write_h5ad(path)
    pd.Series({label: genes[0] for label, genes in truth.items()}).to_csv(path.with_suffix(".targets.csv"))
    print(f"\n{counts.nnz / n_cells / n_genes:.1%} of the values are not 0")


def measure(path: Path, python: str | None, folder: Path | None, n_scanpy: int) -> None:
    """Time the tools on the file, one after another."""
    with h5py.File(path, "r") as file:
        n_groups = len(file["obs"]["perturbation"]["categories"]) - 1
        n_cells, n_genes = file["X"].attrs["shape"]
    rows = []

    def add(tool: str, found: dict, factor: float = 1.0, note: str = "") -> None:
        seconds = found["seconds"][0] * factor
        rows.append({"tool": tool, "minutes": seconds / 60, "peak GB": found["peak_gb"], "": note})

    add(
        "cdn-sc, from the file to ranked genes",
        run(sys.executable, "cdn-sc", path, "--repeats", "1", "--backed", source=HERE.parent, threads=2),
    )
    if python:
        add("illico, Wilcoxon, in memory", run(python, "illico", path, "--repeats", "1", threads=2))
        found = run(sys.executable, "scanpy", path, "--repeats", "1", "--groups", str(n_scanpy), threads=2)
        add("scanpy, Wilcoxon, in memory", found, n_groups / n_scanpy, f"extrapolated from {n_scanpy} groups")
    note = f"{n_cells:,} cells, {n_genes:,} genes, {n_groups:,} groups; two cores, one run each. {machine()}."
    write_table("large_screen", pd.DataFrame(rows), note, folder)


def main() -> None:
    """Make the file, or measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("action", choices=["make", "run"])
    parser.add_argument("path", type=Path)
    parser.add_argument("--cells", type=int, default=300_000)
    parser.add_argument("--genes", type=int, default=8_000)
    parser.add_argument("--groups", type=int, default=2_000)
    parser.add_argument("--rivals", default=None, help="Python with illico; scanpy is measured then too")
    parser.add_argument("--scanpy-groups", type=int, default=20)
    parser.add_argument("--output", type=Path, default=None)
    chosen = parser.parse_args()
    if chosen.action == "make":
        make(chosen.path, chosen.cells, chosen.genes, chosen.groups)
    else:
        measure(chosen.path, chosen.rivals, chosen.output, chosen.scanpy_groups)


if __name__ == "__main__":
    main()
