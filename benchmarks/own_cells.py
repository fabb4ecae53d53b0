"""Whether a group's own cells among those behind the correlations do harm: what leaving them out would gain.

    python benchmarks/own_cells.py --output docs/results

A perturbation breaks relations of the gene that it hits, and the control side is worked out once for all
groups of a screen, so that a group's own cells are among those that correlations come from: a twentieth of
them at most. Beside that stand, for the same groups: correlations without the group's own cells, worked out
for each group anew; with as many of them as there are, uncapped; and from the control cells alone.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from cdn_sc._contrasts import contrasts_of_screen, most_of_a_condition, within_conditions
from cdn_sc.metrics.ranking import rank_metrics, score_ranks
from cdn_sc.metrics.summary import bootstrap
from cdn_sc.predictors import load_predictor
from cdn_sc.simulate import screen_pairs
from common import machine, write_table

CAPPED, WITHOUT, UNCAPPED, NONE = (
    "a twentieth at most", "without them", "all of them", "the control cells alone",
)  # fmt: skip


def contrasts_by_rule(
    control: np.ndarray, parts: list[np.ndarray], group: int
) -> dict[str, np.ndarray | None]:
    """How cells of the conditions vary within these, by what is done with a group's own."""
    most = most_of_a_condition(len(control), [len(part) for part in parts])
    others = [part[:most] for place, part in enumerate(parts) if place != group]
    return {
        CAPPED: contrasts_of_screen(len(control), parts),
        WITHOUT: within_conditions(others) if most > 1 else None,
        UNCAPPED: within_conditions(parts),
        NONE: None,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="default")
    parser.add_argument("--networks", type=int, default=12)
    parser.add_argument("--groups", type=int, default=8)
    parser.add_argument("--genes", type=int, default=200)
    parser.add_argument("--output", type=Path, default=None)
    chosen = parser.parse_args(arguments)
    model = load_predictor(chosen.model, columns=False)
    rows = []
    for kind in ("activity", "knockout"):
        for network in range(chosen.networks):
            rng = np.random.default_rng([network, *kind.encode(), *b"own cells"])
            pairs = screen_pairs(
                rng,
                n_genes=chosen.genes,
                n_groups=chosen.groups,
                n_control=1500,
                n_perturbed=(150, 151),
                kinds={kind: 1.0},
                n_targets=(1.0,),
            )
            control, parts = pairs[0].control, [pair.perturbed for pair in pairs]
            for group, pair in enumerate(pairs):
                for rule, contrasts in contrasts_by_rule(control, parts, group).items():
                    found = model.predict(control, pair.perturbed, rng=rng, contrasts=contrasts).logits
                    ranks = score_ranks(found, np.arange(found.size))[pair.targets]
                    precision = rank_metrics(ranks, found.size, 0)["average_precision"]
                    place = {"kind": kind, "network": network, "group": group}
                    rows.append(place | {"rule": rule, "ap": precision})
    table = pd.DataFrame(rows).pivot_table(index=["kind", "network", "group"], columns="rule", values="ap")
    shown = []
    for kind, of_kind in table.groupby("kind"):
        units = of_kind.index.get_level_values("network").to_numpy()
        for rule in (CAPPED, WITHOUT, UNCAPPED, NONE):
            difference = (of_kind[rule] - of_kind[CAPPED]).to_numpy()
            low, high = bootstrap(difference[:, None], units)[["low", "high"]].iloc[0]
            gained = "" if rule == CAPPED else f"{difference.mean():+.3f} [{low:+.3f}, {high:+.3f}]"
            mean = of_kind[rule].mean()
            shown.append({"kind": kind, "own cells": rule, "mAP": mean, "difference": gained})
    note = (
        f"{chosen.networks} networks of {chosen.groups} groups a kind, {chosen.genes} genes, 1,500 control "
        f"and 150 perturbed cells; intervals over networks. {model.name} {model.version}. {machine()}."
    )
    write_table("own_cells", pd.DataFrame(shown), note, chosen.output)


if __name__ == "__main__":
    main()
