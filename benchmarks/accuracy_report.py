"""Tables and picture of the accuracy study."""

from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from PIL import Image

from accuracy_points import AXES, TESTS, Design, Setting
from cdn_sc.simulate.perturbation import KINDS

LABELS = {
    "perturbed_cells": "perturbed cells",
    "control_cells": "control cells",
    "genes": "genes",
    "strength": "mean edge weight",
    "effect": "effect size",
    "penetrance": "penetrance",
    "targets": "targets a group",
    "other_groups": "other groups in the screen",
}
TEST_LABELS = {"wilcoxon": "Wilcoxon", "t_test": "Welch's t", "kolmogorov_smirnov": "Kolmogorov-Smirnov"}
LOGARITHMIC = ("perturbed_cells", "control_cells", "genes")
# Okabe and Ito's colours, which are told apart with any colour vision; dashes and marks tell them apart too
TOLD = {"color": "#0072B2", "lw": 1.8, "marker": "o", "ms": 3.5}
NOT_TOLD = {"color": "#D55E00", "lw": 1.8, "marker": "s", "ms": 3.2}
TEST_LINES = {
    "wilcoxon": {"color": "#009E73", "ls": "-", "lw": 1.1},
    "t_test": {"color": "#000000", "ls": "--", "lw": 1.1},
    "kolmogorov_smirnov": {"color": "#8A8A8A", "ls": ":", "lw": 1.4},
}


def methods(rows: pd.DataFrame) -> list[tuple[str, bool, str]]:
    """Method, whether it is told the kind, and label: the model first."""
    found = rows[["method", "told"]].drop_duplicates().itertuples(index=False)
    models = sorted((name, bool(told)) for name, told in found if name not in TESTS)
    labelled = [(name, told, f"model, kind {'told' if told else 'not told'}") for name, told in models]
    return labelled + [(name, False, TEST_LABELS[name]) for name in TESTS]


def table_of(rows: pd.DataFrame, axis: str, design: Design) -> str:
    """Markdown: a row for every kind and value of an axis, a column for every method."""
    chosen = rows[rows["axis"] == axis]
    middle = Setting()
    others = [f"{LABELS[name]} {getattr(middle, name):g}" for name in AXES if name != axis]
    columns = methods(chosen)
    header = ["kind", LABELS[axis], *(label for _, _, label in columns)]
    model = next(name for name, _, _ in columns if name not in TESTS)
    weights = chosen["sha256"].iloc[0] or "from no file"
    lines = [
        f"Model {model}, weights {weights}. Each row: {design.seeds * design.networks} networks with",
        f"{design.groups} groups each. Fixed: {', '.join(others)}.",
        "",
        "| " + " | ".join(header) + " |",
        "|" + "---|" * len(header),
    ]
    for kind in KINDS:
        for value in sorted(chosen.loc[chosen["kind"] == kind, "value"].unique()):
            point = chosen[(chosen["kind"] == kind) & (chosen["value"] == value)]
            cells = [
                _cell(point[(point["method"] == name) & (point["told"] == told)]) for name, told, _ in columns
            ]
            lines.append("| " + " | ".join([kind, f"{value:g}", *cells]) + " |")
    return "\n".join(lines) + "\n"


def _cell(rows: pd.DataFrame) -> str:
    is_all = rows["seed"] == "all"
    pooled, editions = rows[is_all].iloc[0], rows.loc[~is_all, "mean"]
    interval = f"[{pooled['low']:.3f}, {pooled['high']:.3f}]"
    return f"{pooled['mean']:.3f} {interval}<br>{editions.min():.3f} to {editions.max():.3f}"


def draw(rows: pd.DataFrame, path: Path) -> None:
    """Draw a panel for every axis (rows) and kind (columns)."""
    pooled = rows[rows["seed"] == "all"]
    axes = [axis for axis in AXES if (pooled["axis"] == axis).any()]
    with plt.rc_context({"font.size": 8, "axes.linewidth": 0.7}):
        figure, panels = plt.subplots(
            len(axes), len(KINDS), figsize=(9, 0.9 + 1.6 * len(axes)), sharey=True, squeeze=False,
            layout="constrained",
        )  # fmt: skip
        for line, axis in zip(panels, axes, strict=True):
            for panel, kind in zip(line, KINDS, strict=True):
                draw_panel(panel, pooled[(pooled["axis"] == axis) & (pooled["kind"] == kind)], axis)
            line[0].set_ylabel("mean AP")
        for panel, kind in zip(panels[0], KINDS, strict=True):
            panel.set_title(kind, fontsize=10, fontweight="bold")
        handles, labels = panels[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=5, frameon=False)
        image = BytesIO()
        figure.savefig(image, dpi=110)
    plt.close(figure)
    # a limited palette keeps the file small
    Image.open(image).convert("RGB").quantize(64).save(path, optimize=True)


def draw_panel(panel: Axes, rows: pd.DataFrame, axis: str) -> None:
    """Draw a line for every method, with the interval of the model's."""
    for name, told, label in methods(rows):
        points = rows[(rows["method"] == name) & (rows["told"] == told)].sort_values("value")
        style: dict[str, Any] = TEST_LINES[name] if name in TESTS else TOLD if told else NOT_TOLD
        panel.plot(points["value"], points["mean"], label=label, **style)
        if name not in TESTS:
            panel.fill_between(
                points["value"], points["low"], points["high"], color=style["color"], alpha=0.15, lw=0
            )
    values = AXES[axis]
    if axis in LOGARITHMIC:
        panel.set_xscale("log")
    panel.set_xticks(values, [f"{v / 1000:g}k" if v >= 1000 else f"{v:g}" for v in values], fontsize=7)
    panel.minorticks_off()
    panel.set(xlabel=LABELS[axis], ylim=(0, 1.02))
    panel.spines[["top", "right"]].set_visible(False)
    panel.grid(axis="y", lw=0.4, alpha=0.5)
