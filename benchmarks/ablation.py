"""What each family of inputs is worth to the gene transformer: short trainings, each without one family.

    python benchmarks/ablation.py --output docs --cache ablation_cache

All variants and seeds train on the same prepared batches (smaller panels and fewer steps than the bundled
weights, so the figures compare variants; they say nothing of the bundled model), and are tested on networks
of the seed space "test". Writes ``results/ablation.csv`` and ``results/ablation.md``. The cache folder holds
the prepared batches; a run that was stopped goes on from the CSV.
"""

import argparse
import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from tqdm.auto import tqdm

from cdn_sc.features import FEATURES
from cdn_sc.features._deconvolution import DECONVOLUTION_FEATURES
from cdn_sc.features._others import OTHERS_FEATURES
from cdn_sc.features._own import OWN_FEATURES
from cdn_sc.metrics.ranking import rank_metrics, score_ranks
from cdn_sc.models import build_network
from cdn_sc.nn import GeneBatch
from cdn_sc.simulate import screen_pairs
from cdn_sc.simulate.scm import seeded_rng
from cdn_sc.train import read_config
from cdn_sc.train.config import TrainConfig
from cdn_sc.train.loop import learning_rate, update_average
from cdn_sc.train.objective import batch_loss
from cdn_sc.train.prepare import PreparedBatch, prepare_batch, prepare_step

KINDS = ("knockdown", "activation", "knockout", "activity")
FITTED = tuple(name for name in OTHERS_FEATURES if name.startswith("fitted_"))


@dataclass(frozen=True)
class Variant:
    """Inputs that a variant does without."""

    features: tuple[str, ...] = ()
    edges: bool = False
    kind: bool = False
    known: bool = False

    def __call__(self, inputs: GeneBatch) -> GeneBatch:
        """Blank these inputs of a batch."""
        features = inputs.features.clone()
        features[..., [FEATURES.index(name) for name in self.features]] = 0.0
        changed: dict[str, torch.Tensor] = {"features": features}
        if self.edges:
            changed["edge_mask"] = torch.zeros_like(inputs.edge_mask)
            changed["edges"] = torch.zeros_like(inputs.edges)
        if self.kind:
            changed["kind"] = torch.zeros_like(inputs.kind)
        found = replace(inputs, **changed)
        return found.without_relations() if self.known else found


VARIANTS: dict[str, Callable[[GeneBatch], GeneBatch]] = {
    "all inputs": Variant(),
    "without the gene's own statistics": Variant(features=OWN_FEATURES),
    "without projections and residuals": Variant(features=OTHERS_FEATURES),
    "without deconvolution": Variant(features=DECONVOLUTION_FEATURES),
    "without neighbours": Variant(edges=True),
    "without the kind": Variant(kind=True),
    "without what neighbours tell": Variant(features=FITTED),
    "without known relations": Variant(known=True),
    "own statistics only": Variant(OTHERS_FEATURES + DECONVOLUTION_FEATURES, edges=True, known=True),
}


def study_config(steps: int, seed: int) -> TrainConfig:
    """The shipped configuration with one member, panels of at most 200 genes, and fewer steps."""
    config = read_config("gene-transformer")
    sources = tuple(
        replace(
            s,
            options=s.options
            | ({"genes": [24, 200], "values": 400_000, "large": 0.0} if s.type == "screen" else {}),
        )
        for s in config.sources
    )
    network = {**config.network, "members": 1}
    return replace(
        config, network=network, sources=sources, steps=steps, seed=seed,
        warmup_steps=max(1, steps // 20), average_decay=0.99, genes_per_batch=1600,
    )  # fmt: skip


def cached(path: Path, make: Callable[[], Any]) -> Any:
    """What a file holds, made and written where there is none."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        made = make()
        unfinished = path.with_suffix(".part")
        unfinished.write_bytes(pickle.dumps(made))
        unfinished.replace(path)
    return pickle.loads(path.read_bytes())


def train_batches(config: TrainConfig, cache: Path) -> Iterator[PreparedBatch]:
    """Prepared batches of all steps, each from its own file."""
    sizes = build_network(config.network).config
    for step in range(config.steps):
        yield cached(cache / f"train_{step}.pkl", lambda step=step: prepare_step(config, sizes, step).batch)


def test_batches(config: TrainConfig, cache: Path, networks: int) -> list[tuple[str, int, Any]]:
    """Kind, network and prepared groups of networks that nothing trains on; 100 or more perturbed cells."""
    sizes = build_network(config.network).config

    def make(kind: str, number: int) -> tuple[PreparedBatch, list[np.ndarray]]:
        rng = seeded_rng("test", 0, "ablation", kind, number)
        n_genes = int(rng.integers(100, 201))
        pairs = screen_pairs(
            rng, n_genes=n_genes, n_groups=8, n_control=2000, n_perturbed=(100, 500), kinds={kind: 1.0}
        )
        return prepare_batch(pairs, config, sizes, rng), [p.targets for p in pairs]

    return [
        (kind, number, cached(cache / f"test_{kind}_{number}.pkl", lambda k=kind, n=number: make(k, n)))
        for kind in KINDS
        for number in range(networks)
    ]


def trained(config: TrainConfig, variant: Callable[[GeneBatch], GeneBatch], cache: Path, seed: int) -> Any:
    """Network trained on the cached batches without some inputs; averaged weights."""
    torch.manual_seed(seed)
    network: Any = build_network(config.network)
    average = {k: v.detach().clone() for k, v in network.state_dict().items()}
    optimiser = torch.optim.AdamW(
        network.parameters(), config.learning_rate, weight_decay=config.weight_decay
    )
    for step, batch in enumerate(train_batches(config, cache)):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(config, step)
        loss = batch_loss(network, replace(batch, inputs=variant(batch.inputs)), config, device="cpu")
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), config.clip)
        optimiser.step()
        update_average(average, network.state_dict(), min(config.average_decay, (step + 1) / (step + 10)))
    network.load_state_dict(average)
    return network.eval()


@torch.no_grad()
def tested(network: Any, variant: Callable[[GeneBatch], GeneBatch], tests: list[Any]) -> list[dict[str, Any]]:
    """Average precision of each group, not told the kind and told."""
    rows = []
    for kind, number, (batch, targets) in tests:
        for told in (False, True):
            code = KINDS.index(kind) + 1 if told else 0
            inputs = replace(batch.inputs, kind=torch.full_like(batch.inputs.kind, code))
            logits = network(variant(inputs)).numpy()
            for group, hit in enumerate(targets):
                n_genes = int(batch.mask[group].sum())
                order = np.random.default_rng(group).permutation(n_genes)
                ranks = score_ranks(logits[group, :n_genes], order)
                precision = rank_metrics(ranks[hit], n_genes)["average_precision"]
                rows.append({"kind": kind, "network": number, "told": told, "average_precision": precision})
    return rows


def table(rows: pd.DataFrame) -> str:
    """Markdown: mean over seeds, and the smallest and largest seed, by kind, told and untold."""
    seeds = rows.groupby(["variant", "kind", "told", "seed"])["average_precision"].mean()
    heads = [f"{kind}, {'told' if told else 'untold'}" for kind in KINDS for told in (False, True)]
    lines = ["| inputs | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    for variant in VARIANTS:
        if variant not in seeds.index.get_level_values("variant"):
            continue
        cells = []
        for kind in KINDS:
            for told in (False, True):
                found = seeds[variant, kind, told]
                cells.append(f"{found.mean():.3f} [{found.min():.3f}, {found.max():.3f}]")
        lines.append(f"| {variant} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Train and test all variants."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=Path("docs"), help="folder of the pages")
    parser.add_argument("--cache", type=Path, required=True, help="folder for prepared batches, 1 GB")
    parser.add_argument("--steps", type=int, default=400, help="steps of each training")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each variant")
    parser.add_argument("--networks", type=int, default=8, help="test networks of each kind, 8 groups each")
    options = parser.parse_args(arguments)

    torch.set_num_threads(1)
    path = options.output / "results" / "ablation.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    done = pd.read_csv(path) if path.exists() else pd.DataFrame(columns=["variant", "seed", "steps"])
    config = study_config(options.steps, seed=11)
    tests = test_batches(config, options.cache, options.networks)
    jobs = [(seed, name) for seed in range(options.seeds) for name in VARIANTS]
    for seed, name in tqdm(jobs):
        same = (done["variant"] == name) & (done["seed"] == seed) & (done["steps"] == options.steps)
        if same.any():
            continue
        network = trained(config, VARIANTS[name], options.cache, seed)
        rows = pd.DataFrame(tested(network, VARIANTS[name], tests)).assign(
            variant=name, seed=seed, steps=options.steps
        )
        done = rows if done.empty else pd.concat([done, rows], ignore_index=True)
        done.to_csv(path, index=False, float_format="%.5g")
    text = table(done[done["steps"] == options.steps])
    note = (
        f"{options.seeds} seeds of {options.steps} steps each on the same batches; "
        f"{options.networks} networks of 8 groups a kind, 100 to 200 genes, 2,000 control and 100 or more "
        "perturbed cells; mean average precision, and the smallest and largest seed."
    )
    (options.output / "results" / "ablation.md").write_text(f"{note}\n\n{text}")


if __name__ == "__main__":
    main()
