"""Would an expression test beside the model help? Weights of a rank by test, added to the logits.

    python benchmarks/combination.py --output docs/results

Simulated screens of the validation seeds, which neither training nor a suite draws. A gene's score is its
logit less the weight times the logarithm of its rank by the absolute value of the test.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from scipy.stats import rankdata

from accuracy_points import cluster_interval
from cdn_sc.metrics.ranking import rank_metrics, score_ranks
from cdn_sc.predictors import load_predictor
from cdn_sc.simulate import screen_pairs
from cdn_sc.simulate.perturbation import KINDS
from cdn_sc.simulate.scm import seeded_rng
from common import machine, markdown

TESTS = ("t_statistic", "wilcoxon_statistic")
WEIGHTS = (0.0, 0.05, 0.1, 0.2, 0.5)
GENES, CONTROL_CELLS, CELLS = (100, 400), (500, 6000), (20, 500)


def score_network(model: str, kind: str, network: int, n_groups: int) -> Iterator[dict[str, object]]:
    """Average precision of every weight, for the groups on one network."""
    predictor = load_predictor(model)
    rng = seeded_rng("validation", "combination", kind, network)
    n_genes, n_control = (
        round(float(np.exp(rng.uniform(*np.log(limits))))) for limits in (GENES, CONTROL_CELLS)
    )
    sizes = {"n_genes": n_genes, "n_control": n_control, "n_groups": n_groups, "n_perturbed": CELLS}
    for pair in screen_pairs(rng, kinds={kind: 1.0}, contrasts=True, **sizes):
        tie_break = rng.permutation(n_genes)
        for told in (False, True):
            found = predictor.predict(
                pair.control,
                pair.perturbed,
                rng=rng,
                kind=kind if told else None,
                contrasts=pair.contrasts,
            )
            for test in TESTS:
                by_test = np.log(rankdata(-np.abs(found.columns[test])))
                for weight in WEIGHTS:
                    ranks = score_ranks(found.logits - weight * by_test, tie_break)[pair.targets]
                    precision = rank_metrics(ranks, n_genes)["average_precision"]
                    yield {
                        "network": f"{kind} {network}", "kind": kind, "told": told, "test": test,
                        "weight": weight, "precision": precision,
                    }  # fmt: skip


def table_of(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean average precision without the test, and what each weight adds, with intervals over networks."""
    means = rows.pivot_table(
        index=["told", "test", "kind", "network"], columns="weight", values="precision", sort=False
    )
    lines = []
    for (told, test, kind), part in means.groupby(["told", "test", "kind"], sort=False):
        line = {
            "kind": kind,
            "told": "yes" if told else "no",
            "test": test,
            "alone": f"{part[0.0].mean():.3f}",
        }
        for weight in WEIGHTS[1:]:
            gain = (part[weight] - part[0.0]).to_numpy()
            low, high = cluster_interval(gain)
            line[f"+ {weight:g}"] = f"{gain.mean():+.3f} [{low:+.3f}, {high:+.3f}]"
        lines.append(line)
    return pd.DataFrame(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="default", help="name, or file of weights")
    parser.add_argument("--networks", type=int, default=30, help="networks of each kind")
    parser.add_argument("--groups", type=int, default=8, help="groups a network")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--output", type=Path, help="folder for combination.md")
    options = parser.parse_args(arguments)
    jobs = (
        delayed(lambda *a: list(score_network(*a)))(options.model, kind, network, options.groups)
        for kind in KINDS
        for network in range(options.networks)
    )
    rows = pd.DataFrame(row for found in Parallel(options.jobs)(jobs) for row in found)
    text = markdown(table_of(rows)) + (
        f"\n{options.networks} networks of each kind with {options.groups} groups each, {GENES[0]} to "
        f"{GENES[1]} genes, {CONTROL_CELLS[0]} to {CONTROL_CELLS[1]} control cells, {CELLS[0]} to "
        f"{CELLS[1]} perturbed cells; mean average precision, 95% bootstrap intervals over networks. "
        f"{machine()}.\n"
    )
    print(text)
    if options.output:
        (options.output / "combination.md").write_text(text)


if __name__ == "__main__":
    main()
