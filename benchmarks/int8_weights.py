"""Make the small files of the published architecture's networks, and measure what their rounding changes.

    python benchmarks/int8_weights.py ../float32 --weights src/cdn_sc/models/weights --output docs/results

The folder `../float32` holds `cdn-scm.safetensors` and the others as training wrote them. Matrices become
int8 with one scale a row; vectors, and matrices of fewer than 512 values, stay float32. Then both files score
the same pairs, of seeds that training does not draw: the suite scm240 (every so many of its pairs of 10 and
of 20 genes) or simulated screens of 24 to 60 genes. Rows of models that are not chosen stay in the table.
"""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from cdn_sc import models, settings
from cdn_sc.metrics.ranking import rank_metrics, score_ranks
from cdn_sc.metrics.suites import suite, suite_size
from cdn_sc.models.files import read_tensors, write_tensors
from cdn_sc.models.int8 import SCALE, rounded
from cdn_sc.predictors import Predictor
from cdn_sc.simulate import Pair, screen_pairs
from cdn_sc.simulate.scm import seeded_rng
from common import machine, write_table

MODELS = ("cdn-scm", "cdn-scm-difference", "cdn-screens")
#: Kept in float16: for their size these move logits most in int8, the first of them more than all others.
FLOAT16 = {
    "cdn-scm-difference": r"encoder\.embed_(nodes|tokens)|encoder\.layers\.\d\.linear|\.ffn\.|encoder_1d"
}
FEWEST_VALUES = 512
SCREEN_GENES = (24, 60)
GROUPS = 4


def make_small(large: Path, small: Path) -> None:
    """Write a file of float32 weights again, with matrices in int8."""
    config, tensors, card = read_tensors(large)
    if any(tensor.dtype != torch.float32 for tensor in tensors.values()):
        raise SystemExit(f"{large} does not hold float32 weights alone")
    del card["checksum"]
    found = {}
    for name, tensor in tensors.items():
        if tensor.ndim < 2 or tensor.numel() < FEWEST_VALUES:
            found[name] = tensor
        elif large.stem in FLOAT16 and re.search(FLOAT16[large.stem], name):
            found[name] = tensor.half()
        else:
            found[name], found[name + SCALE] = rounded(tensor)
    write_tensors(small, config, found, card)


def draw_pairs(model: str, genes: int | None, number: int, n_cells: int) -> list[Pair]:
    """Pairs of a model's own sort: of so many genes of the suite scm240, or of screens where None."""
    if genes is not None:
        options = {"genes": genes, "n_datasets": 1, "n_cells": n_cells}
        size = suite_size("scm240", **options) or 1
        options["n_datasets"] = -(-number // size)
        every = max(1, size // number)
        return list(suite("scm240", **options))[::every][:number]
    rng = seeded_rng("test", "int8", model)
    pairs: list[Pair] = []
    while len(pairs) < number:
        n_genes = int(rng.integers(*SCREEN_GENES, endpoint=True))
        cells = {"n_control": n_cells, "n_perturbed": (50, 500)}
        pairs += screen_pairs(rng, n_genes=n_genes, n_groups=GROUPS, **cells)
    return pairs[:number]


def average_precision(logits: np.ndarray, targets: np.ndarray) -> float:
    """Of one ranking."""
    ranks = score_ranks(logits, np.arange(len(logits)))
    return rank_metrics(ranks[targets], len(logits))["average_precision"]


def compare(model: str, files: Sequence[Path], genes: int | None, pairs: Sequence[Pair]) -> dict[str, object]:
    """One row: what the small file's logits are next to those of the large one, on the same inputs."""
    logits: list[list[np.ndarray]] = []
    for file in files:
        predictor = Predictor(models.load(file), columns=False)
        found = []
        for index, pair in enumerate(pairs):
            rng = seeded_rng("test", "int8", index)
            (prediction,) = predictor.launch(
                [predictor.prepare(pair.control, pair.perturbed, rng=rng)]
            ).fetch()
            found.append(prediction.logits)
        logits.append(found)
    large, small = logits
    change = np.concatenate(small) - np.concatenate(large)
    precision = np.array(
        [[average_precision(e, p.targets) for e, p in zip(found, pairs, strict=True)] for found in logits]
    )
    gain = precision[1] - precision[0]
    error = gain.std(ddof=1) / len(gain) ** 0.5 if len(gain) > 1 else np.nan
    same = [a.argmax() == b.argmax() for a, b in zip(large, small, strict=True)]
    return {
        "model": model,
        "genes": genes or f"{SCREEN_GENES[0]} to {SCREEN_GENES[1]}",
        "pairs": len(pairs),
        "SD of logits": f"{np.concatenate(large).std():.3g}",
        "root mean square change": f"{np.sqrt(np.mean(change**2)):.3g}",
        "largest change": f"{np.abs(change).max():.3g}",
        "same first gene": f"{np.mean(same):.1%}",
        "mAP float32": f"{precision[0].mean():.4f}",
        "mAP int8": f"{precision[1].mean():.4f}",
        "difference ± standard error": f"{gain.mean():+.4f} ± {error:.4f}",
        "MB float32": f"{files[0].stat().st_size / 1e6:.2f}",
        "MB int8": f"{files[1].stat().st_size / 1e6:.2f}",
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the small files and the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("float32", type=Path, help="folder of the files that training wrote")
    parser.add_argument("--weights", type=Path, required=True, help="folder for the small files")
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=MODELS)
    parser.add_argument("--pairs", type=int, default=480, help="pairs a row; 0 only writes the files")
    parser.add_argument("--cells", type=int, default=500, help="cells of an arm (of screens: control cells)")
    parser.add_argument("--output", type=Path, help="folder for int8_weights.csv and .md")
    options = parser.parse_args(arguments)
    settings.verbosity = "warning"
    rows = []
    for model in options.models:
        files = [folder / f"{model}.safetensors" for folder in (options.float32, options.weights)]
        make_small(*files)
        for genes in (10, 20) if "scm" in model else (None,):
            if options.pairs:
                pairs = draw_pairs(model, genes, options.pairs, options.cells)
                rows.append(compare(model, files, genes, pairs))
                print(rows[-1], flush=True)
    if rows:
        table = pd.DataFrame(rows)
        if options.output and (kept := options.output / "int8_weights.csv").exists():
            before = pd.read_csv(kept, dtype=str)
            table = pd.concat([before[~before["model"].isin(options.models)], table])
        note = f"{options.cells} cells an arm, of screens 50 to 500 perturbed cells. {machine()}."
        write_table("int8_weights", table.sort_values("model", kind="stable"), note, options.output)


if __name__ == "__main__":
    main()
