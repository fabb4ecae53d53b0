"""Compare simulated screens with real ones: pictures and a table for the documentation.

    python benchmarks/simulation_realism.py --shared ../shared/data --output docs

Writes ``_static/simulation_*.png`` and ``results/simulation_realism.md`` into the output folder. Nothing in
the simulator is fitted to these data.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import anndata
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from scipy import sparse, stats

from cdn_sc.metrics import rivals
from cdn_sc.simulate import screen, screen_pairs

# Every screen is thinned to these numbers of cells, so that sampling noise is the same everywhere.
N_CONTROL, N_GROUP = 2304, 220
N_EIGEN_GENES = 112  # eigenvalue shares depend on the number of genes; Gasperini has 112
MEASURED = 0.05  # mean count below which a gene is left out of correlations and effects
STRENGTHS = (0.05, 0.1, 0.2, 0.4, 0.9)
# Okabe and Ito's colours, which are told apart with any colour vision
BLUE, ORANGE, GREEN, PURPLE, GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#8A8A8A"


@dataclass(frozen=True)
class Group:
    """Log-normalised values of one perturbed group, its kind and its measured targets."""

    kind: str
    targets: np.ndarray
    values: np.ndarray


@dataclass(frozen=True)
class Screen:
    """One screen: log-normalised control cells, raw control counts where known, perturbed groups."""

    name: str
    control: np.ndarray
    counts: np.ndarray | None
    groups: list[Group]

    def measured(self) -> np.ndarray:
        """Boolean per gene: seen often enough in control cells to be compared."""
        if self.counts is not None:
            return self.counts.mean(axis=0) > MEASURED
        return np.mean(self.control > 0, axis=0) > MEASURED


def from_anndata(
    name: str, adata: anndata.AnnData, kinds: dict[str, str], targets: dict[str, Sequence[str]]
) -> Screen:
    """Normalise to the median total, log1p, and thin control and groups to fixed numbers of cells."""
    rng = np.random.default_rng(0)
    counts = sparse.csr_array(adata.X).toarray().astype(np.float32)
    totals = np.maximum(counts.sum(axis=1), 1.0)
    values = np.log1p(counts * (np.median(totals) / totals)[:, None])
    labels = adata.obs["perturbation"].astype(str).to_numpy()

    def thin(label: str, number: int) -> np.ndarray:
        cells = np.flatnonzero(labels == label)
        return np.sort(rng.choice(cells, min(number, cells.size), replace=False))

    control = thin("control", N_CONTROL)
    groups = []
    for label, kind in kinds.items():
        if np.count_nonzero(labels == label) >= N_GROUP:
            hit = adata.var_names.get_indexer(list(targets.get(label, ())))
            groups.append(Group(kind, hit, values[thin(label, N_GROUP)]))
    return Screen(name, values[control], counts[control], groups)


def real_screens(folder: Path) -> list[Screen]:
    """Read the two real screens; cells with several targets (`multi`) are left out."""
    screens = []
    for name, file, kind in (
        ("Papalexi (THP-1)", "papalexi2021_thp1.h5ad", "knockout"),
        ("Gasperini (K562)", "gasperini2019_k562_igvf.h5ad", "knockdown"),
    ):
        adata = anndata.read_h5ad(folder / file)
        adata = adata[(adata.obs["perturbation"] != "multi").to_numpy()].copy()
        labels = [label for label in adata.obs["perturbation"].unique() if label != "control"]
        kinds = {label: "enhancer" if "enh" in label else kind for label in labels}
        targets = {label: [gene] for label, gene in adata.uns["target_in_var"].items() if gene}
        screens.append(from_anndata(name, adata, kinds, targets))
    return screens


def simulated_screens(number: int) -> list[Screen]:
    """Simulate whole screens of 150 to 300 genes, three groups of each kind."""
    screens = []
    for seed in range(number):
        n_genes = int(np.linspace(150, 300, number)[seed])
        adata = screen(n_genes, 12, n_control=N_CONTROL, n_perturbed=N_GROUP, seed=1000 + seed)
        screens.append(from_anndata(f"simulated {seed}", adata, kinds_of(adata), adata.uns["targets"]))
    return screens


def kinds_of(adata: anndata.AnnData) -> dict[str, str]:
    """Name of each perturbed group of a simulated screen -> its kind."""
    return dict(adata.obs.groupby("perturbation", observed=True)["kind"].first().drop("control"))


def training_screens(number: int) -> list[Screen]:
    """Draw pairs as training does, with unmeasured genes and several normalisations; counts unknown."""
    screens = []
    for seed in range(number):
        rng = np.random.default_rng(np.random.SeedSequence([seed, *b"realism"]))
        n_genes = int(np.linspace(150, 300, number)[seed])
        pairs = screen_pairs(
            rng, n_genes=n_genes, n_groups=12, n_control=N_CONTROL, n_perturbed=(N_GROUP, N_GROUP)
        )
        groups = [Group(str(p.attributes["kind"]), p.targets, p.perturbed) for p in pairs]
        screens.append(Screen(f"training {seed}", pairs[0].control, None, groups))
    return screens


def absolute_correlations(s: Screen) -> np.ndarray:
    """Absolute correlations of different genes in control cells, sorted."""
    matrix = np.corrcoef(s.control[:, s.measured()], rowvar=False)
    return np.sort(np.abs(matrix[np.triu_indices_from(matrix, 1)]))


def eigenvalue_shares(s: Screen, n_draws: int = 20) -> np.ndarray:
    """Share of variance of each eigenvalue of the correlation matrix, mean over random sets of genes."""
    rng = np.random.default_rng(0)
    genes = np.flatnonzero(s.control.std(axis=0) > 0)
    size = min(N_EIGEN_GENES, genes.size)
    sets = [rng.choice(genes, size, replace=False) for _ in range(n_draws)]
    spectra = [np.linalg.eigvalsh(np.corrcoef(s.control[:, g], rowvar=False))[::-1] for g in sets]
    return np.mean(spectra, axis=0) / size


def shifts(s: Screen, kind: str | None = None, *, own: bool = False) -> list[np.ndarray]:
    """Standardised shift against control of each group's genes; its targets left out unless `own`."""
    found = []
    for group in s.groups:
        if kind in (None, group.kind):
            keep = s.measured()
            if not own:
                keep[group.targets] = False
            a, b = s.control[:, keep], group.values[:, keep]
            spread = np.sqrt((a.var(axis=0) + b.var(axis=0)) / 2) + 1e-9
            found.append((b.mean(axis=0) - a.mean(axis=0)) / spread)
    return found


NOISE = np.sqrt(1 / N_CONTROL + 1 / N_GROUP)  # standard deviation of a shift where nothing changed


def significant_shares(s: Screen, kind: str) -> list[float]:
    """Share of each group's genes that change at a false discovery rate of 5% (Benjamini-Hochberg)."""
    p_values = [2 * stats.norm.sf(np.abs(d) / NOISE) for d in shifts(s, kind)]
    return [float(np.mean(stats.false_discovery_control(p) < 0.05)) for p in p_values]


def effect_beyond_noise(s: Screen, kind: str) -> float:
    """Root mean square shift of all other genes, less what sampling noise adds."""
    found = shifts(s, kind)
    return np.sqrt(max(np.mean(np.concatenate(found) ** 2) - NOISE**2, 0.0)) if found else np.nan


def target_fold_changes(s: Screen, kind: str) -> np.ndarray:
    """Log2 fold change of each measured target's mean normalised count, pseudo-count 0.01."""
    found = []
    for group in s.groups:
        if group.kind == kind:
            means = [np.expm1(v[:, group.targets]).mean(axis=0) + 0.01 for v in (group.values, s.control)]
            found.append(np.log2(means[0] / means[1]))
    return np.concatenate(found) if found else np.zeros(0)


def dispersion(counts: np.ndarray) -> float:
    """Median over genes with mean above 0.2 of (variance - mean) / mean^2."""
    mean, variance = counts.mean(axis=0), counts.var(axis=0)
    seen = mean > 0.2
    return float(np.median((variance[seen] - mean[seen]) / mean[seen] ** 2))


def excess_zeros(counts: np.ndarray) -> float:
    """Median over genes with mean 0.2 to 3 of the share of zeros beyond a Poisson's."""
    mean = counts.mean(axis=0)
    seen = (mean > 0.2) & (mean < 3)
    return float(np.median(np.mean(counts[:, seen] == 0, axis=0) - np.exp(-mean[seen])))


def depth_spread(counts: np.ndarray) -> float:
    """Coefficient of variation of the cells' totals, less what counting noise adds."""
    totals = counts.sum(axis=1)
    return float(np.sqrt(max(totals.var() / totals.mean() ** 2 - 1 / totals.mean(), 0.0)))


def of_counts(measure: Callable[[np.ndarray], float]) -> Callable[[Screen], float]:
    """Turn a measure of counts into one of a screen, not-a-number where counts are unknown."""
    return lambda s: np.nan if s.counts is None else float(measure(s.counts))


def of_groups(measure: Callable[[Screen, str], Sequence[float] | np.ndarray], kind: str, how=np.median):
    """Summarise a measure over the groups of one kind, not-a-number where there are none."""

    def summary(s: Screen) -> float:
        found = measure(s, kind)
        return float(how(found)) if len(found) else np.nan

    return summary


MEASURES: dict[str, Callable[[Screen], float]] = {
    "genes": lambda s: s.control.shape[1],
    "mean count of a gene, median": of_counts(lambda c: np.median(c.mean(axis=0))),
    "mean count, 90% quantile over 10% quantile": of_counts(
        lambda c: float(np.divide(*np.quantile(c.mean(axis=0), [0.9, 0.1])))
    ),
    "share of zeros, all counts": lambda s: np.mean(s.control == 0),
    "share of zeros of a gene, 10% quantile": lambda s: np.quantile(np.mean(s.control == 0, axis=0), 0.1),
    "zeros beyond Poisson (genes with mean 0.2 to 3)": of_counts(excess_zeros),
    "dispersion: (variance - mean) / mean²": of_counts(dispersion),
    "total count of a cell, median": of_counts(lambda c: np.median(c.sum(axis=1))),
    "variation of totals beyond counting noise": of_counts(depth_spread),
    "skewness of log totals": of_counts(lambda c: stats.skew(np.log(np.maximum(c.sum(axis=1), 1)))),
    "absolute correlation, median": lambda s: np.median(absolute_correlations(s)),
    "absolute correlation, 90%": lambda s: np.quantile(absolute_correlations(s), 0.9),
    "absolute correlation, 99%": lambda s: np.quantile(absolute_correlations(s), 0.99),
    "share of the 1st eigenvalue": lambda s: eigenvalue_shares(s)[0],
    "share of the first 5 eigenvalues": lambda s: eigenvalue_shares(s)[:5].sum(),
    "knockdown: log2 fold change of the target": of_groups(target_fold_changes, "knockdown"),
    "knockout: log2 fold change of the target": of_groups(target_fold_changes, "knockout"),
    "activation: log2 fold change of the target": of_groups(target_fold_changes, "activation"),
    "activity: log2 fold change of the target": of_groups(target_fold_changes, "activity"),
    "knockdown: effect on other genes beyond noise": lambda s: effect_beyond_noise(s, "knockdown"),
    "knockout: effect on other genes beyond noise": lambda s: effect_beyond_noise(s, "knockout"),
    "activity: effect on other genes beyond noise": lambda s: effect_beyond_noise(s, "activity"),
    "knockdown: other genes changed, mean share": of_groups(significant_shares, "knockdown", np.mean),
    "knockout: other genes changed, mean share": of_groups(significant_shares, "knockout", np.mean),
    "activity: other genes changed, mean share": of_groups(significant_shares, "activity", np.mean),
}


def number(value: float) -> str:
    """Three significant digits, a dash where unknown."""
    if not np.isfinite(value):
        return "-"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.2f}" if abs(value) >= 0.095 else f"{value:.3f}"


def table(real: list[Screen], simulated: list[Screen], training: list[Screen]) -> str:
    """Markdown table of all measures: real screens, and median [smallest, largest] of the simulated ones."""
    rows = [
        f"| control cells | {' | '.join(s.name for s in real)} | simulated screens | training pairs |",
        "|---|---|---|---|---|",
    ]
    for label, measure in MEASURES.items():
        cells = [number(measure(s)) for s in real]
        for several in (simulated, training):
            found = np.array([measure(s) for s in several], dtype=float)
            found = found[np.isfinite(found)]
            cells.append(
                f"{number(np.median(found))} [{number(found.min())}, {number(found.max())}]"
                if found.size
                else "-"
            )
        rows.append(f"| {label} | {' | '.join(cells)} |")
    return "\n".join(rows)


def strength_table(n_seeds: int) -> str:
    """Markdown table: what the mean edge weight does to correlations and to what `activity` leaves to see."""
    columns = (
        "mean edge weight asked for",
        "mean weight in the network",
        "absolute correlation along edges: median, 90%",
        "activity, regulated genes: median absolute shift",
        "activity, all other genes: share changed",
        "target first, true network known",
        "normalised rank of the target, change of correlations",
    )
    rows = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for strength in STRENGTHS:
        found = [edges_and_activity(strength, 2000 + seed) for seed in range(n_seeds)]
        weights, correlations, moved, changed, first, ranks = (
            np.concatenate([f[i] for f in found]) for i in range(6)
        )
        low, high = np.quantile(correlations, [0.5, 0.9])
        rows.append(
            f"| {strength} | {weights.mean():.2f} | {low:.3f}, {high:.3f} | {np.median(moved):.3f} "
            f"| {changed.mean():.3f} | {first.mean():.2f} | {ranks.mean():.2f} |"
        )
    return "\n".join(rows)


def edges_and_activity(strength: float, seed: int) -> tuple[Sequence[float] | np.ndarray, ...]:
    """Simulate a screen of activity groups; see `strength_table` for what is measured on it."""
    sizes = {"n_control": N_CONTROL, "n_perturbed": N_GROUP}
    adata = screen(200, {"activity": 6}, strength=strength, seed=seed, **sizes)
    s = from_anndata("", adata, kinds_of(adata), adata.uns["targets"])
    network, measured = adata.uns["network"], s.measured()
    i, j = (adata.var_names.get_indexer(network[end]) for end in ("regulator", "gene"))
    place = np.cumsum(measured) - 1
    seen = measured[i] & measured[j]
    matrix = np.corrcoef(s.control[:, measured], rowvar=False)
    expected = np.zeros((adata.n_vars, np.count_nonzero(measured)))
    expected[i[measured[j]], place[j[measured[j]]]] = -network["weight"][measured[j]]
    expected /= np.linalg.norm(expected, axis=1, keepdims=True) + 1e-9

    moved, first, ranks = [], [], []
    for group, shift in zip(s.groups, shifts(s, own=True), strict=True):
        (target,) = group.targets
        moved.extend(np.abs(shift[place[j[(i == target) & measured[j]]]]))
        first.append(np.argmax(expected @ shift) == target)
        score = rivals(s.control, group.values)["differential_network"]
        ranks.append(1 - np.count_nonzero(score > score[target]) / (score.size - 1))
    along = np.abs(matrix[place[i[seen]], place[j[seen]]])
    return np.abs(network["weight"]), along, moved, significant_shares(s, "activity"), first, ranks


# Pictures ------------------------------------------------------------------------------------------------


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
    """Make the pictures and the tables that the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shared", type=Path, required=True, help="folder with the two real screens")
    parser.add_argument(
        "--output", type=Path, default=Path("docs"), help="folder of the pages (default: docs)"
    )
    parser.add_argument("--screens", type=int, default=10, help="simulated screens (default: 10)")
    arguments = parser.parse_args()

    real, simulated = real_screens(arguments.shared), simulated_screens(arguments.screens)
    pictures, results = arguments.output / "_static", arguments.output / "results"
    pictures.mkdir(parents=True, exist_ok=True)
    results.mkdir(parents=True, exist_ok=True)
    plt.rcParams.update({"font.size": 9, "axes.linewidth": 0.8})
    draw_counts(real, simulated, pictures / "simulation_counts.png")
    draw_correlations(real, simulated, pictures / "simulation_correlations.png")
    draw_effects(real, simulated, pictures / "simulation_effects.png")

    text = table(real, simulated, training_screens(arguments.screens))
    note = (
        f"{arguments.screens} simulated screens of 150 to 300 genes: median [smallest, largest]. Every "
        f"screen thinned to at most {N_CONTROL} control cells and {N_GROUP} cells a group (smaller groups "
        f"left out); correlations and effects of genes with a mean count above {MEASURED}; eigenvalues of "
        f"{N_EIGEN_GENES} genes at random; changed: Benjamini-Hochberg at 5%."
    )
    strengths = strength_table(arguments.screens)
    (results / "simulation_realism.md").write_text(f"{note}\n\n{text}\n\n{strengths}\n")


if __name__ == "__main__":
    main()
