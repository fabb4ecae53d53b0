"""What threads save, and what they cost beside another process that keeps one core busy.

    python benchmarks/threads.py --output docs/results

A screen by the default model: with the default number of threads, with one by `n_jobs=1`, and with one by the
variables that libraries read when they start. Each in a process of its own, medians over repeats after a call
that does not count; processor seconds are those of all its threads.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

import pandas as pd

from common import machine, write_table

_ONE = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
WAYS: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "default": ({}, {}),
    "n_jobs=1": ({"n_jobs": 1}, {}),
    "variables": ({}, dict.fromkeys(_ONE, "1")),
}
"""Name -> options of `predict_targets`, variables of its process."""


def screen(groups: int, genes: int) -> Any:
    """Log-normalised cells of which all genes are candidates."""
    import scanpy as sc

    from cdn_sc.simulate import screen

    adata = screen(genes, {"knockdown": groups}, n_control=500, n_perturbed=100, seed=0)
    sc.pp.normalize_total(adata)
    sc.pp.log1p(adata)
    return adata


def score(way: str, groups: int, genes: int, repeats: int) -> tuple[float, float]:
    """Median seconds and processor seconds of a call, in this process."""
    from cdn_sc import settings
    from cdn_sc.tl import predict_targets

    settings.verbosity = "warning"
    adata, (options, _), found = screen(groups, genes), WAYS[way], []
    for _ in range(1 + repeats):
        started, computing = perf_counter(), process_time()
        predict_targets(adata, "perturbation", "control", device="cpu", **options)
        found.append((perf_counter() - started, process_time() - computing))
    return median(seconds for seconds, _ in found[1:]), median(seconds for _, seconds in found[1:])


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """So many other processes that never rest."""
    running = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def in_own_process(way: str, sizes: Sequence[int]) -> tuple[float, float]:
    """The same as `score`, in a process that starts with the way's variables and no others of the kind."""
    environment = {name: value for name, value in os.environ.items() if name not in _ONE} | WAYS[way][1]
    command = [sys.executable, __file__, "--way", way]
    for name, size in zip(("groups", "genes", "repeats"), sizes, strict=True):
        command += [f"--{name}", str(size)]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    seconds, computing = json.loads(done.stdout.splitlines()[-1])
    return seconds, computing


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--groups", type=int, default=20)
    parser.add_argument("--genes", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--busy", type=int, nargs="+", default=[0, 1], help="numbers of other processes")
    parser.add_argument("--way", choices=WAYS, help="measure this one alone, in this process")
    parser.add_argument("--output", type=Path, help="folder for threads.csv and threads.md")
    options = parser.parse_args(arguments)
    sizes = options.groups, options.genes, options.repeats
    if options.way:
        print(json.dumps(score(options.way, *sizes)))
        return
    rows = []
    for others in options.busy:
        with busy(others):
            times = {way: in_own_process(way, sizes) for way in WAYS}
        rows += [
            {
                "busy processes": others,
                "threads": way,
                "seconds": seconds,
                "processor seconds": computing,
                "/ n_jobs=1": seconds / times["n_jobs=1"][0],
            }
            for way, (seconds, computing) in times.items()
        ]
    note = f"{options.groups} groups of {options.genes} genes. {machine()}."
    write_table("threads", pd.DataFrame(rows), note, options.output)


if __name__ == "__main__":
    main()
