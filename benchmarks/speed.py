"""Seconds a group: `predict_targets` against the straightforward path of the published network.

    python benchmarks/speed.py --genes 20 100 300 1000 --output docs/results

Side by side in one run, on the same simulated cells (2,000 control, 200 a group), float32, all cores. Of each
time the median over repeats. `one group`: a call for a single group, all included. `in a screen`: a call for
all groups, which have the same genes and so share the control arm, per group. The floor is what the matrix
products of the published network's matrix stream alone take at the rate of a large product measured in the
same run; `floor, its own shapes` takes the rates of the projections and of the two products of attention,
each on arrays of the shapes they have there.

The same three in bfloat16, against the same float32 straightforward path: `tau` (Kendall) and `top 10` (the
share of float32's first ten genes among its own) say how near its rankings are to those of float32, mean over
groups.

Panels of more genes than --whole-screen (default 300) would take very long. There the straightforward path is
timed --large-plain-repeats times (default 1), bfloat16 once, and the screen of 20 is not run but computed
from calls for one and for three groups. Whole screens of more than 100 genes are run once, which is a mean
over 20 groups. Freed memory is kept throughout, as the package has it: the straightforward path gains from
that too.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import torch
from scipy.stats import kendalltau
from torch import Tensor

import straightforward
from cdn_sc import get, models, settings, tl
from cdn_sc._memory import keep_freed_memory
from cdn_sc.nn import axial
from common import machine, markdown, median_seconds, peak_memory, reset_peak_memory

N_CONTROL, N_PERTURBED, N_GROUPS = 2000, 200, 20
FEW = 3
WAYS = ("one group", "in a screen", "own network")


def simulate(n_genes: int, n_groups: int) -> ad.AnnData:
    """Log-normal cells with correlated genes; the time depends on their numbers alone."""
    rng = np.random.default_rng(n_genes)
    cells = N_CONTROL + n_groups * N_PERTURBED
    factors = rng.normal(size=(cells, 8)) @ rng.normal(size=(8, n_genes))
    values = np.log1p(rng.poisson(np.exp(0.3 * factors + rng.normal(0, 0.5, n_genes)))).astype(np.float32)
    group = np.repeat([*range(n_groups), -1], [N_PERTURBED] * n_groups + [N_CONTROL])
    labels = np.array([f"group_{i}" for i in range(n_groups)] + ["control"])[group]
    for index in range(n_groups):
        values[group == index, index % n_genes] *= 0.3
    adata = ad.AnnData(values)
    adata.obs["perturbation"] = pd.Categorical(labels)
    return adata


def seconds(call: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Median time of a call, and the most memory beyond what was held before, in GB."""
    times, memory = [], []
    for _ in range(repeats):
        reset_peak_memory()
        before, started = peak_memory(), perf_counter()
        call()
        times.append(perf_counter() - started)
        memory.append((peak_memory() - before) / 1024)
    return median(times), max(memory)


def product_rate() -> float:
    """Floating-point operations a second of a large product in float32."""
    a = torch.rand(2048, 2048)
    torch.mm(a, a)
    best = min(median_seconds(lambda: torch.mm(a, a), 5) for _ in range(3))
    return 2 * 2048**3 / best


def shape_rates(n: int, config: Any, repeats: int = 5) -> dict[str, float]:
    """Operations a second of the encoder's products, by kind, on arrays of the shapes they have there."""
    d, heads = config.channels, config.heads
    lines = min(n, max(1, axial._CHUNK_ELEMENTS // (n * d)))
    grid, weight = torch.rand(lines * n, d), torch.rand(d, d)
    folded, weights = torch.rand(heads, n, lines * d // heads), torch.rand(heads, n, n)
    products: dict[str, Callable[[], Tensor]] = {
        "projections": lambda: torch.mm(grid, weight),
        "logits": lambda: torch.bmm(folded, folded.mT),
        "values": lambda: torch.bmm(weights, folded),
    }
    cells = lines * n
    counts = {"projections": 2 * cells * d * d, "logits": 2 * cells * n * d, "values": 2 * cells * n * d}
    times = {kind: min(median_seconds(call, repeats) for _ in range(3)) for kind, call in products.items()}
    return {kind: counts[kind] / times[kind] for kind in products}


def operations(n: int, config: Any, *, control_too: bool) -> dict[str, float]:
    """Operations of the matrix stream's products, by kind: the encodings of the arms and the comparison."""

    def layer(rows: int, columns: int, d: int, hidden: int) -> np.ndarray:
        cells = rows * columns
        attention = 2 * cells * d * (columns + rows)
        return np.array([2 * 4 * 2 * cells * d * d + 2 * 2 * cells * d * hidden, attention, attention])

    d, width = config.channels, config.comparison_channels
    merge = np.array([2 * n * n * 2 * d * d, 0, 0])
    arm = config.blocks * (merge + layer(n, n, d, config.encoder_ffn))
    counts = (2 if control_too else 1) * arm + layer(n, n + 1, width, config.comparison_ffn)
    return dict(zip(("projections", "logits", "values"), counts.tolist(), strict=True))


def rankings(adata: ad.AnnData) -> list[pd.Series]:
    """Score of each gene, group by group, of the result that was written last."""
    table = get.predicted_targets_df(adata)
    return [group.set_index("gene")["score"] for _, group in table.groupby("group", observed=True)]


def agreement(expected: list[pd.Series], found: list[pd.Series]) -> tuple[float, float]:
    """Kendall's tau, and the share of the first ten genes that are the same: means over groups."""
    taus, shares = [], []
    for one, other in zip(expected, found, strict=True):
        taus.append(kendalltau(one, other.reindex(one.index)).statistic)
        first = set(one.nlargest(10).index)
        shares.append(len(first & set(other.nlargest(10).index)) / len(first))
    return float(np.mean(taus)), float(np.mean(shares))


@dataclass
class Timed:
    """Seconds, peak memory and rankings of the three ways of predicting, by their names."""

    seconds: dict[str, float] = field(default_factory=dict)
    gigabytes: dict[str, float] = field(default_factory=dict)
    scores: dict[str, list[pd.Series]] = field(default_factory=dict)


def time_ours(adata: ad.AnnData, network: Any, precision: str, repeats: int, few: int, whole: bool) -> Timed:
    """Time the package; `whole`: a panel small enough for warm-up and for all groups."""
    groups = [f"group_{i}" for i in range(N_GROUPS)]
    found = Timed()

    def ours(which: Any, used: Any) -> Callable[[], object]:
        return lambda: tl.predict_targets(
            adata, "perturbation", "control", groups=which, model=used, device="cpu", progress=False,
            precision=precision,
        )  # fmt: skip

    def note(name: str, call: Callable[[], object], times: int) -> None:
        found.seconds[name], found.gigabytes[name] = seconds(call, times)
        found.scores[name] = rankings(adata)

    if whole:
        ours(groups[:1], network)()
    ours(groups[:1], "default")()
    note("one group", ours(groups[:1], network), repeats)
    note("own network", ours(groups[:1], "default"), max(repeats, 3))
    times = repeats if whole and adata.n_vars <= 100 else 1
    note("in a screen", ours("all" if whole else groups[:few], network), times)
    if whole:
        found.seconds["in a screen"] /= N_GROUPS
    else:
        one = found.seconds["one group"]
        each = (found.seconds["in a screen"] - one) / (few - 1)
        found.seconds["in a screen"] = (one + (N_GROUPS - 1) * each) / N_GROUPS
    return found


def measure(n_genes: int, model: str, repeats: int, plain_repeats: int, whole: bool) -> dict[str, object]:
    """One row of the table."""
    network = models.load(model)
    adata = simulate(n_genes, N_GROUPS)
    values, labels = np.asarray(adata.X), adata.obs["perturbation"].to_numpy()

    def plain() -> object:
        control, perturbed = values[labels == "control"], values[labels == "group_0"]
        return straightforward.predict(network, control, perturbed, np.random.default_rng(0))

    plain_seconds, plain_memory = seconds(plain, plain_repeats)
    ours = time_ours(adata, network, "float32", repeats, FEW, whole)
    lower = time_ours(adata, network, "bfloat16", repeats if whole else 1, FEW, whole)
    rate, rates = product_rate(), shape_rates(n_genes, network.config)
    counts = operations(n_genes, network.config, control_too=True)
    floor = sum(counts.values()) / rate
    own_shapes = sum(counts[kind] / rates[kind] for kind in counts)
    # the control arm's encoding is shared by all groups
    floor_in_screen = sum(operations(n_genes, network.config, control_too=False).values()) / rate
    row: dict[str, object] = {"genes": n_genes, "straightforward s": plain_seconds}
    row |= {f"{name} s": ours.seconds[name] for name in WAYS}
    row |= {f"ratio, {name}": plain_seconds / ours.seconds[name] for name in WAYS}
    row |= {
        "floor s": floor,
        "floor in a screen s": floor_in_screen,
        "floor / one group": floor / ours.seconds["one group"],
        "floor / in a screen": floor_in_screen / ours.seconds["in a screen"],
        "floor, its own shapes / one group": own_shapes / ours.seconds["one group"],
        "GFLOP/s of a product": rate / 1e9,
        "straightforward repeats": plain_repeats,
        "straightforward GB": plain_memory,
    }
    row |= {f"{name} GB": ours.gigabytes[name] for name in WAYS}
    for name in WAYS:
        tau, first = agreement(ours.scores[name], lower.scores[name])
        row |= {
            f"bfloat16, {name} s": lower.seconds[name],
            f"bfloat16, ratio, {name}": plain_seconds / lower.seconds[name],
            f"bfloat16, tau, {name}": tau,
            f"bfloat16, top 10, {name}": first,
            f"bfloat16, {name} GB": lower.gigabytes[name],
        }
    return row


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--genes", type=int, nargs="+", default=[20, 100, 300, 1000])
    parser.add_argument("--model", default="cdn-scm", help="weights of the published architecture")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--plain-repeats", type=int, default=3, help="of the straightforward path")
    parser.add_argument("--large-plain-repeats", type=int, default=1, help="of that on large panels")
    parser.add_argument("--whole-screen", type=int, default=300, help="largest panel timed on all 20 groups")
    parser.add_argument("--output", type=Path, help="folder for speed.csv and speed.md")
    options = parser.parse_args(arguments)
    settings.verbosity = "warning"
    keep_freed_memory()
    rows = []
    for n in options.genes:
        whole = n <= options.whole_screen
        plain_repeats = options.plain_repeats if whole else options.large_plain_repeats
        row = measure(n, options.model, options.repeats, plain_repeats, whole)
        print({key: f"{value:.3g}" for key, value in row.items()}, flush=True)
        rows.append(row)
    table = pd.DataFrame(rows)
    text = markdown(table.set_index("genes").T.reset_index(names="")) + (
        f"\n{N_CONTROL:,} control cells, {N_PERTURBED} cells a group, 50 subsets an arm. {machine()}.\n"
    )
    print(text)
    if options.output:
        options.output.mkdir(parents=True, exist_ok=True)
        table.to_csv(options.output / "speed.csv", index=False, float_format="%.5g")
        (options.output / "speed.md").write_text(text)


if __name__ == "__main__":
    main()
