"""Draw simulated screens beside real ones: three pictures for the documentation.

    python benchmarks/simulation_pictures.py --shared ../shared/data --output docs

Writes ``_static/simulation_*.png`` into the output folder; ``simulation_realism.py`` makes the tables of the
same screens.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from scipy import stats

from simulation_realism import (
    N_CONTROL,
    N_EIGEN_GENES,
    NOISE,
    Screen,
    absolute_correlations,
    eigenvalue_shares,
    parse,
    real_screens,
    shifts,
    simulated_screens,
    target_fold_changes,
)

# Okabe and Ito's colours, which are told apart with any colour vision
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#8A8A8A"


def tidy(axes: Axes, title: str, x: str, y: str) -> None:
    """Title and labels; no frame at the top and the right."""
    axes.set_title(title, loc="left", fontsize=10, fontweight="bold")
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.spines[["top", "right"]].set_visible(False)


def save(figure: plt.Figure, path: Path) -> None:
    """Write a picture with a limited palette, which keeps it small."""
    figure.savefig(path, dpi=110, pil_kwargs={"optimize": True})
    plt.close(figure)


def draw_counts(real: list[Screen], simulated: list[Screen], path: Path) -> None:
    """Variance and zeros against the mean, and library sizes."""
    figure, axes = plt.subplots(1, 3, figsize=(10.5, 3.5), layout="constrained")
    line = np.geomspace(3e-3, 60, 200)
    axes[0].plot(line, line, color="black", lw=0.8, ls=":")
    axes[1].plot(line, np.exp(-line), color="black", lw=0.8, ls=":", label="Poisson")
    styles = [(simulated, [GREY] * len(simulated), 3, 0.35), (real, [BLUE, ORANGE], 9, 0.9)]
    for screens, colours, size, alpha in styles:
        for index, (s, colour) in enumerate(zip(screens, colours, strict=True)):
            label = s.name if s in real else "simulated" if index == 0 else None
            mean = s.counts.mean(axis=0)
            marks = {"s": size, "color": colour, "alpha": alpha, "lw": 0}
            axes[0].scatter(mean, s.counts.var(axis=0), **marks)
            axes[1].scatter(mean, np.mean(s.counts == 0, axis=0), label=label, **marks)
            totals = np.log2(np.maximum(s.counts.sum(axis=1), 1))
            totals -= np.median(totals)
            grid = np.linspace(-3, 3, 200)
            width, alpha_line = (2.2, 1.0) if s in real else (0.9, 0.8)
            axes[2].plot(
                grid, stats.gaussian_kde(totals, 0.25)(grid), color=colour, lw=width, alpha=alpha_line
            )
    axes[0].set(xscale="log", yscale="log", xlim=(3e-3, 90), ylim=(3e-3, 5e3))
    axes[1].set(xscale="log", xlim=(3e-3, 90))
    axes[2].set(xlim=(-3, 3), ylim=(0, None))
    tidy(axes[0], "Variance against mean", "mean count", "variance of counts")
    tidy(axes[1], "Zeros against mean", "mean count", "share of cells with a zero")
    tidy(axes[2], "Library size of the panel", "log2 total count - median", "density of cells")
    legend = axes[1].legend(frameon=False, fontsize=8, loc="lower left", handletextpad=0.3)
    for handle in legend.legend_handles:
        handle.set_alpha(1)
    save(figure, path)


def draw_correlations(real: list[Screen], simulated: list[Screen], path: Path) -> None:
    """Quantiles of absolute correlations and leading eigenvalues."""
    figure, axes = plt.subplots(1, 2, figsize=(8, 3.5), layout="constrained")
    levels = 1 - np.geomspace(1, 1e-3, 60)
    ticks = [0, 0.5, 0.9, 0.99, 0.999]
    null = stats.norm.ppf((1 + levels) / 2) / np.sqrt(N_CONTROL)
    axes[0].plot(1 - levels, null, color="black", ls=":", lw=1, label="independent genes")
    noise = np.random.default_rng(0).standard_normal((N_CONTROL, N_EIGEN_GENES))
    independent = Screen("independent genes", noise, None, [])
    numbers = np.arange(1, 11)
    axes[1].plot(numbers, eigenvalue_shares(independent, 1)[:10], color="black", ls=":", lw=1)
    for screens, colours in ((simulated, [GREY] * len(simulated)), (real, [BLUE, ORANGE])):
        for index, (s, colour) in enumerate(zip(screens, colours, strict=True)):
            is_real = s in real
            line = {"color": colour, "lw": 2.2 if is_real else 0.9, "alpha": 1 if is_real else 0.8}
            line["label"] = s.name if is_real else "simulated" if index == 0 else None
            axes[0].plot(1 - levels, np.quantile(absolute_correlations(s), levels), **line)
            axes[1].plot(numbers, eigenvalue_shares(s)[:10], marker="o", ms=2.5, **line)
    axes[0].set(xscale="log", yscale="log", xlim=(1, 1e-3), ylim=(3e-3, 1))
    axes[0].set_xticks(1 - np.array(ticks), [f"{t:.1%}".replace(".0%", "%") for t in ticks])
    axes[0].minorticks_off()
    axes[1].set(yscale="log", xticks=numbers)
    axes[1].set_yticks(np.array([1, 2, 3, 4, 6]) / 100, ["1%", "2%", "3%", "4%", "6%"])
    axes[1].minorticks_off()
    tidy(axes[0], "Correlations in control cells", "quantile over pairs of genes", "absolute correlation")
    tidy(axes[1], f"Eigenvalues ({N_EIGEN_GENES} genes)", "eigenvalue", "share of variance")
    axes[0].legend(frameon=False, fontsize=8, loc="upper left")
    save(figure, path)


def draw_effects(real: list[Screen], simulated: list[Screen], path: Path) -> None:
    """Standardised shifts of all other genes, and the targets' own fold changes."""
    figure, axes = plt.subplots(1, 3, figsize=(10.5, 3.5), layout="constrained", width_ratios=(1, 1, 1.15))
    grid = np.linspace(0, 1.5, 151)
    papalexi, gasperini = real

    def draw(panel: Axes, values: list[np.ndarray], **line: object) -> None:
        size = np.abs(np.concatenate(values))
        share = (size[:, None] > grid).mean(axis=0)
        panel.plot(grid, np.where(share > 0, share, np.nan), **line)

    for panel, s, kind, colour in (
        (axes[0], gasperini, "knockdown", ORANGE),
        (axes[1], papalexi, "knockout", BLUE),
    ):
        for index, one in enumerate(simulated):
            label = f"simulated {kind}, each screen" if index == 0 else None
            draw(panel, shifts(one, kind), color=GREY, lw=0.8, alpha=0.8, label=label)
        pooled = [v for one in simulated for v in shifts(one, kind)]
        draw(panel, pooled, color="black", lw=1.6, ls="--", label="simulated, all")
        draw(panel, shifts(s, kind), color=colour, lw=2.2, label=s.name)
        panel.plot(
            grid, 2 * stats.norm.sf(grid / NOISE), color="black", ls=":", lw=1, label="nothing changed"
        )
        panel.set(yscale="log", ylim=(3e-4, 1), xlim=(0, 1.5))
        tidy(panel, f"Other genes, {kind}", "absolute standardised shift", "share of genes above")
        panel.legend(frameon=False, fontsize=7.5, loc="upper right")

    rng = np.random.default_rng(0)
    rows = [("Gasperini\nknockdown", [gasperini], "knockdown", ORANGE)]
    rows += [("simulated\nknockdown", simulated, "knockdown", GREY)]
    rows += [("Papalexi\nknockout", [papalexi], "knockout", BLUE)]
    rows += [(f"simulated\n{kind}", simulated, kind, GREY) for kind in ("knockout", "activity", "activation")]
    for row, (_, screens, kind, colour) in enumerate(rows):
        change = np.concatenate([target_fold_changes(s, kind) for s in screens])
        axes[2].scatter(
            change, row + rng.uniform(-0.22, 0.22, change.size), s=9, color=colour, lw=0, alpha=0.85
        )
        axes[2].plot([np.median(change)] * 2, [row - 0.36, row + 0.36], color="black", lw=1.5)
    axes[2].axvline(0, color="black", lw=0.6, ls=":")
    axes[2].set_yticks(range(len(rows)), [label for label, *_ in rows], fontsize=7.5)
    axes[2].invert_yaxis()
    tidy(axes[2], "The target itself", "log2 fold change", "")
    save(figure, path)


def main() -> None:
    """Draw the pictures that the command line asks for."""
    arguments = parse(__doc__)
    real, simulated = real_screens(arguments.shared), simulated_screens(arguments.screens)
    pictures = arguments.output / "_static"
    pictures.mkdir(parents=True, exist_ok=True)
    plt.rcParams.update({"font.size": 9, "axes.linewidth": 0.8})
    draw_counts(real, simulated, pictures / "simulation_counts.png")
    draw_correlations(real, simulated, pictures / "simulation_correlations.png")
    draw_effects(real, simulated, pictures / "simulation_effects.png")


if __name__ == "__main__":
    main()
