"""Peak memory of going through all pairs of a cell line, in the layout of the published archive.

    python benchmarks/loader_memory.py --output docs/results

Writes an imitation of the archive into a temporary folder: as many pairs as the published `k562_gw` has, each
with its two files. A few different arrays of random values are linked under all the names, so that the disk
holds little; pairs in a row have different ones, so that no control cells are shared. Each way of going
through them runs in a process of its own. Peak memory is that beyond what the process needed before the first
pair.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

from common import machine, markdown, peak_memory, reset_peak_memory

DISTINCT = 4
LINE = "k562_gw"


def write_archive(folder: Path, n_pairs: int, n_control: int, n_perturbed: int, n_genes: int) -> pd.DataFrame:
    """Write the imitation; returns the rows of its split."""
    rng = np.random.default_rng(0)
    path = folder / "data" / "single_cell" / LINE
    path.mkdir(parents=True)
    for number in range(DISTINCT):
        for name, cells in (("data", n_control), ("data_interv", n_perturbed)):
            # float64, as numpy saves what nobody converted
            np.save(folder / f"{name}{number}.npy", rng.gamma(0.5, 1.0, (cells, n_genes)))
    rows = []
    for pair in range(n_pairs):
        gene = f"ENSG{pair:011d}"
        for name in ("data", "data_interv"):
            (path / f"{name}-{gene}.npy").hardlink_to(folder / f"{name}{pair % DISTINCT}.npy")
        prefix = f"data/single_cell/{LINE}"
        rows.append(
            {
                "pert": gene,
                "name": f"GENE{pair}",
                "cluster": 0,
                "split": "test",
                "fp_data": f"{prefix}/data_interv-{gene}.npy",
                "label": pair % n_genes,
                "cell_line": LINE,
                "fp_control": f"{prefix}/data-{gene}.npy",
            }
        )
    return pd.DataFrame(rows)


def go_through(folder: Path, way: str) -> dict[str, float]:
    """Look at every pair once, and keep nothing; `way` is AnnData or Pair."""
    from cdn_sc.datasets._pairs import SingleCellPairs

    table = pd.read_csv(folder / "split.csv")
    pairs = SingleCellPairs("imitation", table, folder=folder, kind="knockdown")
    items = pairs if way == "AnnData" else pairs.as_pairs()
    # what is loaded for the first pair is no part of what pairs need
    SingleCellPairs("imitation", table[:1], folder=folder, kind="knockdown")[0].copy()
    reset_peak_memory()
    before, cells = peak_memory(), 0
    for item in items:
        cells += item.n_obs if way == "AnnData" else len(item.control) + len(item.perturbed)
    return {
        "pairs": len(table),
        "cells": cells,
        "process before, MiB": before,
        "peak beyond it, MiB": peak_memory() - before,
    }


def measure(folder: Path, way: str) -> dict[str, float]:
    """Run :func:`go_through` in a fresh process."""
    command = [sys.executable, __file__, "--folder", str(folder), "--way", way]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(run.stdout)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=1767)
    parser.add_argument("--control", type=int, default=2000, help="control cells of a pair")
    parser.add_argument("--perturbed", type=int, default=200, help="perturbed cells of a pair")
    parser.add_argument("--genes", type=int, default=1000)
    parser.add_argument("--output", type=Path, help="folder for loader_memory.md")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--way", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.way:
        print(json.dumps(go_through(options.folder, options.way)))
        return
    with TemporaryDirectory() as name:
        folder = Path(name)
        sizes = (options.pairs, options.control, options.perturbed, options.genes)
        write_archive(folder, *sizes).to_csv(folder / "split.csv", index=False)
        table = pd.DataFrame([{"as": way, **measure(folder, way)} for way in ("AnnData", "Pair")])
    table = table.astype({"pairs": int, "cells": int})
    one = (options.control + options.perturbed) * options.genes * 4 / 2**20
    text = (
        markdown(table) + f"\n{options.control:,} control and {options.perturbed:,} perturbed cells a pair, "
        f"{options.genes:,} genes: {one:.1f} MiB a pair as float32, {one * options.pairs / 1024:.1f} GiB all "
        f"of them. {machine()}.\n"
    )
    print(text)
    if options.output:
        options.output.mkdir(parents=True, exist_ok=True)
        (options.output / "loader_memory.md").write_text(text)


if __name__ == "__main__":
    main()
