"""What it takes a group to go through the network, by how many groups go together.

    python benchmarks/batching.py --genes 20 100 --together 1 2 4 8 16 --output docs/results

Groups with shared genes, made ready beforehand; the control arm's code is there. Processor milliseconds a
group (of all threads), the least over repeats, with every choice taken in turn in each repeat.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import pandas as pd

from cdn_sc import settings
from cdn_sc.predictors import Predictor, load_predictor
from common import machine, markdown

N_CONTROL, N_PERTURBED = 1000, 200


def prepare(predictor: Predictor, n_genes: int, number: int) -> list[Any]:
    """Comparisons of cells of no structure: the time depends on their numbers alone."""
    rng = np.random.default_rng(0)
    control = rng.gamma(1.0, 1.0, (N_CONTROL, n_genes)).astype(np.float32)
    return [
        predictor.prepare(
            control,
            rng.gamma(1.0, 1.0, (N_PERTURBED, n_genes)).astype(np.float32),
            rng=np.random.default_rng(index),
            control_seed=0,
        )
        for index in range(number)
    ]


def run(predictor: Predictor, comparisons: Sequence[Any], together: int) -> float:
    """Processor seconds that all comparisons take, so many at a time."""
    started = process_time()
    for start in range(0, len(comparisons), together):
        predictor.launch(comparisons[start : start + together]).fetch()
    return process_time() - started


def measure(
    model: str, device: str, n_genes: int, together: Sequence[int], repeats: int
) -> list[dict[str, object]]:
    """One row for each number of groups that go together."""
    predictor = load_predictor(model, device)
    comparisons = prepare(predictor, n_genes, max(together))
    for number in together:
        run(predictor, comparisons, number)
    times = [[run(predictor, comparisons, number) for number in together] for _ in range(repeats)]
    least = 1e3 * np.min(times, axis=0) / len(comparisons)
    return [
        {
            "model": model,
            "genes": n_genes,
            "together": number,
            "ms a group": milliseconds,
            "one by one / this": least[list(together).index(min(together))] / milliseconds,
            "chosen": "*" if number == predictor.batch_size(n_genes) else "",
        }
        for number, milliseconds in zip(together, least, strict=True)
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", default=["cdn-scm", "gene-transformer"])
    parser.add_argument("--genes", type=int, nargs="+", default=[20, 100])
    parser.add_argument("--together", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--output", type=Path, help="folder for batching.csv and batching.md")
    options = parser.parse_args(arguments)
    settings.verbosity = "warning"
    rows = []
    for model in options.models:
        for n_genes in options.genes:
            rows += measure(model, options.device, n_genes, options.together, options.repeats)
    table = pd.DataFrame(rows)
    text = markdown(table) + f"\nThe star marks what `predict_targets` takes. {machine()}.\n"
    print(text)
    if options.output:
        options.output.mkdir(parents=True, exist_ok=True)
        table.to_csv(options.output / "batching.csv", index=False, float_format="%.5g")
        (options.output / "batching.md").write_text(text)


if __name__ == "__main__":
    main()
