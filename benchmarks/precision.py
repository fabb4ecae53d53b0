"""What lower precision does to rankings, accuracy and time, and where it is safe.

    python benchmarks/precision.py --genes 20:40 100:20 300:4 --output docs/results

Pairs that neither training nor a suite draws (seed space "test"): structural causal models for `cdn-scm`,
screens for `cdn-screens` and the gene transformer. `N:pairs` says how many pairs of N genes. Every variant
scores the very same inputs as float32 does; its ranking is compared with that of float32 (Kendall's tau, the
share of float32's first ten genes among its own, largest difference of a logit), its accuracy is the mean
average precision. Processor seconds are those of the network alone (all threads, median over pairs), of
variants that run in their own types; the others compute in float32 and round the factors of their products.
Rows that the CSV holds are not computed again.
"""

import argparse
import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.stats import kendalltau
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from cdn_sc import models, settings, simulate
from cdn_sc.metrics.ranking import rank_metrics, score_ranks
from cdn_sc.nn.axial import TiedAttention
from cdn_sc.nn.precision import in_bfloat16
from cdn_sc.predictors import Predictor
from cdn_sc.simulate import Pair
from cdn_sc.simulate.scm import seeded_rng
from common import machine, markdown

BFLOAT16, TF32 = 7, 10  # bits of the mantissa that are stored
_PRODUCTS = (torch.bmm, torch.matmul, torch.Tensor.matmul, torch.Tensor.__matmul__, F.linear)
_ROUNDED = (*_PRODUCTS, F.scaled_dot_product_attention)
COLUMNS = ("model", "genes", "pairs", "variant", "tau", "top 10", "mAP", "float32 mAP", "largest difference")
TIMES = ("processor seconds", "float32 / this")


def round_to(values: Tensor, bits: int) -> Tensor:
    """Float32 values rounded to so many bits of the mantissa."""
    dropped = 23 - bits
    whole = values.contiguous().view(torch.int32)
    half = (1 << (dropped - 1)) - 1 + ((whole >> dropped) & 1)  # ties to even
    return ((whole + half) & ~((1 << dropped) - 1)).view(torch.float32)


class RoundedProducts(TorchFunctionMode):
    """Within it, matrix products round their factors and sum in float32, as units of lower precision do."""

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.bits = bits

    def __torch_function__(self, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        """Round the first two tensors of a product (the third is a bias, or the values of attention)."""
        if function in _ROUNDED and arguments[0].dtype == torch.float32:
            number = 3 if function is F.scaled_dot_product_attention else 2
            rounded = [round_to(each, self.bits) for each in arguments[:number]]
            arguments = (*rounded, *arguments[number:])
        return function(*arguments, **(options or {}))


@contextmanager
def logits_in(bits: int, *, rounded: bool) -> Iterator[None]:
    """Within it, tied attention rounds queries, keys and the factors they come from, or also the logits."""
    logits = TiedAttention.logits

    def lower(self: TiedAttention, *arguments: Any) -> Tensor:
        with RoundedProducts(bits):
            found = logits(self, *arguments)
        return round_to(found, bits) if rounded else found

    TiedAttention.logits = lower  # type: ignore[method-assign]
    try:
        yield
    finally:
        TiedAttention.logits = logits  # type: ignore[method-assign]


@dataclass(frozen=True)
class Variant:
    """Which weights are cast, what is rounded on top, and whether its time is that of its own types."""

    cast: Callable[[nn.Module], nn.Module]
    within: Callable[[], AbstractContextManager[Any]] = nullcontext
    timed: bool = True
    precision: str = "float32"


def all_bfloat16(network: nn.Module) -> nn.Module:
    """A copy with every weight, and so every result, in bfloat16."""
    return copy.deepcopy(network).to(torch.bfloat16)


PUBLISHED = {
    "bfloat16": Variant(in_bfloat16, precision="bfloat16"),
    "bfloat16 on CUDA (rest tf32)": Variant(in_bfloat16, lambda: RoundedProducts(TF32), timed=False),
    "and queries, keys": Variant(in_bfloat16, lambda: logits_in(BFLOAT16, rounded=False), timed=False),
    "and logits": Variant(in_bfloat16, lambda: logits_in(BFLOAT16, rounded=True), timed=False),
    "everything bfloat16": Variant(all_bfloat16),
    "queries, keys alone": Variant(copy.copy, lambda: logits_in(BFLOAT16, rounded=False), timed=False),
    "tf32 (rounded factors)": Variant(copy.copy, lambda: RoundedProducts(TF32), timed=False),
}
OWN = {
    "bfloat16": Variant(in_bfloat16, precision="bfloat16"),
    "tf32 (rounded factors)": Variant(copy.copy, lambda: RoundedProducts(TF32), timed=False),
}


def draw_pairs(kind: str, n_genes: int, number: int) -> list[Pair]:
    """Pairs of a model's own sort."""
    rng = seeded_rng("test", "precision", kind, n_genes)
    if kind == "scm":
        cells = {"n_control": (1000, 1000), "n_perturbed": (300, 300)}
        return [simulate.scm_pair(rng, n_genes=(n_genes, n_genes), **cells) for _ in range(number)]
    groups = min(number, 10)
    networks = -(-number // groups)
    cells = {"n_control": 1000, "n_perturbed": (100, 300)}
    return [
        pair
        for _ in range(networks)
        for pair in simulate.screen_pairs(rng, n_genes=n_genes, n_groups=groups, **cells)
    ][:number]


def score(predictor: Predictor, comparisons: Sequence[Any]) -> tuple[list[np.ndarray], float]:
    """Logits of each comparison, and the median seconds of a network call."""
    logits, times = [], []
    for comparison in comparisons:
        started = process_time()
        (prediction,) = predictor.launch([comparison]).fetch()
        times.append(process_time() - started)
        logits.append(prediction.logits)
    return logits, float(np.median(times))


def average_precision(logits: np.ndarray, targets: np.ndarray) -> float:
    """Of one ranking."""
    ranks = score_ranks(logits, np.arange(len(logits)))
    return rank_metrics(ranks[targets], len(logits))["average_precision"]


def measure(model: str, n_genes: int, number: int, names: Sequence[str]) -> Iterator[dict[str, object]]:
    """One row for each variant."""
    network: Any = models.load(model)
    kind = "scm" if "scm" in model else "screens"
    variants = OWN if network.config.architecture == "gene_transformer" else PUBLISHED
    variants = {name: variant for name, variant in variants.items() if name in names}
    if not variants:
        return
    pairs = draw_pairs(kind, n_genes, number)
    plain = Predictor(network, columns=False)
    comparisons = [
        plain.prepare(pair.control, pair.perturbed, rng=seeded_rng("test", "precision", n_genes, index))
        for index, pair in enumerate(pairs)
    ]
    expected, plain_seconds = score(plain, comparisons)
    accuracy = [average_precision(each, pair.targets) for each, pair in zip(expected, pairs, strict=True)]
    for name, variant in variants.items():
        predictor = Predictor(network, columns=False)
        predictor.network, predictor.precision = variant.cast(network), variant.precision
        with variant.within():
            found, seconds = score(predictor, comparisons)
        both = list(zip(expected, found, strict=True))
        first = [(set(np.argsort(-a)[:10]), set(np.argsort(-b)[:10])) for a, b in both]
        precisions = [average_precision(each, pair.targets) for each, pair in zip(found, pairs, strict=True)]
        values = (
            model, n_genes, number, name,
            float(np.mean([kendalltau(a, b).statistic for a, b in both])),
            float(np.mean([len(a & b) / len(a) for a, b in first])),
            float(np.mean(precisions)), float(np.mean(accuracy)),
            float(max(np.abs(a - b).max() for a, b in both)),
        )  # fmt: skip
        times = (seconds, plain_seconds / seconds) if variant.timed else (np.nan, np.nan)
        yield dict(zip((*COLUMNS, *TIMES), (*values, *times), strict=True))


def lay_out(table: pd.DataFrame) -> str:
    """Markdown, one row for every model, number of genes and variant."""
    shown = table.copy()
    for name in TIMES:
        shown[name] = [f"{value:.3g}" if np.isfinite(value) else "" for value in shown[name]]
    for name in ("tau", "top 10", "mAP", "float32 mAP"):
        shown[name] = [f"{value:.3f}" for value in shown[name]]
    return markdown(shown)


def main(arguments: Sequence[str] | None = None) -> None:
    """Compute the rows that are missing and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--genes", nargs="+", default=["20:40", "100:20", "300:4"], metavar="N:PAIRS")
    parser.add_argument("--models", nargs="+", default=["cdn-scm", "cdn-screens", "gene-transformer"])
    parser.add_argument("--variants", nargs="+", default=list(PUBLISHED), choices=list(PUBLISHED))
    parser.add_argument("--output", type=Path, required=True, help="folder for precision.csv and .md")
    options = parser.parse_args(arguments)
    settings.verbosity = "warning"
    options.output.mkdir(parents=True, exist_ok=True)
    path = options.output / "precision.csv"
    table = pd.read_csv(path) if path.exists() else pd.DataFrame(columns=[*COLUMNS, *TIMES])
    for size in options.genes:
        n_genes, number = map(int, size.split(":"))
        for model in options.models:
            same = (table["model"] == model) & (table["genes"] == n_genes) & (table["pairs"] == number)
            missing = [name for name in options.variants if name not in set(table.loc[same, "variant"])]
            for row in measure(model, n_genes, number, missing):
                print(row, flush=True)
                rows = pd.DataFrame([row])
                table = pd.concat([table, rows], ignore_index=True) if len(table) else rows
                table.to_csv(path, index=False, float_format="%.5g")
    order = {name: place for place, name in enumerate([*options.models, *PUBLISHED])}
    table = table.sort_values(["genes", "model", "variant"], key=lambda c: c.map(lambda v: order.get(v, v)))
    text = lay_out(table) + f"\n{machine()}.\n"
    print(text)
    (options.output / "precision.md").write_text(text)


if __name__ == "__main__":
    main()
