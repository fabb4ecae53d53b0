"""Where the time of a prediction goes: by stage of the published network, and by kind of operation.

    python benchmarks/profile_prediction.py --genes 100 300 1000 --output docs/results

One group against 2,000 control cells by `predict_targets`. Stages are timed from outside: the functions of
`cdn_sc.graphs`, the update of the pair stream, and the modules of the network by hooks; what they do not name
(reading cells, candidate genes, tests, embeddings, exchange between the streams, the result) is `rest`.
Operations are those of torch's profiler, by the time spent in themselves.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any
from unittest import mock

import pandas as pd
import torch
from torch.profiler import ProfilerActivity, profile

from cdn_sc import models, settings, tl
from cdn_sc.graphs import arm
from cdn_sc.nn.distinct_pairs import DistinctPairs
from common import machine, write_table
from speed import simulate

STAGES = {
    "sampling": ("sample_arm",),
    "local graphs": ("estimate", "inputs_from_graphs"),
    "pair stream": ("update",),
    "matrix stream": ("feat_layer",),
    "comparison": ("axial_N_N_d2",),
}
"""Stage -> functions of `cdn_sc.graphs.arm`, methods of `DistinctPairs`, or modules of the network by the
last part of their names."""

OPERATIONS = {
    "matrix products": ("mm", "addmm", "bmm", "baddbmm", "matmul", "linear", "_scaled_dot"),
    "softmax": ("softmax",),
    "layer norm": ("layer_norm",),
    "GELU": ("gelu",),
    "sums and scaling": ("add", "sub", "mul", "div", "sum", "mean", "masked"),
    "copies": ("copy", "clone", "contiguous", "cat", "index", "gather", "fill", "zero", "empty", "pad"),
}
"""Kind -> parts of the names of torch's operations, the first that fits."""


class Stopwatch:
    """Adds up the seconds spent in functions and modules."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(STAGES, 0.0)
        self._started: list[float] = []

    def timed(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, its time noted."""

        def call(*arguments: Any, **options: Any) -> Any:
            started = perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                self.seconds[stage] += perf_counter() - started

        return call

    def watch(self, stage: str, module: torch.nn.Module) -> Iterator[Any]:
        """Hooks that note the time of a module."""
        yield module.register_forward_pre_hook(lambda *_: self._started.append(perf_counter()))
        yield module.register_forward_hook(lambda *_: self._stop(stage))

    def _stop(self, stage: str) -> None:
        self.seconds[stage] += perf_counter() - self._started.pop()


@contextmanager
def stopwatch(network: torch.nn.Module) -> Iterator[Stopwatch]:
    """Watch the stages for a while."""
    watch = Stopwatch()
    with ExitStack() as stack:
        for stage, names in STAGES.items():
            for name in names:
                for place in (arm, DistinctPairs):
                    if hasattr(place, name):
                        timed = watch.timed(stage, getattr(place, name))
                        stack.enter_context(mock.patch.object(place, name, timed))
            for name, module in network.named_modules():
                if name.rsplit(".", 1)[-1] in names:
                    for hook in watch.watch(stage, module):
                        stack.callback(hook.remove)
        yield watch


def operations(call: Callable[[], object]) -> dict[str, float]:
    """Seconds of each kind of operation in a call."""
    with profile(activities=[ProfilerActivity.CPU]) as found:
        call()
    seconds = dict.fromkeys([*OPERATIONS, "other operations"], 0.0)
    for event in found.key_averages():
        if event.key.startswith("aten::"):
            name = event.key.removeprefix("aten::")
            kinds = (kind for kind, parts in OPERATIONS.items() if any(part in name for part in parts))
            seconds[next(kinds, "other operations")] += event.self_cpu_time_total / 1e6
    return seconds


def measure(n_genes: int, model: str, repeats: int) -> tuple[dict[str, object], dict[str, object]]:
    """A row of each table: shares of stages, and of operations."""
    network: Any = models.load(model)
    adata = simulate(n_genes, 1)

    def predict() -> None:
        tl.predict_targets(
            adata, "perturbation", "control", groups=["group_0"], model=network, device="cpu", progress=False
        )

    if n_genes <= 300:  # beyond, a call is far longer than what a first one does more
        predict()
    runs: list[tuple[float, dict[str, float]]] = []

    def watched() -> None:
        with stopwatch(network) as watch:
            started = perf_counter()
            predict()
            runs.append((perf_counter() - started, watch.seconds))

    for _ in range(repeats - 1):
        watched()
    found = operations(watched)
    seconds, stages = sorted(runs, key=lambda run: run[0])[len(runs) // 2]
    shares = {stage: spent / seconds for stage, spent in stages.items()}
    by_stage = {"genes": n_genes, "seconds": seconds, **shares, "rest": 1 - sum(shares.values())}
    total = sum(found.values())
    by_operation = {"genes": n_genes, "seconds in torch": total}
    return by_stage, by_operation | {kind: spent / total for kind, spent in found.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark and write the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--genes", type=int, nargs="+", default=[100, 300, 1000])
    parser.add_argument("--model", default="cdn-scm", help="weights of the published architecture")
    parser.add_argument("--repeats", type=int, default=1, help="calls; the median one is shown")
    parser.add_argument("--output", type=Path, help="folder for profile_stages and profile_operations")
    options = parser.parse_args(arguments)
    settings.verbosity = "error"
    rows = [measure(n, options.model, options.repeats) for n in options.genes]
    note = f"Shares of the time of one group, {options.model}. {machine()}."
    write_table("profile_stages", pd.DataFrame([stages for stages, _ in rows]), note, options.output)
    write_table("profile_operations", pd.DataFrame([found for _, found in rows]), note, options.output)


if __name__ == "__main__":
    main()
