"""Fine-tuning on a real screen, one target left out at a time.

    python benchmarks/fine_tuning_real.py --screen ../shared/data/papalexi2021_thp1.h5ad

For every measured target the model is fine-tuned, with the defaults of `fine_tune`, on the groups of all
other measured targets, and then ranks the genes of the group that was left out; next to it the model as it
was and the simple rivals. The screen is as `real_screens.py` reads it. No choice is made here: the defaults
come from simulated screens.

Writes `fine_tuning_real.csv` and `fine_tuning_real.md`.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd

from cdn_sc import metrics, models, settings, tl
from cdn_sc.cli._threads import limit_threads
from cdn_sc.metrics.summary import to_markdown
from common import machine, markdown
from real_screens import read_screen, rival_tables

SHOWN = ("recall_at_1", "recall_at_5", "normalised_rank", "reciprocal_rank", "average_precision", "auroc")
BEFORE, AFTER = "before", "fine-tuned"
N_BOOTSTRAP = 2000


def leave_one_out(adata: Any, truth: dict[str, str], model: str, seed: int) -> pd.DataFrame:
    """Metrics of every group with a measured target, by models that never saw that target and by rivals."""
    start = models.load(model)
    options: dict[str, Any] = {"rng": seed, "progress": False, "n_jobs": 1}
    parts = []
    for left_out, target in truth.items():
        others = {group: gene for group, gene in truth.items() if gene != target}
        begin = perf_counter()
        network: Any = tl.fine_tune(
            adata, "perturbation", "control", targets=others, model=start, rng=seed, progress=False
        )
        seconds = perf_counter() - begin
        training = network.card["training"]
        facts = {
            "target": target,
            "best_step": training["best_step"],
            "steps": training["steps"],
            "seconds": round(seconds, 1),
        }
        for method, used in ((BEFORE, start), (AFTER, network)):
            tl.predict_targets(adata, "perturbation", "control", groups=[left_out], model=used, **options)
            table = adata.uns.pop("cdn_targets")["table"]
            parts.append(metrics.target_metrics(table, {left_out: target}).assign(method=method, **facts))
        rivals = rival_tables(adata, table, truth, seed)
        del rivals["random"]  # one draw for all targets would say nothing
        for method, ranked in rivals.items():
            rows = metrics.target_metrics(ranked, {left_out: target})
            parts.append(rows.assign(method=method, target=target))
        print(left_out, facts, flush=True)
    return pd.concat(parts, ignore_index=True)


def gains(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean difference of after and before, with a bootstrap interval over the targets."""
    wide = rows.pivot_table(index="group", columns="method", values=list(SHOWN), observed=True)
    rng = np.random.default_rng(0)
    draws = rng.integers(len(wide), size=(N_BOOTSTRAP, len(wide)))
    found = []
    for metric in SHOWN:
        gain = (wide[metric, AFTER] - wide[metric, BEFORE]).to_numpy()
        low, high = np.quantile(gain[draws].mean(axis=1), (0.025, 0.975))
        found.append(
            {
                "metric": metric,
                "gain": f"{gain.mean():+.3f} [{low:+.3f}, {high:+.3f}]",
                "better": int((gain > 0).sum()),
                "the same": int((gain == 0).sum()),
                "worse": int((gain < 0).sum()),
            }
        )
    return pd.DataFrame(found)


def report(rows: pd.DataFrame, screen: str, model: str, seed: int) -> str:
    """Lay out what the documentation includes."""
    summary = metrics.summarise(rows, ["method"], seed=seed)
    trained = rows[rows["method"] == AFTER]
    unchanged = int((trained["best_step"] == 0).sum())
    return (
        f"{screen}, {len(trained)} measured targets, each left out once. Model {model}, not told the kind. "
        f"Fine-tuning took {trained['seconds'].mean():.0f} s a target; for {unchanged} of {len(trained)} no "
        "weights validated better than those that it started from, so the model stayed as it was.\n\n"
        + to_markdown(summary, metrics=SHOWN[:4])
        + f"\nFine-tuned less before:\n\n{markdown(gains(rows))}\n{machine()}\n"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--screen", type=Path, required=True, help="h5ad file, as real_screens.py reads it")
    parser.add_argument("--model", default="default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, help="processor threads (default: all)")
    parser.add_argument("--output", type=Path, default=Path("results/fine_tuning_real"), help="folder")
    options = parser.parse_args(arguments)
    settings.verbosity = "warning"
    if options.threads is not None:
        limit_threads(options.threads)
    adata = read_screen(options.screen)
    truth = {
        str(group): str(target)
        for group, target in adata.uns["target_in_var"].items()
        if target in adata.var_names and (adata.obs["perturbation"] == group).any()
    }
    rows = leave_one_out(adata, truth, options.model, options.seed)
    options.output.mkdir(parents=True, exist_ok=True)
    rows.to_csv(options.output / "fine_tuning_real.csv", index=False)
    text = report(rows, options.screen.stem, options.model, options.seed)
    (options.output / "fine_tuning_real.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
