"""What tables of known relations add, over their quality, and what decoupler makes of the same tables.

    python benchmarks/known_relations.py --output docs/results
    python benchmarks/known_relations.py --kinds activity --networks 4 --model path/to.safetensors

Groups of the suite `screens` with 100 and more perturbed cells, one target each; all methods see the same
cells and the same tables. Needs decoupler (`pip install cdn-sc[rivals]`) for the rival.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cdn_sc.metrics import evaluate, suite, summarise
from cdn_sc.metrics.baselines import welch_statistic
from cdn_sc.predictors import load_predictor
from common import machine, write_table

# Share of the true edges in the table, share of its entries that are true edges
TABLES: dict[str, dict[str, Any]] = {
    "none": {},
    "known .3, correct .3": {"relations": (0.3, 0.3)},
    "known .5, correct .5": {"relations": (0.5, 0.5)},
    "known .7, correct .7": {"relations": (0.7, 0.7)},
    "noise alone": {"relations": (0.5, 0.0)},
    "a related cell line's screen": {"reference": 1 / 3},
}


class LinearModelOfRelations:
    """decoupler's univariate linear model of the t statistics on the table."""

    takes_relations = True

    def predict(
        self,
        control: np.ndarray,
        perturbed: np.ndarray,
        *,
        rng: np.random.Generator,
        kind: str | None,
        relations: Any = None,
    ) -> np.ndarray:
        """Absolute statistic of each gene as a regulator; none for those without three targets."""
        import decoupler

        scores = np.full(control.shape[1], -np.inf)
        if relations is None or not len(relations):
            return scores
        names = np.array([f"g{place}" for place in range(control.shape[1])])
        t = pd.DataFrame([np.nan_to_num(welch_statistic(control, perturbed))], index=["t"], columns=names)
        net = pd.DataFrame(
            {
                "source": names[relations.sources],
                "target": names[relations.targets],
                "weight": np.nan_to_num(relations.weights, nan=1.0),
            }
        )
        number = net["source"].value_counts()
        if (number < 3).all():
            return scores
        found, _ = decoupler.mt.ulm(data=t, net=net, tmin=3)
        places = pd.Index(names).get_indexer(found.columns)
        scores[places] = np.abs(found.to_numpy()[0])
        return scores


def pairs_of(kind: str, networks: int, options: dict[str, Any]) -> Iterator[Any]:
    """Groups of one kind, with their tables."""
    return suite(
        "screens",
        seed=15,
        genes=200,
        kinds=(kind,),
        n_networks=networks,
        n_perturbed=(100, 500),
        n_targets=(1.0,),
        **options,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="default")
    parser.add_argument("--kinds", nargs="+", default=["activity", "knockdown", "knockout"])
    parser.add_argument("--networks", type=int, default=12)
    parser.add_argument("--without-rival", action="store_true")
    parser.add_argument("--output", type=Path, default=None)
    chosen = parser.parse_args(arguments)
    model = load_predictor(chosen.model, columns=False)
    rows = []
    for kind in chosen.kinds:
        for name, options in TABLES.items():
            parts = []
            for tell in (False, True):
                predictors: dict[str, Any] = {"told" if tell else "untold": model}
                if not tell and options and not chosen.without_rival:
                    predictors["decoupler, ULM"] = LinearModelOfRelations()
                pairs = pairs_of(kind, chosen.networks, options)
                parts.append(
                    evaluate(pairs, predictors, rivals=False, tell_kind=tell, progress=False).per_group
                )
            summary = summarise(pd.concat(parts), ["method"]).query("stratum == 'all'")
            summary = summary[summary["metric"] == "average_precision"].set_index("method")
            rows.append(
                {"kind": kind, "table": name}
                | {
                    method: f"{row['mean']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"
                    for method, row in summary.iterrows()
                }
            )
            print(rows[-1], flush=True)
    note = (
        f"Mean average precision, {chosen.networks} networks of 8 groups, 200 genes, 1,000 to 4,000 control "
        f"and 100 to 500 perturbed cells; intervals over networks. {model.name} {model.version}. {machine()}."
    )
    write_table("known_relations", pd.DataFrame(rows).fillna(""), note, chosen.output)


if __name__ == "__main__":
    main()
