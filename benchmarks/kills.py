"""Kill predictions, trainings, evaluations and fine-tunings at random moments, and look what is left.

Each work is done once undisturbed; then, so many times, by a process that is killed (signal 9) at a moment
drawn evenly over its time, and done again by another one in the same folder. What must hold: after the kill
every result is absent or whole; after the second run it is that of the undisturbed one, to the bit.

    python benchmarks/kills.py --kills 20 --output docs/results
"""

import argparse
import hashlib
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

from common import machine, write_table

# threads of OpenMP, which scanpy starts below, do not survive a fork
os.environ["OMP_NUM_THREADS"] = "1"

CONFIG = """
name = "small"
steps = 12
genes_per_batch = 60
validate_every = 4
checkpoint_every = 2
validation_pairs = 4
[network]
architecture = "gene_transformer"
layers = 1
[[sources]]
type = "scm"
options = { genes = [6, 10], n_control = [60, 100], n_perturbed = [60, 100] }
"""


def command(*arguments: object) -> None:
    """Run the command line in this process."""
    from cdn_sc.cli import main

    sys.argv = ["cdn-sc", *map(str, arguments)]
    try:
        main()
    except SystemExit as ended:
        if ended.code:
            raise


def predict(folder: Path, screen: Path) -> None:
    """Write a result and its table over older ones."""
    options = ["--groupby", "perturbation", "--control", "control", "--n-jobs", 1, "-q"]
    command("predict", screen, *options, "-o", folder / "out.h5ad", "--table", folder / "out.csv")


def train(folder: Path, screen: Path) -> None:
    """Train a small network, or go on with it."""
    config = folder / "small.toml"
    config.write_text(CONFIG)
    command("train", "--config", config, "--output", folder / "run", "-q", "--threads", 1)


def evaluate(folder: Path, screen: Path) -> None:
    """Score pairs of a suite, or those that are left."""
    sizes = ["--genes", 10, "--n-datasets", 1, "--n-cells", 100, "--limit", 30, "--n-bootstrap", 20]
    command("evaluate", "--suite", "scm240", *sizes, "--output", folder / "tables", "-q")


def fine_tune(folder: Path, screen: Path) -> None:
    """Fine-tune on the screen, or go on with it."""
    import anndata

    import cdn_sc

    adata = anndata.read_h5ad(screen)
    targets = {group: genes.tolist() for group, genes in adata.uns["targets"].items()}
    cdn_sc.tl.fine_tune(
        adata, "perturbation", "control", targets=targets, epochs=3, folder=folder / "tuned", progress=False
    )


RESULTS: dict[Callable[[Path, Path], None], tuple[str, ...]] = {
    predict: ("out.csv", "out.h5ad"),
    train: ("run/log.csv", "run/small.safetensors"),
    evaluate: ("tables/summary.csv", "tables/per_group.csv"),
    fine_tune: ("tuned/log.csv", "tuned/fine-tuned.safetensors"),
}


def content(path: Path) -> str:
    """Digest of what a file says, without seconds; of an h5ad file its result alone."""
    if not path.exists():
        return "absent"
    if path.suffix == ".csv":
        table = pd.read_csv(path)
        table = table.drop(columns=[name for name in table if "seconds" in name])
        return hashlib.sha256(table.to_csv().encode()).hexdigest()
    if path.suffix == ".safetensors":
        from safetensors.numpy import load_file

        tensors = load_file(path)
        return hashlib.sha256(b"".join(tensors[name].tobytes() for name in sorted(tensors))).hexdigest()
    import anndata

    return hashlib.sha256(anndata.read_h5ad(path).uns["cdn_targets"]["table"].to_csv().encode()).hexdigest()


def in_child(work: Callable[[Path, Path], None], folder: Path, screen: Path, after: float | None) -> int:
    """Do the work in another process, killed after so many seconds; returns how it ended."""
    child = os.fork()
    if not child:
        code = 1
        try:
            for stream in (1, 2):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
            work(folder, screen)
            code = 0
        except BaseException:
            (screen.parent / "errors.txt").open("a").write(f"{work.__name__}: {traceback.format_exc()}\n")
        finally:
            os._exit(code)
    if after is not None:
        time.sleep(after)
        os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]


def main() -> None:
    """Kill and count."""
    parser = argparse.ArgumentParser(description="Kills at random moments.")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--work", action="append", choices=[work.__name__ for work in RESULTS])
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()

    import scanpy as sc

    import cdn_sc

    cdn_sc.settings.verbosity = "error"
    rng, rows = np.random.default_rng(0), []
    with TemporaryDirectory() as temporary:
        base = Path(temporary)
        adata = cdn_sc.simulate.screen(60, {"knockdown": 6}, n_control=150, n_perturbed=40)
        sc.pp.normalize_total(adata)
        sc.pp.log1p(adata)
        adata.write_h5ad(base / "screen.h5ad")
        for work, names in RESULTS.items():
            if arguments.work and work.__name__ not in arguments.work:
                continue
            whole = base / f"{work.__name__}-whole"
            whole.mkdir()
            in_child(work, whole, base / "screen.h5ad", None)  # compiles what there is to compile
            for path in whole.rglob("*"):
                if path.is_file() and path.suffix != ".toml":
                    path.unlink()
            started = time.perf_counter()
            assert in_child(work, whole, base / "screen.h5ad", None) == 0
            seconds = time.perf_counter() - started
            right = [content(whole / name) for name in names]
            killed = odd = wrong = failed = 0
            for turn in range(arguments.kills):
                folder = base / f"{work.__name__}-{turn}"
                folder.mkdir()
                status = in_child(work, folder, base / "screen.h5ad", float(rng.uniform(0, seconds)))
                killed += os.WIFSIGNALED(status)
                for name, whole_one in zip(names, right, strict=True):
                    try:
                        found = content(folder / name)
                    except Exception:  # a file that cannot be read is what is counted
                        found = "broken"
                    odd += found not in ("absent", whole_one) and not name.endswith("log.csv")
                failed += in_child(work, folder, base / "screen.h5ad", None) != 0
                wrong += [content(folder / name) for name in names] != right
            rows.append(
                {
                    "work": work.__name__, "seconds": seconds, "killed": killed, "broken results": odd,
                    "second run failed": failed, "other result than undisturbed": wrong,
                }
            )  # fmt: skip
        errors = base / "errors.txt"
        if errors.exists():
            print(errors.read_text(), file=sys.stderr)
    write_table("kills", pd.DataFrame(rows), machine(), arguments.output)


if __name__ == "__main__":
    main()
