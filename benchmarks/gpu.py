"""A screen on an accelerator: milliseconds a group in steady state, and how far that is from its products.

    python benchmarks/gpu.py --device cuda --genes 1000 4000 8000 --groups 400 --jobs 8 --output .
    python benchmarks/gpu.py --device cuda --model cdn-scm --genes 1000 --output .

First table: `predict_targets` on simulated cells (2,000 control, 200 a group), all included, and the largest
difference of a score from that on the CPU, for a few groups. Its time for --groups groups less that for a
few, per further group, is the steady state; from both follows the time for 10,000 groups. Second table, of
the published architecture alone: tied attention of the encoder and of the comparison, projections included.
Its share is the time that its matrix products would take at the rates measured in the same run (bfloat16:
queries, keys and logits at that of tf32), over its time. Rates are those of one large product, and of the
products of attention themselves. Runs on a CPU too, with smaller numbers.
"""

import argparse
import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import pandas as pd
import torch

import speed
from cdn_sc import models, settings, tl
from cdn_sc.nn.precision import in_bfloat16, matrix_products
from common import machine, markdown, peak_memory, reset_peak_memory

FEW, MANY = 4, 10_000
TYPES = {"float32": torch.float32, "tf32": torch.float32, "bfloat16": torch.bfloat16}


class Device:
    """A device, and how to time and weigh what it does."""

    def __init__(self, name: str) -> None:
        self.name, self.on_cuda = name, name.startswith("cuda")

    def seconds(self, call: Callable[[], object], repeats: int) -> float:
        """Median time of a call, after one that warms up."""
        times = []
        for repeat in range(repeats + 1):
            started = perf_counter()
            call()
            if self.on_cuda:
                torch.cuda.synchronize(self.name)
            if repeat:
                times.append(perf_counter() - started)
        return median(times)

    def peak(self, call: Callable[[], object]) -> float:
        """GB that a call takes at most: of the device, or on a CPU of the process beyond what it held."""
        if self.on_cuda:
            torch.cuda.reset_peak_memory_stats(self.name)
            call()
            return torch.cuda.max_memory_allocated(self.name) / 2**30
        reset_peak_memory()
        before = peak_memory()
        call()
        return (peak_memory() - before) / 1024

    def description(self) -> str:
        """What the machine is."""
        return f"{torch.cuda.get_device_name(self.name)}; {machine()}" if self.on_cuda else machine()


def product_rates(device: Device, network: Any, n_genes: int, side: int, repeats: int) -> dict[str, Any]:
    """Operations a second for each precision: of a large product, and of the two products of attention."""
    rates: dict[str, Any] = {}
    heads, folded = network.config.heads, n_genes * network.config.channels // network.config.heads
    for precision, dtype in TYPES.items():
        square = torch.randn(side, side, device=device.name).to(dtype)
        values = torch.randn(heads, n_genes, folded, device=device.name).to(dtype)
        weights = torch.randn(heads, n_genes, n_genes, device=device.name).to(dtype)
        products: dict[str, Callable[[], Any]] = {
            "large": lambda a=square: a @ a,
            "logits": lambda v=values: v @ v.mT,
            "values": lambda w=weights, v=values: w @ v,
        }
        operations = {"large": 2 * side**3} | dict.fromkeys(
            ("logits", "values"), 2 * heads * n_genes**2 * folded
        )
        with matrix_products(precision, device.name):
            rates[precision] = {
                name: operations[name] / device.seconds(call, repeats) for name, call in products.items()
            }
    return rates


def attention(
    device: Device, network: Any, n_genes: int, precision: str, rates: dict[str, Any], repeats: int
) -> list[dict[str, object]]:
    """One row for the encoder's attention, one for that of the comparison."""
    cast = in_bfloat16(network) if precision == "bfloat16" else network
    rows = []
    for where, layer, columns in (
        ("encoder", cast.encoder.layers[0].feat_layer, n_genes),
        ("comparison", cast.axial_N_N_d2, n_genes + 1),
    ):
        channels = layer.row_attn.layer_norm.normalized_shape[0]
        grid = torch.randn(1, n_genes, columns, channels, device=device.name)

        def attend(layer: Any = layer, grid: Any = grid) -> None:
            layer.row_attn.layer(grid, "row", None, None)
            layer.col_attn.layer(grid, "column", None, None)

        with torch.inference_mode(), matrix_products(precision, device.name):
            seconds = device.seconds(attend, repeats)
        cells = n_genes * columns
        half = 2 * 2 * 2 * cells * channels**2 + 2 * cells * channels * (n_genes + columns)
        exact = "tf32" if precision == "bfloat16" else precision  # queries, keys and logits
        large, same = (
            half / rates[exact][first] + half / rates[precision][second]
            for first, second in (("large", "large"), ("logits", "values"))
        )
        rows.append(
            {
                "genes": n_genes,
                "precision": precision,
                "attention of": where,
                "ms": 1e3 * seconds,
                "TFLOP/s": 2 * half / seconds / 1e12,
                "share of large product": large / seconds,
                "share of own products": same / seconds,
            }
        )
    return rows


def screen(
    device: Device, network: Any, n_genes: int, n_groups: int, precision: str, jobs: int
) -> dict[str, object]:
    """One row: a call for a few groups, and one for all."""
    adata = speed.simulate(n_genes, n_groups)

    def predict(number: int) -> None:
        tl.predict_targets(
            adata, "perturbation", "control", groups=[f"group_{i}" for i in range(number)], model=network,
            device=device.name, precision=precision, n_jobs=jobs, progress=False,
        )  # fmt: skip

    few = device.seconds(lambda: predict(FEW), 1)
    scores = [adata.uns["cdn_targets"]["table"].set_index(["group", "gene"])["score"]]
    if device.name != "cpu":
        with_cpu = {"groups": [f"group_{i}" for i in range(FEW)], "device": "cpu", "progress": False}
        tl.predict_targets(adata, "perturbation", "control", model=copy.deepcopy(network).cpu(), **with_cpu)
        scores.append(adata.uns["cdn_targets"]["table"].set_index(["group", "gene"])["score"])
    started = perf_counter()
    memory = device.peak(lambda: predict(n_groups))
    each = (perf_counter() - started - few) / (n_groups - FEW)
    return {
        "genes": n_genes,
        "precision": precision,
        "groups": n_groups,
        "ms a group": 1e3 * each,
        "first groups s": few,
        f"{MANY:,} groups min": (few + (MANY - FEW) * each) / 60,
        "peak GB": memory,
        "largest difference from the CPU": float((scores[0] - scores[-1]).abs().max()),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark and write the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--model", default="default", help="name of a model, or file of weights")
    parser.add_argument("--genes", type=int, nargs="+", default=[1000])
    parser.add_argument("--groups", type=int, default=64)
    parser.add_argument("--precision", nargs="+", default=list(TYPES), choices=list(TYPES))
    parser.add_argument("--jobs", type=int, default=4, help="threads that make groups ready")
    parser.add_argument("--side", type=int, default=8192, help="of the large product")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path, help="folder for gpu_screen.csv, gpu_attention.csv and gpu.md")
    options = parser.parse_args(arguments)
    if options.groups <= FEW:
        parser.error(f"--groups {options.groups}: the steady state needs more than {FEW}")
    settings.verbosity = "warning"
    device = Device(options.device)
    network: Any = models.load(options.model, device=device.name)
    screens, parts, lines = [], [], []
    for n_genes in options.genes:
        rates = {}
        if network.config.architecture == "cdn":
            rates = product_rates(device, network, n_genes, options.side, options.repeats)
            listed = "; ".join(
                f"{precision} " + ", ".join(f"{name} {rate / 1e12:.3g}" for name, rate in of_type.items())
                for precision, of_type in rates.items()
            )
            lines.append(f"Rates of products at {n_genes} genes in TFLOP/s: {listed}.\n")
        for precision in options.precision:
            if rates:
                parts += attention(device, network, n_genes, precision, rates, options.repeats)
            screens.append(screen(device, network, n_genes, options.groups, precision, options.jobs))
            print(screens[-1], flush=True)
    tables = [pd.DataFrame(screens), *([pd.DataFrame(parts)] if parts else [])]
    text = "\n".join([*map(markdown, tables), *lines, f"{device.description()}.\n"])
    print(text)
    if options.output:
        options.output.mkdir(parents=True, exist_ok=True)
        for name, table in zip(("gpu_screen", "gpu_attention"), tables, strict=False):
            table.to_csv(options.output / f"{name}.csv", index=False, float_format="%.5g")
        (options.output / "gpu.md").write_text(text)


if __name__ == "__main__":
    main()
