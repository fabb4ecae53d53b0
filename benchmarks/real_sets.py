"""Known targets of all real sets at hand, models told the kind and not, beside every rival.

    python benchmarks/real_sets.py --data ../shared/data --output docs/results

Real sets are looked at a counted number of times (docs/accuracy.md), and nothing is chosen by them. There are
sets where the target's own level falls (guides), where it need not (inhibitors; pooled over their sets), and
where samples are few. Comparisons are made within stimuli or blocks where a set has them. The mean reciprocal
rank of the best target of each group, with intervals over groups.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from cdn_sc.metrics import evaluate, suite, summarise
from cdn_sc.predictors import load_predictor
from common import machine, write_table


@dataclass(frozen=True)
class RealSet:
    """A file, what was done, and within which column of obs to compare."""

    name: str
    part: str
    kind: str | None = None
    within: str | None = None


SETS = (
    RealSet("papalexi2021_thp1", "own transcript falls", "knockout"),
    RealSet("gasperini2019_k562_igvf", "own transcript falls", "knockdown"),
    RealSet("schraivogel2020_tapseq_k562", "own transcript falls", "knockdown"),
    RealSet("sachs2005_cd3cd28", "inhibitors"),
    RealSet("hpn_dream2016_bt20", "inhibitors", within="stimulus"),
    RealSet("hpn_dream2016_mcf7", "inhibitors", within="stimulus"),
    RealSet("korkut2015_skmel133_rppa", "inhibitors", within="block"),
    RealSet("lincs_l1000_kd017_shrna", "few replicates"),
)


def scores_of(each: RealSet, path: Path, models: dict[str, Any]) -> pd.DataFrame:
    """Metrics of every group and method; models told the kind and not."""
    options = {"path": path, "kind": each.kind, "within": each.within}
    parts = []
    for tell in (False, True):
        named = {f"{name}, {'told' if tell else 'untold'}": model for name, model in models.items()}
        # one-sided tests need the kind
        found = evaluate(suite("real", **options), named, tell_kind=tell, progress=False).per_group
        earlier = set(parts[0]["method"]) if parts else set()
        parts.append(found[~found["method"].isin(earlier)])
    return pd.concat(parts).assign(set=each.name, part=each.part)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", action="append")
    parser.add_argument("--sets", nargs="+", choices=[each.name for each in SETS])
    parser.add_argument("--output", type=Path, default=None)
    chosen = parser.parse_args(arguments)
    models: dict[str, Any] = {}
    for name in chosen.model or ["default"]:
        model = load_predictor(name, columns=False)
        models[f"{model.name} {model.version}".strip()] = model
    taken = [each for each in SETS if chosen.sets is None or each.name in chosen.sets]
    per_group = pd.concat(
        [scores_of(each, chosen.data / f"{each.name}.h5ad", models) for each in taken], ignore_index=True
    )
    rows = []
    for by in ("set", "part"):
        summary = summarise(per_group, [by, "method"]).query(
            "stratum == 'all' and metric == 'reciprocal_rank'"
        )
        for place, of_place in summary.groupby(by, sort=False):
            row: dict[str, Any] = {"": place, "groups": int(of_place["n_groups"].max())}
            for _, found in of_place.iterrows():
                row[found["method"]] = f"{found['mean']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"
            rows.append(row)
    table = pd.DataFrame(rows).set_index("").T.reset_index(names="").fillna("")
    note = f"Mean reciprocal rank; sets, then parts. {machine()}."
    write_table("real_sets", table, note, chosen.output)


if __name__ == "__main__":
    main()
