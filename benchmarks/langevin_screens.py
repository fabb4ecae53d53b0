"""Screens from another simulator: chemical Langevin dynamics, in which nothing here was trained.

    python benchmarks/langevin_screens.py --output docs/results

Transcripts are made at rates that are sums of Hill functions of their regulators' levels, and decay; both are
noisy (the form that SERGIO made common: Dibaeinia and Sinha, Cell Systems 2020, from the chemical Langevin
equation of Gillespie 2000). Networks have no cycles. Counts are Poisson, in cells of different depth; in
half of the runs so few that most are 0. Ten groups a kind share one network and its control cells:

- knockdown: production at 5 to 40%; activation: 2 to 10 times;
- knockout: production at 0; cas9: production at 30 to 95%, and the protein at 20% at most;
- activity: production as ever, the protein at 0 to 30%.

Models are told the kind ("cas9" as knockout), and not; the rivals are those of every table.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from cdn_sc._contrasts import contrasts_of_screen
from cdn_sc.metrics import evaluate, summarise
from cdn_sc.predictors import load_predictor
from cdn_sc.simulate import Pair
from cdn_sc.simulate.counts import log_normalise
from common import machine, write_table

TOLD = {
    "knockdown": "knockdown", "activation": "activation", "knockout": "knockout", "cas9": "knockout",
    "activity": "activity",
}  # fmt: skip
DECAY, STEP, N_STEPS, NOISE = 0.8, 0.05, 240, 0.35


class Network:
    """Genes in an order in which regulators come first, with Hill functions on the edges."""

    def __init__(self, n_genes: int, rng: np.random.Generator) -> None:
        self.n_genes = n_genes
        n_masters = max(3, n_genes // 12)
        n_regulators = n_genes // 4
        self.strength = np.zeros((n_genes, n_genes))
        self.represses = np.zeros((n_genes, n_genes), dtype=bool)
        popularity = np.exp(rng.normal(0.0, 1.0, n_regulators))
        for gene in range(n_masters, n_genes):
            among = min(gene, n_regulators)
            number = min(among, int(rng.integers(1, 5)))
            chance = popularity[:among] / popularity[:among].sum()
            sources = rng.choice(among, number, replace=False, p=chance)
            self.strength[gene, sources] = rng.uniform(1.0, 5.0, number)
            self.represses[gene, sources] = rng.random(number) < 0.3
        self.basal = np.where(np.arange(n_genes) < n_masters, rng.uniform(1.0, 4.0, n_genes), 0.1)
        self.power = rng.uniform(1.5, 3.0, (n_genes, n_genes))
        # half saturation at about the regulator's usual level
        self.half = np.maximum((self.basal + 0.5 * self.strength.sum(axis=1)) / DECAY, 0.2)

    def targets(self) -> np.ndarray:
        """Number of genes that each regulates."""
        return (self.strength > 0).sum(axis=0)


def production(network: Network, level: np.ndarray, protein: np.ndarray) -> np.ndarray:
    """Rate at which each gene's transcript is made, genes x cells."""
    made = np.repeat(network.basal[:, None], level.shape[1], axis=1)
    ratio = np.maximum(level * protein, 1e-6) / network.half[:, None]
    for gene in range(network.n_genes):
        for source in np.flatnonzero(network.strength[gene]):
            power = ratio[source] ** network.power[gene, source]
            hill = power / (1.0 + power)
            if network.represses[gene, source]:
                hill = 1.0 - hill
            made[gene] += network.strength[gene, source] * hill
    return made


def simulate(
    network: Network, n_cells: int, rate: np.ndarray, protein: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Levels at the end of the trajectory of each cell, genes x cells.

    Parameters
    ----------
    network
        The network.
    n_cells
        Number of cells.
    rate, protein
        Per gene: factors on the production of the transcript, and on what acts on others.
    rng
        Noise of production and decay.
    """
    level = np.repeat(network.half[:, None], n_cells, axis=1)
    # cells differ in what they make of everything
    share = np.exp(rng.normal(0.0, 0.15, n_cells))
    for _ in range(N_STEPS):
        made = production(network, level, protein[:, None]) * rate[:, None] * share
        lost = DECAY * level
        noise = np.sqrt(made + lost) * rng.standard_normal(level.shape)
        level = np.maximum(level + STEP * (made - lost) + NOISE * np.sqrt(STEP) * noise, 0.0)
    return level


def counts(level: np.ndarray, sparse: bool, rng: np.random.Generator) -> np.ndarray:
    """Cells x genes."""
    depth = np.exp(rng.normal(0.0, 0.35, level.shape[1])) * (0.06 if sparse else 2.0)
    return rng.poisson(level * depth).T.astype(np.float32)


def groups_of(
    kind: str, seed: int, n_genes: int, sparse: bool, n_groups: int, n_control: int, n_perturbed: int
) -> Iterator[Pair]:
    """The groups of one network."""
    rng = np.random.default_rng([seed, n_genes, *kind.encode(), *b"langevin"])
    network = Network(n_genes, np.random.default_rng([seed, n_genes, *b"langevin network"]))
    of_regulators = np.flatnonzero(network.targets() >= 3)
    anyone = kind in ("knockdown", "activation")
    unit = np.ones(n_genes)
    raw = [counts(simulate(network, n_control, unit, unit, rng), sparse, rng)]
    targets = []
    for number in range(n_groups):
        target = int(rng.choice(of_regulators if number % 2 or not anyone else n_genes))
        rate, protein = unit.copy(), unit.copy()
        if kind == "knockdown":
            rate[target] = rng.uniform(0.05, 0.4)
        elif kind == "activation":
            rate[target] = rng.uniform(2.0, 10.0)
        elif kind == "knockout":
            rate[target] = 0.0
        elif kind == "cas9":
            rate[target], protein[target] = rng.uniform(0.3, 0.95), rng.uniform(0.0, 0.2)
        else:
            protein[target] = rng.uniform(0.0, 0.3)
        raw.append(counts(simulate(network, n_perturbed, rate, protein, rng), sparse, rng))
        targets.append(target)
    together = np.concatenate(raw)
    values = log_normalise(together, together.sum(axis=1))
    control, *parts = np.split(values, np.cumsum([len(part) for part in raw])[:-1])
    control = np.ascontiguousarray(control)
    contrasts = contrasts_of_screen(n_control, parts)
    for target, part in zip(targets, parts, strict=True):
        attributes: dict[str, str | int | float] = {
            "kind": TOLD[kind], "shown": kind, "network": f"langevin {seed}", "genes": n_genes,
        }  # fmt: skip
        yield Pair(control, np.ascontiguousarray(part), np.array([target]), attributes, contrasts=contrasts)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="default")
    parser.add_argument("--kinds", nargs="+", choices=list(TOLD), default=list(TOLD))
    parser.add_argument("--networks", type=int, default=6)
    parser.add_argument("--groups", type=int, default=10)
    parser.add_argument("--genes", type=int, default=100)
    parser.add_argument("--control", type=int, default=2000)
    parser.add_argument("--perturbed", type=int, default=200)
    parser.add_argument("--output", type=Path, default=None)
    chosen = parser.parse_args(arguments)
    model = load_predictor(chosen.model, columns=False)
    rows = []
    for sparse in (False, True):
        for kind in chosen.kinds:
            pairs = [
                pair
                for seed in range(chosen.networks)
                for pair in groups_of(
                    kind, seed, chosen.genes, sparse, chosen.groups, chosen.control, chosen.perturbed
                )
            ]
            parts = [
                evaluate(
                    pairs,
                    {"told" if tell else "untold": model},
                    rivals=not tell,
                    tell_kind=tell,
                    progress=False,
                ).per_group
                for tell in (False, True)
            ]
            summary = summarise(pd.concat(parts), ["method"]).query("stratum == 'all'")
            means = summary[summary["metric"] == "average_precision"].set_index("method")["mean"]
            tests = means.drop(["told", "untold", "random"])
            zeros = float(np.mean(pairs[0].control == 0))
            rows.append(
                {
                    "cells": f"{zeros:.0%} zeros", "kind": kind, "told": means["told"],
                    "untold": means["untold"], "best rival": tests.max(), "which": tests.idxmax(),
                }
            )  # fmt: skip
            print(rows[-1], flush=True)
    note = (
        f"Mean average precision, {chosen.networks} networks x {chosen.groups} groups, {chosen.genes} genes, "
        f"{chosen.control:,} control and {chosen.perturbed} perturbed cells. "
        f"{model.name} {model.version}. {machine()}."
    )
    write_table("langevin_screens", pd.DataFrame(rows), note, chosen.output)


if __name__ == "__main__":
    main()
