"""Compare simulated screens with real ones: two tables for the documentation.

    python benchmarks/simulation_realism.py --shared ../shared/data --output docs

Writes ``results/simulation_realism.md`` into the output folder; ``simulation_pictures.py`` draws the same
screens. No parameter of the simulator is estimated from these data.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import anndata
import numpy as np
from scipy import sparse, stats

from cdn_sc.metrics import rivals
from cdn_sc.simulate import screen, screen_pairs

# Every screen is thinned to these numbers of cells, so that sampling noise is the same everywhere.
N_CONTROL, N_GROUP = 2304, 220
N_EIGEN_GENES = 112  # eigenvalue shares depend on the number of genes; Gasperini has 112
MEASURED = 0.05  # mean count below which a gene is left out of correlations and effects
STRENGTHS = (0.05, 0.1, 0.2, 0.4, 0.9)


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


def parse(description: str | None) -> argparse.Namespace:
    """Read the command line, which is that of the pictures too."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shared", type=Path, required=True, help="folder with the two real screens")
    parser.add_argument(
        "--output", type=Path, default=Path("docs"), help="folder of the pages (default: docs)"
    )
    parser.add_argument("--screens", type=int, default=10, help="simulated screens (default: 10)")
    return parser.parse_args()


def main() -> None:
    """Make the tables that the command line asks for."""
    arguments = parse(__doc__)
    n = arguments.screens
    text = table(real_screens(arguments.shared), simulated_screens(n), training_screens(n))
    note = (
        f"{n} simulated screens of 150 to 300 genes: median [smallest, largest]. Every "
        f"screen thinned to at most {N_CONTROL} control cells and {N_GROUP} cells a group (smaller groups "
        f"left out); correlations and effects of genes with a mean count above {MEASURED}; eigenvalues of "
        f"{N_EIGEN_GENES} genes at random; changed: Benjamini-Hochberg at 5%."
    )
    results = arguments.output / "results"
    results.mkdir(parents=True, exist_ok=True)
    (results / "simulation_realism.md").write_text(f"{note}\n\n{text}\n\n{strength_table(n)}\n")


if __name__ == "__main__":
    main()
