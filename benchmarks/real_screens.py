"""Find the known targets of real screens with `predict_targets`, next to the simple rivals.

    python benchmarks/real_screens.py --data ../shared/data --output results/real
    python benchmarks/real_screens.py --screen mine.h5ad:knockdown --model default --tell-kind

Every screen is an h5ad file with raw counts in `X`, `obs["perturbation"]` with `control`, and
`uns["target_in_var"]` (label -> measured target gene, "" where it is not measured). Counts are normalised to
the median total and logged first. Rivals rank the candidate genes that `predict_targets` chose.

Writes `per_group.csv`, `summary.csv`, `real.md` (accuracy), `speed.csv` and `real_speed.md` (seconds a group,
peak memory of the process during the call, and what it held before).
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd

from cdn_sc import metrics, models, settings, tl
from cdn_sc.cli._threads import limit_threads
from cdn_sc.metrics.ranking import score_ranks
from cdn_sc.metrics.summary import to_markdown
from common import machine, markdown, peak_memory, reset_peak_memory

KNOWN = {"papalexi2021_thp1": "knockout", "gasperini2019_k562_igvf": "knockdown"}
SHOWN = ("recall_at_1", "recall_at_5", "normalised_rank", "reciprocal_rank")


def read_screen(path: Path) -> Any:
    """Read a screen and normalise it, without the cells that carry several perturbations."""
    import scanpy as sc

    adata = sc.read_h5ad(path)
    adata = adata[adata.obs["perturbation"].astype(str) != "multi"].copy()
    sc.pp.normalize_total(adata)
    sc.pp.log1p(adata)
    return adata


def rival_tables(
    adata: Any, table: pd.DataFrame, truth: dict[str, str], seed: int
) -> dict[str, pd.DataFrame]:
    """Rank the candidates of each group with a known target by each rival, in the layout of `table`."""
    labels = adata.obs["perturbation"].astype(str).to_numpy()
    parts: dict[str, list[pd.DataFrame]] = {}
    for number, (group, rows) in enumerate(table.groupby("group", observed=True, sort=False)):
        if group not in truth:
            continue
        columns = adata.var_names.get_indexer(rows["gene"].astype(str))
        control, perturbed = (
            _dense(adata.X[np.flatnonzero(labels == label)][:, columns]) for label in ("control", group)
        )
        rng = np.random.default_rng([seed, number])
        tie_break = rng.permutation(len(columns))
        for name, scores in metrics.rivals(control, perturbed, rng=rng).items():
            parts.setdefault(name, []).append(rows.assign(rank=score_ranks(scores, tie_break)))
    return {name: pd.concat(tables) for name, tables in parts.items()}


def _dense(values: Any) -> np.ndarray:
    return np.asarray(values.toarray() if hasattr(values, "toarray") else values, dtype=np.float32)


def score_screen(
    path: Path, kind: str, model_names: Sequence[str], tell_kind: bool, device: str, seed: int
) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    """Metrics of every group and method on one screen, and the cost of each model."""
    adata = read_screen(path)
    truth = {
        str(group): str(target)
        for group, target in adata.uns["target_in_var"].items()
        if target in adata.var_names
    }
    tables, costs = {}, []
    for name in model_names:
        network: Any = models.load(name, device=device)
        label = network.card["name"]
        if label in tables:
            label = name
        # compiles and warms up, so that the timed call measures the work alone
        options: dict[str, Any] = {"model": network, "device": device, "rng": seed, "progress": False}
        options["kind"] = kind if tell_kind else None
        tl.predict_targets(adata, "perturbation", "control", groups=[next(iter(truth))], **options)
        reset_peak_memory()
        before, started = peak_memory(), perf_counter()
        tl.predict_targets(adata, "perturbation", "control", **options)
        seconds = perf_counter() - started
        table = adata.uns["cdn_targets"]["table"]
        n_groups = table["group"].nunique()
        tables[label] = table
        costs.append(
            {
                "screen": path.stem,
                "model": label,
                "cells": adata.n_obs,
                "genes": adata.n_vars,
                "groups": n_groups,
                "seconds a group": seconds / n_groups,
                "peak memory, MiB": round(peak_memory()),
                "before the call, MiB": round(before),
            }
        )
    tables |= rival_tables(adata, table, truth, seed)
    parts = []
    for method, ranked in tables.items():
        # labels of the truth that were skipped are reported by a warning of target_metrics
        parts.append(metrics.target_metrics(ranked, truth).assign(method=method))
    rows = pd.concat(parts, ignore_index=True)
    rows["target"] = rows["group"].astype(str).map(truth)
    rows.insert(0, "screen", path.stem)
    return rows, costs


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the evaluation that the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, help=f"folder with {', '.join(f'{name}.h5ad' for name in KNOWN)}"
    )
    parser.add_argument("--screen", action="append", default=[], metavar="FILE:KIND", help="a further screen")
    parser.add_argument(
        "--model", action="append", help="name or file; repeat for several (default: default)"
    )
    parser.add_argument("--tell-kind", action="store_true", help="tell the models what was done")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, help="processor threads (default: all)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("results/real"), help="folder for the tables")
    options = parser.parse_args(arguments)
    screens = [(options.data / f"{name}.h5ad", kind) for name, kind in KNOWN.items()] if options.data else []
    for screen in options.screen:
        path, _, kind = screen.rpartition(":")
        screens.append((Path(path), kind))
    if not screens:
        parser.error("give --data, --screen or both")
    missing = [str(path) for path, _ in screens if not path.is_file()]
    if missing:
        parser.error(f"no such file: {', '.join(missing)}")
    settings.verbosity = "warning"
    if options.threads is not None:
        limit_threads(options.threads)

    parts, costs = [], []
    for path, kind in screens:
        rows, cost = score_screen(
            path, kind, options.model or ["default"], options.tell_kind, options.device, options.seed
        )
        parts.append(rows)
        costs += cost
    per_group = pd.concat(parts, ignore_index=True)
    summary = metrics.summarise(per_group, ["screen", "method"], seed=options.seed)
    told = "told" if options.tell_kind else "not told"
    accuracy = f"Models are {told} the kind of perturbation.\n\n" + to_markdown(
        summary, metrics=SHOWN, index=["screen", "method"]
    )
    speed = f"{markdown(pd.DataFrame(costs))}\n{machine()}\n"

    options.output.mkdir(parents=True, exist_ok=True)
    per_group.to_csv(options.output / "per_group.csv", index=False)
    summary.to_csv(options.output / "summary.csv", index=False)
    pd.DataFrame(costs).to_csv(options.output / "speed.csv", index=False)
    (options.output / "real.md").write_text(accuracy, encoding="utf-8")
    (options.output / "real_speed.md").write_text(speed, encoding="utf-8")
    print(accuracy, speed, sep="\n")


if __name__ == "__main__":
    main()
