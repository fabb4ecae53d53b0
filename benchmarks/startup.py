"""Time to the first prediction in a fresh process: compiled kernels cached, not cached, and not cacheable.

    python benchmarks/startup.py --repeats 3 --output docs/results

Each run is a process of its own that imports the package, reads the demo screen (`cdn-sc demo`) from a file,
and predicts the targets of one group and then of all. `processor s` is the processor time up to the first
prediction, the start of Python included. The caches of compiled functions (numba):

- `warm`: filled by an earlier process, as from the second use on;
- `cold`: an empty folder, as at the first use after installing;
- `unwritable`: a copy of the package, the user's cache folder and `NUMBA_CACHE_DIR` where nothing can be
  written, as in a read-only container: every process compiles for itself.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import pandas as pd

import cdn_sc
from cdn_sc import datasets
from common import machine, write_table

CODE = """
import json, sys, time
started = time.perf_counter()
import cdn_sc
imported = time.perf_counter()
import anndata
adata = anndata.read_h5ad(sys.argv[1])
read = time.perf_counter()
groups = sorted(set(adata.obs["perturbation"]) - {"control"})
options = dict(groupby="perturbation", control="control", model=sys.argv[2], device="cpu", progress=False)
cdn_sc.tl.predict_targets(adata, groups=groups[:1], **options)
first, used = time.perf_counter(), time.process_time()
cdn_sc.tl.predict_targets(adata, **options)
after = time.perf_counter() - first
print(json.dumps([imported - started, read - imported, first - read, after, used, cdn_sc.__file__]))
"""
NOWHERE = "/dev/null/none"
"""A folder that nobody can make, an administrator included."""


def write_demo(path: Path) -> None:
    """The demo screen, log-normalised."""
    adata = datasets.simulated_screen()
    total = adata.X.sum(axis=1)
    adata.X = adata.X.multiply(total.mean() / total).tocsr().log1p()
    adata.write_h5ad(path)


def copy_without_caches(folder: Path) -> None:
    """Copy the package so that no cache can be written beside its files."""
    source = Path(cdn_sc.__file__).parent
    shutil.copytree(source, folder / "cdn_sc", ignore=shutil.ignore_patterns("__pycache__"))
    packages = [path.parent for path in (folder / "cdn_sc").rglob("*.py")]
    for package in set(packages):
        # a file where a folder would have to be: mere permissions do not stop an administrator
        (package / "__pycache__").touch()


def environment(cache: str, folder: Path) -> dict[str, str]:
    """Variables of a process with one of the states of the caches."""
    found = dict(os.environ)
    if cache == "unwritable":
        if not (folder / "copy").exists():
            copy_without_caches(folder / "copy")
        return found | {
            "PYTHONPATH": str(folder / "copy"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "NUMBA_CACHE_DIR": NOWHERE,
            "XDG_CACHE_HOME": NOWHERE,
        }
    filled = folder / "cache"
    if cache == "cold":
        shutil.rmtree(filled, ignore_errors=True)
        filled.mkdir()
    return found | {"NUMBA_CACHE_DIR": str(filled)}


def measure(cache: str, model: str, repeats: int, folder: Path) -> dict[str, object]:
    """One row of the table: medians over processes."""
    times = []
    for _ in range(repeats):
        run = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", CODE, str(folder / "demo.h5ad"), model],
            env=environment(cache, folder),
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
        )
        *seconds, processor, used = json.loads(run.stdout)
        if cache == "unwritable" and not used.startswith(str(folder)):
            raise RuntimeError(f"the package was imported from {used}, not from the copy without caches")
        times.append([*seconds, sum(seconds[:3]), processor])
    names = (
        "import s",
        "read file s",
        "first group s",
        "all groups s",
        "to first prediction s",
        "processor s",
    )
    medians = (median(column) for column in zip(*times, strict=True))
    return {"model": model, "compiled functions": cache} | dict(zip(names, medians, strict=True))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", default=["default", "cdn-scm"])
    # cold before warm: the first fills the caches for the second
    states = ("cold", "warm", "unwritable")
    parser.add_argument("--caches", nargs="+", choices=states, default=list(states))
    parser.add_argument("--repeats", type=int, default=3, help="processes of each kind (default: 3)")
    parser.add_argument("--output", type=Path, help="folder for startup.csv and startup.md")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_demo(folder / "demo.h5ad")
        rows = [
            measure(cache, model, options.repeats, folder)
            for model in options.models
            for cache in options.caches
        ]
    note = f"Median of {options.repeats} processes. {machine()}."
    write_table("startup", pd.DataFrame(rows), note, options.output)


if __name__ == "__main__":
    main()
