"""Draw every plot on a small simulated screen, on Papalexi (2021), and on 2,000 simulated groups.

    python benchmarks/plot_gallery.py --shared ../shared/data --output docs/_static/plots

The pictures of the page "Plots" and of the docstrings. Without the file of Papalexi, or with `--only`, the
other pictures stay as they are.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

import cdn_sc
from cdn_sc.predictors import load_predictor
from cdn_sc.simulate import Pair

PAPALEXI = "papalexi2021_thp1.h5ad"
N_GROUPS = 2000


@dataclass(frozen=True)
class Input:
    """A screen with predicted targets, and what to show of it."""

    name: str
    adata: Any
    targets: dict[str, list[str]]
    groups: list[str] | None
    graph: tuple[str, str]
    kind: str | None = None


def normalised(adata: Any, kind: str | None = None) -> Any:
    """Normalise counts and predict targets."""
    import scanpy as sc

    sc.pp.normalize_total(adata)
    sc.pp.log1p(adata)
    cdn_sc.tl.predict_targets(adata, groupby="perturbation", control="control", kind=kind)
    return adata


def simulated(_: Path) -> Input:
    """The screen of the demonstration."""
    adata = normalised(cdn_sc.datasets.simulated_screen())
    targets = {group: list(genes) for group, genes in adata.uns["targets"].items()}
    activity = next(group for group in targets if group.endswith("(activity)"))
    return Input("simulated", adata, targets, None, (activity, targets[activity][0]))


def papalexi(shared: Path) -> Input | None:
    """Knockouts in THP-1 cells; None where the file is absent."""
    import scanpy as sc

    path = shared / PAPALEXI
    if not path.is_file():
        print(f"left out: there is no {path}")
        return None
    adata = normalised(sc.read_h5ad(path), kind="knockout")
    targets = {group: [gene] for group, gene in adata.uns["target_in_var"].items() if gene}
    groups = ["IFNGR1", "IFNGR2", "JAK2", "STAT1", "SMAD4", "CUL3", "CMTM6", "BRD4"]
    return Input("papalexi", adata, targets, groups, ("IFNGR2", "STAT1"), "knockout")


def many_groups(_: Path) -> Input:
    """A screen of 60 genes and 2,000 groups of 20 cells."""
    adata = normalised(cdn_sc.simulate.screen(60, N_GROUPS, n_control=500, n_perturbed=20, seed=1))
    targets = {group: list(genes) for group, genes in adata.uns["targets"].items()}
    activity = next(group for group in targets if "(activity)" in group)
    return Input("groups", adata, targets, None, (activity, targets[activity][0]))


INPUTS: dict[str, Callable[[Path], Input | None]] = {
    "simulated": simulated,
    "papalexi": papalexi,
    "groups": many_groups,
}


def pairs(shown: Input) -> Iterator[Pair]:
    """The groups of a screen whose targets are known, as pairs to evaluate on."""
    values, labels = shown.adata.X.toarray(), shown.adata.obs["perturbation"].to_numpy()
    control = np.ascontiguousarray(values[labels == "control"], dtype=np.float32)
    for group, genes in shown.targets.items():
        perturbed = np.ascontiguousarray(values[labels == group], dtype=np.float32)
        yield Pair(control, perturbed, shown.adata.var_names.get_indexer(genes))


def evaluated(shown: Input) -> cdn_sc.metrics.EvaluationResult:
    """Evaluate the default model and the rivals on a screen."""
    predictor = load_predictor(columns=False)
    return cdn_sc.metrics.evaluate(pairs(shown), {predictor.name: predictor}, total=len(shown.targets))


PLOTS: dict[str, Callable[[Input], Any]] = {
    "predicted_targets": lambda shown: cdn_sc.pl.predicted_targets(
        shown.adata, shown.groups, n_genes=5, targets=shown.targets, show=False
    ),
    "target_heatmap": lambda shown: cdn_sc.pl.target_heatmap(shown.adata, targets=shown.targets, show=False),
    "score_vs_effect": lambda shown: cdn_sc.pl.score_vs_effect(
        shown.adata, shown.groups, targets=shown.targets, show=False
    ),
    "graph_difference": lambda shown: cdn_sc.pl.graph_difference(shown.adata, *shown.graph, show=False),
    "evaluation": lambda shown: cdn_sc.pl.evaluation(evaluated(shown), show=False),
}


def save(axes: Any, path: Path) -> None:
    """Write the picture with 256 colours, which makes it small."""
    figure = (axes[0] if isinstance(axes, list) else axes).get_figure()
    figure.savefig(path, dpi=100, bbox_inches="tight")
    plt.close(figure)
    shrink(path)
    print(f"{path}: {path.stat().st_size / 1024:.0f} kB")


def shrink(path: Path) -> None:
    """Write a picture anew with a palette that fits its colours."""
    with Image.open(path) as picture:
        small = picture.convert("RGB").quantize(256, kmeans=2, dither=Image.Dither.NONE)
    small.save(path, optimize=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw the pictures that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path("../shared/data"), help=f"folder with {PAPALEXI}")
    parser.add_argument("--output", type=Path, default=Path("docs/_static/plots"))
    parser.add_argument("--inputs", nargs="+", choices=list(INPUTS), default=list(INPUTS))
    parser.add_argument("--only", nargs="+", choices=list(PLOTS), default=list(PLOTS), help="which plots")
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    plt.switch_backend("Agg")
    for name in options.inputs:
        shown = INPUTS[name](options.shared)
        if shown is not None:
            for plot in options.only:
                save(PLOTS[plot](shown), options.output / f"{plot}_{name}.png")


if __name__ == "__main__":
    main()
