"""Pairs a second on one core: simulated alone, and with everything that a network reads.

    python benchmarks/simulation_speed.py --output docs/results

Draws what a shipped training configuration draws, step by step, with one thread; both columns count the same
pairs, so that their ratio is the cost of the inputs. A batch holds pairs of one panel size.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import pandas as pd
import torch
from threadpoolctl import threadpool_limits

from cdn_sc.models import build_network
from cdn_sc.train.config import TrainConfig, read_config
from cdn_sc.train.data import draw_batch
from cdn_sc.train.prepare import prepare_step
from common import machine, markdown


def measure(config: TrainConfig, steps: int) -> dict[str, object]:
    """Pairs a second of one source, over some steps."""
    sizes = build_network(config.network).config
    prepare_step(config, sizes, 0)
    pairs, seconds_drawn, seconds_prepared = 0, 0.0, 0.0
    with threadpool_limits(1):
        for step in range(1, steps + 1):
            started = perf_counter()
            pairs += len(draw_batch(config, step))
            drawn = perf_counter()
            prepare_step(config, sizes, step)
            seconds_drawn += drawn - started
            seconds_prepared += perf_counter() - drawn
    (source,) = config.sources
    return {
        "configuration": config.name,
        "source": source.type,
        "genes": "-".join(map(str, source.options.get("genes") or source.options["gene_choices"])),
        "pairs": pairs,
        "pairs / s, simulated": pairs / seconds_drawn,
        "pairs / s, with inputs": pairs / seconds_prepared,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--configs", nargs="+", default=["gene-transformer", "cdn-scm"])
    parser.add_argument("--steps", type=int, default=60, help="batches of each source")
    parser.add_argument("--output", type=Path, help="folder for simulation_speed.md")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    rows = []
    for name in options.configs:
        config = read_config(name)
        rows += [measure(replace(config, sources=(source,)), options.steps) for source in config.sources]
    text = (
        markdown(pd.DataFrame(rows)) + f"\n{options.steps} batches of each source, one thread. {machine()}.\n"
    )
    print(text)
    if options.output:
        (options.output / "simulation_speed.md").write_text(text)


if __name__ == "__main__":
    main()
