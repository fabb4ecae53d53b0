"""What each family of inputs is worth to the gene transformer: short trainings, each without one family.

    python benchmarks/ablation.py --output docs --cache ablation_cache

All variants and seeds train on the same prepared batches (smaller panels and fewer steps than the bundled
weights, so the figures compare variants; they say nothing of the bundled model), and are tested on networks
of the seed space "test". Writes ``results/ablation.md``. The cache folder holds the prepared batches and the
rows of all groups; a run that was stopped goes on from there.
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
from scipy import stats
from tqdm.auto import tqdm

from cdn_sc.features import FEATURES
from cdn_sc.features._deconvolution import DECONVOLUTION_FEATURES
from cdn_sc.features._others import OTHERS_FEATURES
from cdn_sc.features._own import OWN_FEATURES
from cdn_sc.metrics.ranking import rank_metrics, score_ranks
from cdn_sc.models import build_network
from cdn_sc.nn import GeneBatch
from cdn_sc.simulate import screen_pairs
from cdn_sc.simulate.relations import TableQuality
from cdn_sc.simulate.scm import seeded_rng
from cdn_sc.train import read_config
from cdn_sc.train.config import TrainConfig
from cdn_sc.train.loop import learning_rate, update_average
from cdn_sc.train.objective import batch_loss
from cdn_sc.train.prepare import PreparedBatch, prepare_batch, prepare_step

KINDS = ("knockdown", "activation", "knockout", "activity")
_ACTIVITY: dict[str, Any] = {"kinds": {"activity": 1.0}}
# What is tested: groups of one kind on plain screens, and activity where more is known or less is measured
TESTS: dict[str, dict[str, Any]] = {kind: {"kinds": {kind: 1.0}} for kind in KINDS} | {
    "activity, with a table": _ACTIVITY | {"relations": TableQuality(known=0.5, correct=0.5)},
    "activity, wider ranges": _ACTIVITY | {"wide": True},
    "knockdown, few samples": {
        "kinds": {"knockdown": 1.0}, "samples": True, "n_control": 32, "n_perturbed": (2, 4),
    },
}  # fmt: skip
FITTED = tuple(name for name in OTHERS_FEATURES if name.startswith("fitted_"))


@dataclass(frozen=True)
class Variant:
    """Inputs that a variant does without."""

    features: tuple[str, ...] = ()
    edges: bool = False
    kind: bool = False
    known: bool = False
    plain_draws: bool = False  # trained on screens of the plain ranges, none of samples

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


VARIANTS: dict[str, Variant] = {
    "all inputs": Variant(),
    "without the gene's own statistics": Variant(features=OWN_FEATURES),
    "without projections and residuals": Variant(features=OTHERS_FEATURES),
    "without deconvolution": Variant(features=DECONVOLUTION_FEATURES),
    "without neighbours": Variant(edges=True),
    "without the kind": Variant(kind=True),
    "without what neighbours tell": Variant(features=FITTED),
    "without known relations": Variant(known=True),
    "without moderated t": Variant(features=("moderated_t", "moderated_t_rank")),
    "trained on plain screens only": Variant(plain_draws=True),
    "own statistics only": Variant(OTHERS_FEATURES + DECONVOLUTION_FEATURES, edges=True, known=True),
}


def study_config(steps: int, seed: int, plain_draws: bool = False) -> TrainConfig:
    """The shipped configuration with panels of at most 200 genes, and fewer steps."""
    config = read_config("gene-transformer")
    changed: dict[str, Any] = {"genes": [24, 200], "values": 400_000, "large": 0.0}
    if plain_draws:
        changed |= {"wide": 0.0, "samples": 0.0}
    sources = tuple(
        replace(s, options=s.options | (changed if s.type == "screen" else {})) for s in config.sources
    )
    return replace(
        config, sources=sources, steps=steps, seed=seed,
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
        yield cached(cache / f"{step}.pkl", lambda step=step: prepare_step(config, sizes, step).batch)


def test_batches(config: TrainConfig, cache: Path, networks: int) -> list[tuple[str, int, Any]]:
    """Test, network and prepared groups of networks that nothing trains on; 100 or more perturbed cells."""
    sizes = build_network(config.network).config

    def make(test: str, number: int) -> tuple[PreparedBatch, list[np.ndarray]]:
        rng = seeded_rng("test", 0, "ablation", test, number)
        n_genes = int(rng.integers(100, 201))
        drawn = {"n_control": 2000, "n_perturbed": (100, 500)} | TESTS[test]
        pairs = screen_pairs(rng, n_genes=n_genes, n_groups=8, **drawn)
        return prepare_batch(pairs, config, sizes, rng), [p.targets for p in pairs]

    return [
        (test, number, cached(cache / f"{test}_{number}.pkl", lambda t=test, n=number: make(t, n)))
        for test in TESTS
        for number in range(networks)
    ]


def trained(config: TrainConfig, variant: Variant, cache: Path, seed: int) -> Any:
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
def tested(network: Any, variant: Variant, tests: list[Any]) -> list[dict[str, Any]]:
    """Average precision of each group, not told the kind and told."""
    rows = []
    for test, number, (batch, targets) in tests:
        [kind] = TESTS[test]["kinds"]
        for told in (False, True):
            code = KINDS.index(kind) + 1 if told else 0
            inputs = replace(batch.inputs, kind=torch.full_like(batch.inputs.kind, code))
            logits = network(variant(inputs)).numpy()
            for group, hit in enumerate(targets):
                n_genes = int(batch.mask[group].sum())
                order = np.random.default_rng(group).permutation(n_genes)
                ranks = score_ranks(logits[group, :n_genes], order)
                precision = rank_metrics(ranks[hit], n_genes)["average_precision"]
                rows.append({"test": test, "network": number, "told": told, "average_precision": precision})
    return rows


def table(rows: pd.DataFrame) -> str:
    """Markdown, a block untold and one told: mean over seeds, the smallest and largest seed; difference.

    Differences are of the same seeds and networks as with all inputs, with a 95% interval over networks.
    """
    of_network = rows.groupby(["variant", "test", "told", "network"])["average_precision"].mean()
    of_seed = rows.groupby(["variant", "test", "told", "seed"])["average_precision"].mean()
    there = [name for name in VARIANTS if name in of_seed.index.get_level_values("variant")]
    blocks = []
    for told in (False, True):
        lines = ["| inputs | " + " | ".join(TESTS) + " |", "|---" * (len(TESTS) + 1) + "|"]
        for variant in there:
            cells = []
            for test in TESTS:
                found = of_seed[variant, test, told]
                cell = f"{found.mean():.3f} ({found.min():.3f} to {found.max():.3f})"
                if variant != there[0]:
                    change = of_network[variant, test, told] - of_network[there[0], test, told]
                    low, high = stats.ttest_1samp(change, 0.0).confidence_interval()
                    cell += f"; {change.mean():+.3f} [{low:+.3f}, {high:+.3f}]"
                cells.append(cell)
            lines.append(f"| {variant} | " + " | ".join(cells) + " |")
        blocks.append(f"{'Told' if told else 'Not told'} the kind:\n\n" + "\n".join(lines) + "\n")
    return "\n".join(blocks)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train and test all variants."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=Path("docs"), help="folder of the pages")
    parser.add_argument(
        "--cache", type=Path, required=True, help="folder for prepared batches and rows, 2 GB"
    )
    parser.add_argument("--steps", type=int, default=400, help="steps of each training")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each variant")
    parser.add_argument("--networks", type=int, default=8, help="test networks of each kind, 8 groups each")
    options = parser.parse_args(arguments)

    torch.set_num_threads(1)
    path = options.cache / "ablation.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    (options.output / "results").mkdir(parents=True, exist_ok=True)
    done = pd.read_csv(path) if path.exists() else pd.DataFrame(columns=["variant", "seed", "steps"])
    configs = {plain: study_config(options.steps, seed=11, plain_draws=plain) for plain in (False, True)}
    tests = test_batches(configs[False], options.cache / "test", options.networks)
    jobs = [(seed, name) for seed in range(options.seeds) for name in VARIANTS]
    for seed, name in tqdm(jobs):
        same = (done["variant"] == name) & (done["seed"] == seed) & (done["steps"] == options.steps)
        if same.any():
            continue
        variant = VARIANTS[name]
        batches = options.cache / ("train_plain" if variant.plain_draws else "train")
        network = trained(configs[variant.plain_draws], variant, batches, seed)
        rows = pd.DataFrame(tested(network, variant, tests)).assign(
            variant=name, seed=seed, steps=options.steps
        )
        done = rows if done.empty else pd.concat([done, rows], ignore_index=True)
        done.to_csv(path, index=False, float_format="%.5g")
    text = table(done[done["steps"] == options.steps])
    note = (
        f"{options.seeds} seeds of {options.steps} steps each on the same batches; "
        f"{options.networks} networks of 8 groups a test, 100 to 200 genes, 2,000 control and 100 to 500 "
        "perturbed cells (few samples: 32 and 2 to 4). Mean average precision (smallest and largest seed); "
        "difference to all inputs with its interval over networks."
    )
    (options.output / "results" / "ablation.md").write_text(f"{note}\n\n{text}")


if __name__ == "__main__":
    main()
