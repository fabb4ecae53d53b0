"""Time and peak memory against genes, cells and groups, from the tables of `speed.py` and `scaling.py`.

python benchmarks/speed_figure.py --results docs/results --output docs/_static/speed.png
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes

BLACK, ORANGE, BLUE, GREEN = "#000000", "#E69F00", "#0072B2", "#009E73"
"""Of the palette of Okabe and Ito, which people with colour blindness can tell apart."""

# label, column of seconds, column of memory, colour, marker
OF_GENES = (
    ("straightforward path", "straightforward s", "straightforward GB", BLACK, "s"),
    ("published network", "one group s", "one group GB", BLUE, "o"),
    ("the same, in a screen of 20", "in a screen s", "in a screen GB", ORANGE, "^"),
    ("default network", "own network s", "own network GB", GREEN, "D"),
)
OF_CHOICES = (("of each group", BLUE, "o"), ("one panel", ORANGE, "^"))
SMALLEST_MEMORY = 1e-3
"""In GB; what is measured below, pages of memory apart, is drawn here."""


def draw_genes(time: Axes, memory: Axes, speed: pd.DataFrame) -> None:
    """Seconds a group and peak memory against the number of genes."""
    for label, seconds, gigabytes, colour, marker in OF_GENES:
        time.plot(speed["genes"], speed[seconds], color=colour, marker=marker, label=label)
        held = speed[gigabytes].clip(lower=SMALLEST_MEMORY)
        memory.plot(speed["genes"], held, color=colour, marker=marker, label=label)
    time.plot(speed["genes"], speed["floor s"], color=BLUE, linestyle=":", label="its matrix products alone")
    time.set_title("one group, network included")
    memory.set_xlabel("genes")


def draw_scaling(time: Axes, memory: Axes, table: pd.DataFrame, against: str, title: str) -> None:
    """Seconds of a whole screen and peak memory, without the network, against one of its sizes."""
    for genes, colour, marker in OF_CHOICES:
        rows = table[table["genes"] == genes].sort_values(against)
        label = f"genes: {genes}"
        time.plot(rows[against], rows["seconds"], color=colour, marker=marker, label=label)
        held = rows["peak GB beyond it"].clip(lower=SMALLEST_MEMORY)
        memory.plot(rows[against], held, color=colour, marker=marker, label=label)
    time.set_title(title)
    memory.set_xlabel(against)


def draw(speed: pd.DataFrame, scaling: pd.DataFrame, path: Path) -> None:
    """Write the picture."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(2, 3, figsize=(11, 6), layout="constrained")
    draw_genes(axes[0, 0], axes[1, 0], speed)
    # the number of groups that most numbers of cells were timed with, and the largest number of cells
    groups = scaling.groupby("groups")["cells"].nunique()
    groups = int(groups[groups == groups.max()].index.max())
    cells = int(scaling["cells"].max())
    of_cells = scaling[scaling["groups"] == groups]
    draw_scaling(axes[0, 1], axes[1, 1], of_cells, "cells", f"{groups:,} groups, without the network")
    of_groups = scaling[scaling["cells"] == cells]
    draw_scaling(axes[0, 2], axes[1, 2], of_groups, "groups", f"{cells:,} cells, without the network")
    for axis in axes.flat:
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.grid(alpha=0.3, which="major")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0, 0].set_ylabel("seconds")
    axes[1, 0].set_ylabel("peak memory beyond the input, GB")
    for axis in axes[0]:
        axis.legend(fontsize=7, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw what the command line names."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=Path, default=Path("docs/results"))
    parser.add_argument("--output", type=Path, default=Path("docs/_static/speed.png"))
    options = parser.parse_args(arguments)
    tables = (pd.read_csv(options.results / name) for name in ("speed.csv", "scaling.csv"))
    draw(*tables, options.output)


if __name__ == "__main__":
    main()
