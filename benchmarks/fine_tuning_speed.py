"""Time and peak memory of one epoch of fine-tuning.

    python benchmarks/fine_tuning_speed.py --threads 1 --output results
    python benchmarks/fine_tuning_speed.py --case cdn-screens:500:2

A case is a model, a number of genes and a number of groups to learn from; each runs in a process of its own,
on a simulated screen. Validation is left out; compiled functions are warm. Processor seconds say more than
seconds where other work runs on the machine. Writes `fine_tuning_speed.csv` and `fine_tuning_speed.md`.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import pandas as pd

from cdn_sc import models, settings, simulate, tl
from cdn_sc.cli._threads import limit_threads
from common import machine, markdown, peak_memory, reset_peak_memory

CASES = ("default:100:20", "default:500:10", "cdn-screens:100:4", "cdn-screens:500:1")


def screen(genes: int, groups: int) -> Any:
    """Simulate and normalise a screen, 1000 control cells and 100 a group."""
    import scanpy as sc

    adata = simulate.screen(genes, {"knockdown": groups}, n_control=1000, n_perturbed=100)
    sc.pp.filter_cells(adata, min_counts=1)
    sc.pp.normalize_total(adata)
    sc.pp.log1p(adata)
    return adata


def epoch(adata: Any, model: Any, batch_size: int, device: str) -> None:
    """Fine-tune for one epoch on all groups."""
    tl.fine_tune(
        adata,
        "perturbation",
        "control",
        targets=adata.uns["targets"],
        model=model,
        validation=0,
        epochs=1,
        batch_size=batch_size,
        device=device,
        progress=False,
    )


def measure(case: str, batch_size: int, device: str) -> dict[str, Any]:
    """Cost of one epoch of a case, in this process."""
    model, genes, groups = case.rsplit(":", 2)
    network: Any = models.load(model, device=device)
    epoch(screen(30, 2), network, batch_size, device)  # compiles
    adata = screen(int(genes), int(groups))
    reset_peak_memory()
    before, started, started_cpu = peak_memory(), perf_counter(), process_time()
    epoch(adata, network, batch_size, device)
    seconds, cpu_seconds = perf_counter() - started, process_time() - started_cpu
    return {
        "model": network.card["name"],
        "genes": int(genes),
        "groups": int(groups),
        "batch": batch_size,
        "device": device,
        "seconds an epoch": round(seconds, 1),
        "seconds a group": round(seconds / int(groups), 2),
        "processor seconds a group": round(cpu_seconds / int(groups), 2),
        "peak memory, MiB": round(peak_memory()),
        "before the call, MiB": round(before),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--case", action="append", help=f"MODEL:GENES:GROUPS (default: {' '.join(CASES)})")
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, help="processor threads (default: all)")
    parser.add_argument("--note", default="", help="a sentence on the machine, for the table")
    parser.add_argument("--output", type=Path, default=Path("results"), help="folder")
    parser.add_argument("--single", metavar="CASE", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    settings.verbosity = "warning"
    if options.threads is not None:
        limit_threads(options.threads)
    if options.single:
        print(json.dumps(measure(options.single, options.batch_size, options.device)))
        return
    rows = []
    passed = ["--batch-size", str(options.batch_size), "--device", options.device]
    passed += [] if options.threads is None else ["--threads", str(options.threads)]
    for case in options.case or CASES:
        command = [sys.executable, __file__, "--single", case, *passed]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        rows.append(json.loads(done.stdout.splitlines()[-1]))
        print(rows[-1], flush=True)
    options.output.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame(rows)
    table.to_csv(options.output / "fine_tuning_speed.csv", index=False)
    text = f"{markdown(table)}\n{machine()}. {options.note}".strip() + "\n"
    (options.output / "fine_tuning_speed.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
