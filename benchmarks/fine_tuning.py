"""Does fine-tuning help? Simulated screens of one network, before and after, against training from scratch.

    python benchmarks/fine_tuning.py --output results/fine_tuning
    python benchmarks/fine_tuning.py --model cdn-screens --genes 40 --groups 40 --output results/cdn

For every seed, one regulatory network (a "cell line") that training never drew is screened, each gene hit
at most once. Some of the groups are for fine-tuning (a part of them for its validation), the others are held
out; a second screen is of another network. `fine_tune` then starts from the model with its defaults, or from
random weights: with as many steps as fine-tuning takes at most, and with several times as many.

Writes `fine_tuning.csv` (every held-out group and method), `fine_tuning_summary.csv` and `fine_tuning.md`.
"""

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from inspect import signature
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd

from cdn_sc import metrics, models, settings, simulate, tl
from cdn_sc.cli._threads import limit_threads
from common import machine, markdown

SHOWN = ("average_precision", "recall_at_1", "auroc")
HELD_OUT, SECOND = "held-out groups", "second network"
BEFORE, AFTER = "before", "fine-tuned"
# a network that starts from nothing needs larger steps than one that is fine-tuned
SCRATCH_RATES = {"gene_transformer": 1e-3, "cdn": 5e-4}
N_BOOTSTRAP = 2000


def screen(seed: int, kinds: Sequence[str], genes: int, groups: int, dropout: float) -> Any:
    """Simulate and normalise a screen of one network."""
    import scanpy as sc

    plan = {kind: groups // len(kinds) for kind in kinds}
    cells: dict[str, Any] = {"n_control": 1500, "n_perturbed": (30, 300), "dropout": dropout}
    adata = simulate.screen(genes, plan, seed=seed, **cells)
    sc.pp.filter_cells(adata, min_counts=1)
    sc.pp.normalize_total(adata)
    sc.pp.log1p(adata)
    return adata


def fresh_network(config: Any, seed: int) -> Any:
    """Make a network of the same sizes with random weights."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return models.build_network(asdict(config))


def score(adata: Any, groups: Sequence[str], model: Any, seed: int) -> pd.DataFrame:
    """Metrics of a model on some groups."""
    options: dict[str, Any] = {"groups": list(groups), "rng": seed, "n_jobs": 1, "progress": False}
    tl.predict_targets(adata, "perturbation", "control", model=model, **options)
    truth = {group: list(adata.uns["targets"][group]) for group in groups}
    return metrics.target_metrics(adata.uns.pop("cdn_targets")["table"], truth)


def one_seed(seed: int, options: argparse.Namespace) -> list[pd.DataFrame]:
    """Metrics of all methods on the screens of a seed."""
    drawn = options.kinds, options.genes, options.groups, options.dropout
    adata, second = screen(seed, *drawn), screen(100_000 + seed, *drawn)
    start: Any = models.load(options.model)
    labels, others = (
        [str(label) for label in np.random.default_rng([seed, 1]).permutation(sorted(cells.uns["targets"]))]
        for cells in (adata, second)
    )
    n_known = round(options.known * len(labels))
    known, held_out = labels[:n_known], labels[n_known:]
    of_second = others[: len(held_out)]
    targets = {label: list(adata.uns["targets"][label]) for label in known}
    fixed: dict[str, Any] = {"targets": targets, "groups": known, "rng": seed, "progress": False}
    if options.epochs is not None:
        fixed["epochs"] = options.epochs
    trained = {BEFORE: (start, 0.0)}
    for name, longer in ((AFTER, None), ("from scratch", 1), ("from scratch, longer", options.longer)):
        changes: dict[str, Any] = {"model": start}
        if longer is not None:
            # as many steps as fine-tuning has at most, or several times as many, none of them cut off
            epochs = longer * (options.epochs or signature(tl.fine_tune).parameters["epochs"].default)
            rate = SCRATCH_RATES[start.config.architecture]
            changes = {"model": fresh_network(start.config, seed), "learning_rate": rate}
            changes |= {"epochs": epochs, "patience": 0}
        begin = perf_counter()
        network = tl.fine_tune(adata, "perturbation", "control", **(fixed | changes))
        trained[name] = network, perf_counter() - begin
    parts = []
    for method, (network, seconds) in trained.items():
        training = network.card["training"] if method != BEFORE else {"steps": 0, "best_step": 0}
        facts = {"method": method, "steps": training["steps"], "best_step": training["best_step"]}
        facts["seconds"] = round(seconds, 1)
        for where, cells, groups in (
            (HELD_OUT, adata, held_out),
            (SECOND, second, of_second),
        ):
            rows = score(cells, groups, network, seed)
            parts.append(rows.assign(seed=seed, screen=where, **facts))
            print(seed, method, where, rows[list(SHOWN)].mean().round(3).to_dict(), facts, flush=True)
    return parts


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean over the seeds of each seed's mean, and of its difference to before, with intervals over seeds."""
    found = []
    keys = ["screen", "method", "seed"]
    by_seed = rows.groupby(keys, sort=False)[list(SHOWN)].mean().reset_index()
    for (where, method), part in by_seed.groupby(["screen", "method"], sort=False):
        is_before = (by_seed["screen"] == where) & (by_seed["method"] == BEFORE)
        before, values = by_seed[is_before].set_index("seed"), part.set_index("seed")
        for metric in SHOWN:
            gain = (values[metric] - before[metric]).to_numpy()
            low, high = interval(gain)
            found.append(
                {
                    "screen": where,
                    "method": method,
                    "metric": metric,
                    "mean": values[metric].mean(),
                    "gain": gain.mean(),
                    "low": low,
                    "high": high,
                    "better": int((gain > 0).sum()),
                    "worse": int((gain < 0).sum()),
                    "seeds": len(gain),
                }
            )
    return pd.DataFrame(found)


def interval(values: np.ndarray) -> tuple[float, float]:
    """95% percentile bootstrap interval of the mean."""
    rng = np.random.default_rng(0)
    drawn = rng.choice(values, (N_BOOTSTRAP, len(values))).mean(axis=1)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return float(low), float(high)


def to_markdown(rows: pd.DataFrame, summary: pd.DataFrame, options: argparse.Namespace) -> str:
    """Lay out what the documentation includes."""
    table = []
    for (where, method), part in summary.groupby(["screen", "method"], sort=False):
        cells: dict[str, Any] = {"screen": where, "method": method}
        of_method = rows[rows["method"] == method].drop_duplicates("seed")
        cells["steps"] = round(of_method["steps"].mean())
        cells["seconds"] = round(of_method["seconds"].mean())
        for line in part.itertuples():
            text = f"{line.mean:.3f}"
            if method != BEFORE:
                text += f" ({line.gain:+.3f} [{line.low:+.3f}, {line.high:+.3f}], {line.better}/{line.seeds})"
            cells[line.metric] = text
        table.append(cells)
    n_known = round(options.known * options.groups)
    about = (
        f"Model {options.model}. {len(options.seeds)} networks of {options.genes} genes "
        f"({', '.join(options.kinds)}; dropout {options.dropout:g}): {n_known} groups to learn from, their "
        "validation included, "
        f"{options.groups - n_known} held out, as many of the second network. Means over networks; "
        "in parentheses the gain over before, its 95% bootstrap interval over networks, and in how many of "
        "them it is above 0."
    )
    return f"{about}\n\n{markdown(pd.DataFrame(table))}\n{machine()}\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="default", help="what fine-tuning starts from")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(5)))
    parser.add_argument("--kinds", nargs="+", default=["knockout"])
    parser.add_argument("--dropout", type=float, default=0.0, help="share of the counts that are set to 0")
    parser.add_argument("--genes", type=int, default=80)
    parser.add_argument("--groups", type=int, default=80, help="perturbations of each network")
    parser.add_argument("--known", type=float, default=0.6, help="share of them that is learned from")
    parser.add_argument("--epochs", type=int, help="of fine-tuning (default: that of fine_tune)")
    parser.add_argument("--longer", type=int, default=3, help="how many times longer from scratch, at last")
    parser.add_argument("--threads", type=int, help="processor threads (default: all)")
    parser.add_argument("--output", type=Path, default=Path("results/fine_tuning"), help="folder")
    options = parser.parse_args(arguments)
    settings.verbosity = "warning"
    if options.threads is not None:
        limit_threads(options.threads)
    options.output.mkdir(parents=True, exist_ok=True)
    parts: list[pd.DataFrame] = []
    for seed in options.seeds:
        parts += one_seed(seed, options)
        rows = pd.concat(parts, ignore_index=True)
        rows.to_csv(options.output / "fine_tuning.csv", index=False)
    summary = summarise(rows)
    summary.to_csv(options.output / "fine_tuning_summary.csv", index=False)
    text = to_markdown(rows, summary, options)
    (options.output / "fine_tuning.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
