"""Every expressed gene a candidate: how many targets were lost before, how accurate and how fast it is now.

    git worktree add ../before daa5b68      # version 1.2
    python -m venv ../rivals && ../rivals/bin/pip install cipher-perturb illico
    python benchmarks/every_gene.py --before ../before --rivals ../rivals/bin/python --output docs/results

Each tool runs in a process of its own, on the same simulated file, one after another; version 1.2 with this
Python and the sources of its commit. Of several repeats the median counts, after one that compiles.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

from cdn_sc import simulate
from cdn_sc.metrics.summary import bootstrap
from common import machine, write_table

HERE = Path(__file__).parent
KINDS = ("knockdown", "activation", "knockout", "activity")
PARTS = ("candidates", "accuracy", "speed", "rivals", "curve")


def write_screen(path: Path, **options: object) -> None:
    """Simulate a screen and write it as :mod:`rivals` reads it; groups are named by their target."""
    import scanpy as sc

    adata = simulate.screen(**options)  # type: ignore[arg-type]
    targets = adata.uns["targets"]
    names = {group: str(genes[0]) for group, genes in targets.items()}
    kinds = {names[group]: group.split("(")[1].rstrip(")") for group in targets}
    adata.obs["perturbation"] = (
        adata.obs["perturbation"].astype(str).map(lambda label: names.get(label, label)).astype("category")
    )
    adata.uns = {
        "targets": {names[group]: np.asarray(genes) for group, genes in targets.items()},
        "kinds": kinds,
    }
    adata.layers["counts"] = adata.X.copy()
    sc.pp.normalize_total(adata)
    sc.pp.log1p(adata)
    adata.write_h5ad(path)


def run(
    python: str, tool: str, path: Path, *arguments: str, source: Path | None = None, threads: int = 1
) -> dict:
    """Run one tool in a process of its own and return what it says."""
    environment = dict(os.environ)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
        environment[name] = str(threads)
    if source is not None:
        environment["PYTHONPATH"] = str(source / "src")
    command = [python, str(HERE / "rivals.py"), tool, str(path), "--threads", str(threads), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def candidates(folder: Path | None, n_networks: int) -> None:
    """Share of targets that never become candidates, by version 1.2's rule and by the panel's."""
    from cdn_sc.tl._candidates import Panel, arm_statistics, candidate_genes

    rows = []
    for n_genes in (2000, 4000, 8000):
        for kind in ("activity", "knockout"):
            lost_before = lost = total = silent = 0
            for network in range(n_networks):
                rng = np.random.default_rng([n_genes, KINDS.index(kind), network, *b"candidates"])
                pairs = simulate.screen_pairs(
                    rng,
                    n_genes=n_genes,
                    n_groups=8,
                    n_control=3000,
                    n_perturbed=(200, 201),
                    kinds={kind: 1.0},
                )
                control = arm_statistics(pairs[0].control)
                places = np.arange(n_genes)
                panel = Panel(control, 0.01, places)
                groups = [arm_statistics(pair.perturbed) for pair in pairs]
                for group in groups:
                    panel.add(group)
                genes = panel.choose(n_genes=None, mask=None)
                for pair, group in zip(pairs, groups, strict=True):
                    before = candidate_genes(control, group, n_genes=1000, mask=None, places=places)
                    total += len(pair.targets)
                    lost_before += len(np.setdiff1d(pair.targets, before))
                    missing = np.setdiff1d(pair.targets, genes)
                    lost += len(missing)
                    silent += int((control.n_detected[missing] < 0.01 * control.n_cells).sum())
            rows.append(
                {
                    "genes": n_genes, "kind": kind, "targets": total,
                    "lost, version 1.2": lost_before / total, "lost": lost / total,
                    "of these in less than 1% of control cells": silent,
                }
            )  # fmt: skip
    note = f"{n_networks} networks of 8 groups each, 3,000 control and 200 perturbed cells. {machine()}."
    write_table("every_gene_candidates", pd.DataFrame(rows), note, folder)


def average_precision(ranks: list[int]) -> float:
    """Of targets at these ranks, 0 for one that is none of the candidates."""
    found = sorted(rank for rank in ranks if rank)
    return sum((i + 1) / rank for i, rank in enumerate(found)) / len(ranks)


def accuracy(folder: Path | None, before: Path, n_networks: int, scratch: Path, n_genes: int = 4000) -> None:
    """Mean average precision by kind on screens of 4,000 genes, beside version 1.2."""
    rows = []
    for network in range(n_networks):
        for kind in KINDS:
            path = scratch / "screen.h5ad"
            write_screen(
                path,
                n_genes=n_genes,
                n_groups={kind: 8},
                n_control=3000,
                n_perturbed=200,
                seed=7000 + network,
            )
            for version, source in (("1.2", before), ("now", HERE.parent)):
                found = run(sys.executable, "cdn-sc", path, "--repeats", "1", source=source, threads=2)
                rows += [
                    {
                        "network": network, "kind": kind, "version": version, "group": group,
                        "average_precision": average_precision(of_group),
                    }
                    for group, (of_group, _) in found["ranks"].items()
                ]  # fmt: skip
    table = pd.DataFrame(rows)
    wide = table.pivot_table(
        index=["network", "kind", "group"], columns="version", values="average_precision"
    )
    shown = []
    for kind, of_kind in wide.groupby("kind"):
        difference = of_kind["now"] - of_kind["1.2"]
        units = of_kind.index.get_level_values("network").to_numpy()
        low, high = bootstrap(difference.to_numpy()[:, None], units)[["low", "high"]].iloc[0]
        shown.append(
            {
                "kind": kind, "groups": len(of_kind), "version 1.2": of_kind["1.2"].mean(),
                "now": of_kind["now"].mean(), "ratio": of_kind["now"].mean() / of_kind["1.2"].mean(),
                "difference": difference.mean(), "95% interval": f"[{low:.3f}, {high:.3f}]",
            }
        )  # fmt: skip
    note = (
        f"{n_networks} networks of {n_genes:,} genes and 8 groups of each kind, 3,000 control and 200 "
        "perturbed cells; mean average precision, with the interval over networks of the difference. "
        f"{machine()}."
    )
    write_table("every_gene_accuracy", pd.DataFrame(shown), note, folder)


def speed(folder: Path | None, before: Path, scratch: Path) -> None:
    """Seconds a group of a screen of 20 groups and 3,000 genes, one thread."""
    path = scratch / "screen.h5ad"
    write_screen(path, n_genes=3000, n_groups=20, n_control=3000, n_perturbed=200, seed=1)
    rows = []
    for version, source in (("1.2", before), ("now", HERE.parent)):
        found = run(sys.executable, "cdn-sc", path, "--repeats", "3", source=source)
        rows.append({"version": version, "seconds a group": median(found["seconds"]) / 20})
    table = pd.DataFrame(rows)
    table["times as fast as 1.2"] = table["seconds a group"].iloc[0] / table["seconds a group"]
    note = f"20 groups of 200 cells, 3,000 genes, 3,000 control cells, one thread; median of 3. {machine()}."
    write_table("every_gene_speed", table, note, folder)


def rivals(folder: Path | None, before: Path, python: str, scratch: Path) -> None:
    """40 groups of 1,000 genes beside CIPHER, illico and scanpy."""
    path = scratch / "screen.h5ad"
    write_screen(path, n_genes=1000, n_groups=40, n_control=5000, n_perturbed=150, seed=2)
    counts = scratch / "counts.h5ad"
    write_counts(path, counts)
    runs = {
        "cdn-sc": lambda: run(sys.executable, "cdn-sc", path, source=HERE.parent, threads=2),
        "cdn-sc, version 1.2": lambda: run(sys.executable, "cdn-sc", path, source=before, threads=2),
        "CIPHER, reverse prediction": lambda: run(python, "cipher", counts, threads=2),
        "rank tests of cdn-sc alone, one thread": lambda: run(
            sys.executable, "rank-tests", path, source=HERE.parent
        ),
        "illico, Wilcoxon, one thread": lambda: run(python, "illico", path),
        "illico, Wilcoxon": lambda: run(python, "illico", path, threads=2),
        "scanpy, Wilcoxon": lambda: run(sys.executable, "scanpy", path, threads=2),
    }
    table = pd.DataFrame(
        [{"tool": name, "seconds": median(measure()["seconds"])} for name, measure in runs.items()]
    )
    of_cipher = table.set_index("tool")["seconds"]["CIPHER, reverse prediction"]
    table["times CIPHER's"] = table["seconds"] / of_cipher
    note = (
        "40 groups of 150 cells, 1,000 genes, 5,000 control cells, from the object in memory to ranked "
        f"genes; medians of 3, two cores. {machine()}."
    )
    write_table("every_gene_rivals", table, note, folder)


def write_counts(path: Path, counts: Path) -> None:
    """The same screen with its counts in ``X``."""
    import anndata as ad

    adata = ad.read_h5ad(path)
    adata.X = adata.layers.pop("counts")
    adata.uns = {}
    adata.write_h5ad(counts)


def curve(folder: Path | None, scratch: Path) -> None:
    """Cost of a further group by the number of genes: all of it, and the network's part."""
    rows = []
    for n_genes in (500, 1000, 2000, 4000, 8000):
        path = scratch / "screen.h5ad"
        write_screen(path, n_genes=n_genes, n_groups=24, n_control=3000, n_perturbed=150, seed=3)
        few = median(run(sys.executable, "cdn-sc", path, "--groups", "8", source=HERE.parent)["seconds"])
        all_of_them = median(run(sys.executable, "cdn-sc", path, source=HERE.parent)["seconds"])
        rows.append(
            {
                "genes": n_genes,
                "seconds of the control side": few - 8 * (all_of_them - few) / 16,
                "ms a further group": 1000 * (all_of_them - few) / 16,
                "ms of the network": 1000 * network_seconds(n_genes),
            }
        )
    note = f"24 groups of 150 cells, 3,000 control cells, one thread; medians of 3. {machine()}."
    write_table("every_gene_curve", pd.DataFrame(rows), note, folder)


def network_seconds(n_genes: int) -> float:
    """Median seconds of the default network for one group, with all that it says."""
    from time import perf_counter

    import torch

    from cdn_sc import models
    from cdn_sc.nn.gene_transformer import GeneBatch

    network = models.load("default").eval()
    config = network.config
    rng = torch.Generator().manual_seed(0)
    batch = GeneBatch(
        features=torch.randn(1, n_genes, config.features, generator=rng),
        neighbours=torch.randint(0, n_genes, (1, n_genes, 16), generator=rng),
        edges=torch.randn(1, n_genes, 16, config.edges, generator=rng),
        edge_mask=torch.ones(1, n_genes, 16, dtype=torch.bool),
        mask=torch.ones(1, n_genes, dtype=torch.bool),
        kind=torch.zeros(1, dtype=torch.int64),
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    seconds = []
    with torch.inference_mode():
        for _ in range(6):
            started = perf_counter()
            network.outputs(batch)
            seconds.append(perf_counter() - started)
    torch.set_num_threads(threads)
    return median(seconds[1:])


def main() -> None:
    """Run the parts asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", type=Path, help="checkout of version 1.2")
    parser.add_argument("--rivals", default=sys.executable, help="Python with cipher-perturb and illico")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--networks", type=int, default=6)
    parser.add_argument("--output", type=Path, default=None)
    chosen = parser.parse_args()
    with TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        if "candidates" in chosen.parts:
            candidates(chosen.output, chosen.networks)
        if "accuracy" in chosen.parts:
            accuracy(chosen.output, chosen.before, chosen.networks, scratch)
        if "speed" in chosen.parts:
            speed(chosen.output, chosen.before, scratch)
        if "rivals" in chosen.parts:
            rivals(chosen.output, chosen.before, chosen.rivals, scratch)
        if "curve" in chosen.parts:
            curve(chosen.output, scratch)


if __name__ == "__main__":
    main()
