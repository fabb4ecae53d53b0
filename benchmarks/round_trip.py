"""Write a result of many groups to h5ad and zarr, read it back, and hand some of it to scanpy.

    python benchmarks/round_trip.py --groups 10000 --genes 50 --output results/round_trip

The groups are scored by `predict_targets` on random values, so the result is the real thing in all but
meaning. Fails if anything that was read differs from what was written. Writes `round_trip.csv` and
`round_trip.md`, and scanpy's dotplot of some groups as `dotplot.png`.
"""

import argparse
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd

from cdn_sc import get, settings, tl
from common import machine, markdown


def random_screen(n_groups: int, n_genes: int, n_cells: int, seed: int) -> ad.AnnData:
    """Random log-normalised values: some control cells, and the same number of cells in every group."""
    rng = np.random.default_rng(seed)
    labels = ["control"] * 200 + [f"group_{i:05d}" for i in range(n_groups) for _ in range(n_cells)]
    values = np.log1p(rng.poisson(2.0, (len(labels), n_genes))).astype(np.float32)
    return ad.AnnData(
        values,
        obs=pd.DataFrame(
            {"perturbation": pd.Categorical(labels)}, index=[f"cell_{i}" for i in range(len(labels))]
        ),
        var=pd.DataFrame(index=[f"gene_{i:04d}" for i in range(n_genes)]),
    )


def check_equal(found: Any, expected: Any) -> None:
    """Raise AssertionError where a result that was read differs from the one that was written."""
    pd.testing.assert_frame_equal(found["table"], expected["table"])
    assert len(found["skipped"]) == len(expected["skipped"])
    assert set(found["params"]) == set(expected["params"])
    for name, value in expected["params"].items():
        assert np.array_equal(found["params"][name], value), name


def size_of(path: Path) -> float:
    """MiB of a file or a folder."""
    files = [path] if path.is_file() else [part for part in path.rglob("*") if part.is_file()]
    return sum(part.stat().st_size for part in files) / 2**20


def scanpy_reads(adata: ad.AnnData, groups: list[str], picture: Path) -> int:
    """Convert some groups, read them with scanpy's table and dotplot; returns the number of rows read."""
    import matplotlib as mpl
    import scanpy as sc

    mpl.use("Agg")
    tl.to_rank_genes_groups(adata, groups)
    table = sc.get.rank_genes_groups_df(adata, groups)
    for group in groups:
        ours = get.predicted_targets_df(adata, group)
        theirs = table[table["group"] == group]
        assert list(theirs["names"]) == list(ours["gene"])[: len(theirs)]
    few = adata[adata.obs["perturbation"].isin([*groups, "control"])].copy()
    plot = sc.pl.rank_genes_groups_dotplot(few, n_genes=3, dendrogram=False, show=False, return_fig=True)
    plot.savefig(picture, dpi=80, bbox_inches="tight")
    return len(table)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the round trips that the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--groups", type=int, default=10_000)
    parser.add_argument("--genes", type=int, default=50, help="genes, all of them candidates (default: 50)")
    parser.add_argument("--cells", type=int, default=10, help="cells of a group (default: 10)")
    parser.add_argument("--model", default="default", help="name or file of weights")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--output", type=Path, default=Path("results/round_trip"), help="folder for the tables"
    )
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    settings.verbosity = "warning"
    rows: list[dict[str, Any]] = []

    def timed(step: str, work: Callable[[], Any], path: Path | None = None) -> Any:
        started = perf_counter()
        value = work()
        size = "" if path is None else f"{size_of(path):.1f}"
        rows.append({"step": step, "seconds": perf_counter() - started, "MiB": size})
        return value

    adata = random_screen(options.groups, options.genes, options.cells, options.seed)
    timed(
        f"predict_targets, {options.groups} groups of {options.cells} cells, {options.genes} genes",
        lambda: tl.predict_targets(adata, "perturbation", "control", model=options.model, device="cpu"),
    )
    expected = adata.uns["cdn_targets"]
    assert expected["table"]["group"].nunique() == options.groups
    with tempfile.TemporaryDirectory() as folder:
        h5ad, zarr = Path(folder) / "result.h5ad", Path(folder) / "result.zarr"
        timed("write h5ad", lambda: adata.write_h5ad(h5ad), h5ad)
        check_equal(timed("read h5ad", lambda: ad.read_h5ad(h5ad)).uns["cdn_targets"], expected)
        timed("write zarr", lambda: adata.write_zarr(zarr), zarr)
        back = timed("read zarr", lambda: ad.read_zarr(zarr))
        check_equal(back.uns["cdn_targets"], expected)
    chosen = list(expected["table"]["group"].cat.categories[:: max(options.groups // 4, 1)][:4])
    timed(
        f"scanpy: rank_genes_groups_df and dotplot of {len(chosen)} groups",
        lambda: scanpy_reads(back, chosen, options.output / "dotplot.png"),
    )
    table = pd.DataFrame(rows)
    table.to_csv(options.output / "round_trip.csv", index=False)
    text = (
        f"{len(expected['table'])} rows; what was read equals what was written.\n\n"
        f"{markdown(table)}\n{machine()}\n"
    )
    (options.output / "round_trip.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
