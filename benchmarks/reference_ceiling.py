"""How much a reference screen of a related cell line can tell, by the cells that it has of each gene.

    python benchmarks/reference_ceiling.py --output docs/results

Groups of `activity` of the suite `screens` with 100 and more cells. A third of the edges lead elsewhere in
the reference's network, and all weights differ. Without any network: the group's changes (Welch's t) are
projected on each gene's responses in the reference, both whitened by the correlations of the cells, and
divided by their length ("direction"), or not ("with size"): the matched filter, the best linear rule where
noise is normal. The last row has the responses themselves, without error.
"""

import argparse
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd

from cdn_sc.metrics.baselines import welch_statistic
from cdn_sc.metrics.ranking import rank_metrics, score_ranks
from cdn_sc.simulate import regulation
from cdn_sc.simulate import relations as tables
from cdn_sc.simulate.scm import seeded_rng
from cdn_sc.simulate.screen import screen_pairs
from common import machine, write_table

CELLS = (50, 100, 200, 400, 1600)
SHRINKAGE = 0.3


def noise_free(network: regulation.RegulatoryNetwork, genes: np.ndarray) -> np.ndarray:
    """What a knockdown of each gene does to the mean of all, perturbed x genes."""
    drive = np.zeros((network.n_genes, genes.size), dtype=np.float32)
    drive[genes, np.arange(genes.size)] = tables.REFERENCE_STRENGTH
    kept = np.ones((network.regulators.size, genes.size), dtype=np.float32)
    return regulation.steady_state(network, drive, kept)[genes].T


def screen_with_responses(number: int, genes: int) -> tuple[list[Any], dict[str, np.ndarray]]:
    """Groups of one network, and the responses of its reference screens."""
    found: dict[str, np.ndarray] = {}
    take_relations = tables.draw_relations

    def keep(
        network: Any, measured: np.ndarray, rng: np.random.Generator, quality: tables.TableQuality
    ) -> Any:
        related = tables._related_network(network, rng, quality.rewired)
        everyone = np.arange(measured.size)
        for cells in CELLS:
            changes = tables._simulated_changes(related, measured, everyone, rng, cells)
            found[f"{cells} cells"] = changes
        found["no error"] = noise_free(related, measured)
        return take_relations(network, measured, rng, quality)

    rng = seeded_rng("test", 15, "reference ceiling", number)
    # the pairs do not tell their network, which the table of relations is drawn from
    with patch.object(import_module("cdn_sc.simulate.screen"), "draw_relations", keep):
        pairs = screen_pairs(
            rng, n_genes=genes, n_groups=8, n_control=2000, n_perturbed=(100, 500), n_targets=(1.0,),
            kinds={"activity": 1.0}, contrasts=True,
            relations=tables.TableQuality(known=1.0, reference=True, rewired=1 / 3),
        )  # fmt: skip
    return pairs, found


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", type=int, default=12)
    parser.add_argument("--genes", type=int, default=200)
    parser.add_argument("--output", type=Path, default=None)
    chosen = parser.parse_args(arguments)
    rows = []
    for number in range(chosen.networks):
        pairs, responses = screen_with_responses(number, chosen.genes)
        control = pairs[0].control
        cells = [control - control.mean(axis=0)] + [p.perturbed - p.perturbed.mean(axis=0) for p in pairs]
        correlation = np.nan_to_num(np.corrcoef(np.concatenate(cells).T))
        whitening = np.linalg.inv(correlation + SHRINKAGE * np.eye(chosen.genes))
        for name, response in responses.items():
            others = response - np.diag(np.diag(response))
            length = np.sqrt(np.einsum("ij,jk,ik->i", others, whitening, others)) + 1e-9
            for pair in pairs:
                t = np.clip(np.nan_to_num(welch_statistic(control, pair.perturbed)), -30, 30)
                projection = np.abs(others @ (whitening @ t))
                for rule, scores in (("direction", projection / length), ("with size", projection)):
                    ranks = score_ranks(scores, np.random.default_rng(0).permutation(chosen.genes))
                    precision = rank_metrics(ranks[pair.targets], chosen.genes)["average_precision"]
                    rows.append({"reference": name, "rule": rule, "network": number, "precision": precision})
    of_network = pd.DataFrame(rows).groupby(["reference", "rule", "network"], sort=False)["precision"].mean()
    table = of_network.groupby(level=[0, 1], sort=False).agg(["mean", "sem"]).round(3).reset_index()
    note = (
        f"Mean average precision, {chosen.networks} networks of 8 groups, {chosen.genes} genes, 2,000 "
        f"control and 100 to 500 perturbed cells. {machine()}."
    )
    write_table("reference_ceiling", table, note, chosen.output)


if __name__ == "__main__":
    main()
