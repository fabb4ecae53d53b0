"""Draw the schematic figures of the user guide: `.venv/bin/python docs/make_figures.py`.

They explain, and show no data. The numbers in them are made up.
"""

from itertools import pairwise
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch

STATIC = Path(__file__).resolve().parent / "_static"
BLUE, VERMILLION, GREY = "#0072b2", "#d55e00", "#8c8c8c"
# Where the genes of the small network stand: A regulates B, C and D, and D regulates E.
PLACES = {"A": (0.5, 0.86), "B": (0.12, 0.5), "C": (0.5, 0.42), "D": (0.88, 0.5), "E": (0.88, 0.1)}
EDGES = [("A", "B"), ("A", "C"), ("A", "D"), ("D", "E")]


def main() -> None:
    """Write both figures."""
    mpl.rcParams |= {"font.size": 10, "figure.dpi": 100, "savefig.dpi": 100, "svg.hashsalt": "cdn-sc"}
    draw_steps().savefig(STATIC / "method_steps.png")
    draw_cause_and_consequence().savefig(STATIC / "cause_and_consequence.png")


def draw_steps() -> plt.Figure:
    """The four steps, from cells to a ranking."""
    figure, axes = plt.subplots(1, 4, figsize=(9.6, 3.1), width_ratios=(1.1, 1.5, 0.9, 1.1))
    figure.subplots_adjust(left=0.02, right=0.98, bottom=0.2, top=0.86, wspace=0.28)
    titles = ("1  Two sets of cells", "2  Evidence for each gene", "3  Network", "4  Ranking")
    for axis, title in zip(axes, titles, strict=True):
        axis.set_title(title, fontsize=11, loc="left", fontweight="bold")
        axis.set(xlim=(0, 1), ylim=(0, 1))
        axis.axis("off")
    _draw_cells(axes[0])
    _draw_evidence(axes[1])
    _draw_network(axes[2])
    _draw_ranking(axes[3])
    for left, right in pairwise(axes):
        start, end = left.get_position().x1, right.get_position().x0
        arrow = FancyArrowPatch(
            (start + 0.002, 0.5),
            (end - 0.002, 0.5),
            transform=figure.transFigure,
            arrowstyle="-|>",
            mutation_scale=13,
            color="0.35",
            linewidth=1.4,
        )
        figure.add_artist(arrow)
    return figure


def _draw_cells(axis: Axes) -> None:
    rng = np.random.default_rng(0)
    for height, shift, colour, name in (
        (0.74, 0.0, GREY, "control cells"),
        (0.2, 0.7, BLUE, "perturbed cells"),
    ):
        values = rng.normal(size=(5, 12)) + shift * (np.arange(5)[:, None] % 2)
        extent = (0.08, 0.98, height - 0.2, height + 0.16)
        axis.imshow(values, extent=extent, aspect="auto", cmap="Greys", vmin=-3, vmax=3)
        axis.text(0.53, height + 0.185, name, ha="center", va="bottom", fontsize=9, color=colour)
    axis.text(0.03, 0.47, "genes", rotation=90, ha="center", va="center", fontsize=9)
    axis.set(xlim=(0, 1), ylim=(0, 1))


def _draw_evidence(axis: Axes) -> None:
    for low, colour, head, text in (
        (0.53, VERMILLION, "its own change", "tests of its expression\nin the two sets of cells"),
        (
            0.03,
            BLUE,
            "the change of the others",
            "read through how genes vary\ntogether within a condition",
        ),
    ):
        box = FancyBboxPatch(
            (0.03, low),
            0.94,
            0.4,
            boxstyle="round,pad=0.01,rounding_size=0.05",
            facecolor="none",
            edgecolor=colour,
            linewidth=1.6,
        )
        axis.add_patch(box)
        axis.text(
            0.5, low + 0.31, head, ha="center", va="center", fontsize=10, fontweight="bold", color=colour
        )
        axis.text(0.5, low + 0.13, text, ha="center", va="center", fontsize=9)


def _draw_network(axis: Axes) -> None:
    layers = [np.linspace(0.15, 0.85, number) for number in (4, 5, 4)]
    for column, (left, right) in enumerate(pairwise(layers)):
        for low in left:
            for high in right:
                axis.plot(
                    [0.15 + 0.35 * column, 0.5 + 0.35 * column], [low, high], color="0.8", linewidth=0.7
                )
    for column, heights in enumerate(layers):
        axis.scatter(np.full(heights.size, 0.15 + 0.35 * column), heights, s=46, color="0.25", zorder=2)
    axis.text(0.5, -0.06, "trained on simulated\nperturbations", ha="center", va="top", fontsize=9)


def _draw_ranking(axis: Axes) -> None:
    for place, (gene, score) in enumerate([("A", 0.8), ("D", 0.3), ("C", 0.12), ("B", 0.06)]):
        height = 0.82 - 0.22 * place
        axis.barh(height, score * 0.8, 0.12, left=0.18, color=VERMILLION if place == 0 else "0.7")
        axis.text(0.12, height, gene, ha="center", va="center", fontweight="bold" if place == 0 else "normal")
    axis.text(0.58, -0.06, "score of each gene,\none ranking a group", ha="center", va="top", fontsize=9)


def draw_cause_and_consequence() -> plt.Figure:
    """Why the most changed gene need not be the target."""
    figure, axes = plt.subplots(2, 3, figsize=(9.6, 5.0), height_ratios=(1.25, 1))
    figure.subplots_adjust(left=0.075, right=0.985, bottom=0.14, top=0.9, hspace=0.16, wspace=0.2)
    cases = (
        ("control cells", {}, None),
        ("knockdown of A", {"A": -2.4, "B": -1.1, "C": 1.0, "D": -1.3, "E": -0.8}, "transcript falls"),
        (
            "the activity of A is blocked",
            {"A": 0.0, "B": -1.1, "C": 1.0, "D": -1.9, "E": -1.2},
            "transcript stays",
        ),
    )
    for column, (title, change, word) in enumerate(cases):
        _draw_graph(axes[0, column], title, change, word)
        _draw_changes(axes[1, column], change, blocked=word == "transcript stays")
    axes[1, 0].set_ylabel("log2 fold change")
    return figure


def _draw_graph(axis: Axes, title: str, change: dict[str, float], word: str | None) -> None:
    axis.set_title(title, fontsize=11, fontweight="bold")
    axis.set(xlim=(-0.12, 1.12), ylim=(-0.04, 1.04))
    axis.axis("off")
    for source, target in EDGES:
        lost = word == "transcript stays" and source == "A"
        axis.add_patch(
            FancyArrowPatch(
                PLACES[source],
                PLACES[target],
                shrinkA=13,
                shrinkB=13,
                arrowstyle="-|>",
                mutation_scale=12,
                color="0.6" if lost else "0.25",
                linestyle=(0, (2.5, 2)) if lost else "-",
                linewidth=1.4,
            )
        )
    colours = mpl.colormaps["PuOr_r"]
    for gene, place in PLACES.items():
        face = colours(0.5 + change.get(gene, 0.0) / 5.5)
        hit = gene == "A" and word is not None
        edge, width = (VERMILLION, 2.6) if hit else ("0.25", 1.0)
        axis.add_patch(Circle(place, 0.085, facecolor=face, edgecolor=edge, linewidth=width))
        dark = abs(change.get(gene, 0.0)) > 1.6
        axis.text(*place, gene, ha="center", va="center", color="white" if dark else "black", zorder=3)
    if word is not None:
        axis.annotate(
            f"target: its\n{word}",
            (0.59, 0.87),
            (0.7, 0.9),
            fontsize=9,
            color=VERMILLION,
            va="center",
            arrowprops={"arrowstyle": "-", "color": VERMILLION, "linewidth": 1},
        )


def _draw_changes(axis: Axes, change: dict[str, float], *, blocked: bool) -> None:
    heights = [change.get(gene, 0.0) for gene in PLACES]
    axis.bar(list(PLACES), heights, color=[VERMILLION, *[GREY] * 4], width=0.6)
    axis.axhline(0, color="0.3", linewidth=0.8)
    axis.set_ylim(-3.3, 2.4)
    axis.spines[["top", "right", "bottom"]].set_visible(False)
    axis.tick_params(bottom=False)
    if not change:
        axis.text(2, 0.25, "nothing to compare with yet", ha="center", fontsize=9, color="0.35")
        return
    most = int(np.argmin(heights))
    axis.annotate(
        "a test brings up D,\na consequence" if blocked else "a test brings up A:\nthat was the target",
        (most - 0.2 if blocked else 0.35, heights[most] + 0.1),
        (1.2 if blocked else 2.2, -2.7),
        fontsize=9,
        ha="center",
        va="center",
        arrowprops={"arrowstyle": "->", "color": "0.35"},
    )
    if blocked:
        axis.annotate(
            "B, C, D and E together\npoint to A",
            (0, 0.05),
            (1.6, 1.9),
            fontsize=9,
            ha="center",
            va="center",
            color=BLUE,
            arrowprops={"arrowstyle": "->", "color": BLUE},
        )


if __name__ == "__main__":
    main()
