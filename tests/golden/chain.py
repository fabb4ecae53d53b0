"""Fixed arms, the inputs computed from them, and what the bundled models make of them."""

from pathlib import Path

import numpy as np

from cdn_sc import models
from cdn_sc._contrasts import within_conditions
from cdn_sc._known_relations import KnownRelations
from cdn_sc.features import gene_inputs, summarize_control
from cdn_sc.models.registry import ENTRIES
from cdn_sc.predictors import Predictor

FOLDER = Path(__file__).parent
INPUTS, LOGITS = FOLDER / "inputs.npz", FOLDER / "logits.npz"
DECIMALS = 6
BUNDLED = {entry.name: entry.architecture for entry in ENTRIES if entry.source == "bundled"}
KINDS = (None, "knockdown", "activity")


def _cells(rng, n_cells, n_genes, change):
    """Chains of genes, two shared programmes, counts with ties and zeros; `change` shifts log rates."""
    z = rng.standard_normal((n_cells, n_genes))
    for gene in range(1, n_genes):
        if gene % 5:
            z[:, gene] = 0.6 * z[:, gene - 1] * (-1) ** (gene % 3) + 0.8 * z[:, gene]
    loadings = 0.4 * np.sin(np.arange(2 * n_genes) ** 2).reshape(2, n_genes)
    z += rng.standard_normal((n_cells, 2)) @ loadings
    depth = 0.3 * rng.standard_normal((n_cells, 1))
    counts = np.floor(np.exp(0.7 * z + depth + np.linspace(-1, 2.5, n_genes) + change))
    return np.log1p(counts).astype(np.float32)


def _awkward(cells, rng):
    """Silent genes, a constant one, one seen once, nearly equal ones, one of extreme values."""
    cells = cells.copy()
    cells[:, [3, 11]] = 0.0
    cells[:, 17] = 1.5
    cells[1:, 23] = 0.0
    cells[0, 23] = 2.0
    cells[:, 30] = cells[:, 29] + 0.05 * rng.standard_normal(len(cells))
    cells[:, 36] *= 1e4
    return cells


def make_arms():
    """Name -> control cells, perturbed cells, contrasts or None."""
    rng = np.random.default_rng(20240229)
    arms = {}
    change = np.zeros(40)
    change[[7, 29, 36]] = -0.9, 0.8, -0.5
    control, perturbed, other = (
        _awkward(_cells(rng, n, 40, shift), rng) for n, shift in ((120, 0.0), (45, change), (30, -0.2))
    )
    perturbed[::2, 11] = 0.7  # silent in the control cells alone
    arms["awkward genes"] = control, perturbed, None
    arms["awkward genes, a screen"] = control, perturbed, within_conditions([other])
    arms["few cells"] = _cells(rng, 12, 30, 0.0), _cells(rng, 5, 30, 0.5 * (np.arange(30) == 4)), None
    signed = [_cells(rng, n, 10, 0.4 * (np.arange(10) == 8)) - 1 for n in (2500, 700)]
    arms["many cells, negative values"] = *signed, None
    arms["two genes"] = _cells(rng, 20, 2, 0.0), _cells(rng, 10, 2, 1.0), None
    return arms


def _relations(n_genes):
    """Chains, of every gene with the next, signs unknown for some."""
    genes = np.arange(n_genes - 1)
    return KnownRelations.of_entries(n_genes, genes, genes + 1, np.where(genes % 4, (-1.0) ** genes, np.nan))


def compute_inputs():
    """Name of the array -> features, neighbours and edges of two groups, the second a part of the first."""
    arrays = {}
    for name, (control, perturbed, contrasts) in make_arms().items():
        relations = _relations(control.shape[1]) if "screen" in name else None
        summary = summarize_control(control, contrasts)
        found = gene_inputs(summary, perturbed, perturbed[::2], relations=relations)
        arrays[f"{name}/features"] = found.features.numpy()
        arrays[f"{name}/neighbours"] = found.neighbours.numpy().astype(np.int16)
        arrays[f"{name}/edges"] = found.edges.numpy()
    return _rounded(arrays)


def compute_logits(model):
    """Name of the array -> logits of a bundled model, and what it says without the other genes."""
    predictor = Predictor(models.load(model))
    arrays = {}
    for name, (control, perturbed, contrasts) in make_arms().items():
        if predictor.uses_graphs:
            # a panel of few genes: rounding grows with their number in the published architecture
            control, perturbed = (np.ascontiguousarray(arm[:, :12]) for arm in (control, perturbed))
            options = {"rng": np.random.default_rng(5), "n_subsets": 8}
            arrays[f"{model}/{name}"] = predictor.predict(control, perturbed, **options).logits
            continue
        for kind in KINDS:
            options = {"rng": np.random.default_rng(5), "kind": kind, "contrasts": contrasts}
            found = predictor.predict(control, perturbed, **options)
            arrays[f"{model}/{name}/{kind}"] = found.logits
        for column in ("score_elsewhere", "direction"):
            arrays[f"{model}/{name}/{column}"] = found.columns[column]
        arrays[f"{model}/{name}/kinds"] = found.kinds
        known = _relations(control.shape[1])
        found = predictor.predict(control, perturbed, rng=np.random.default_rng(5), relations=known)
        arrays[f"{model}/{name}/relations"] = found.logits
        arrays[f"{model}/{name}/score_relations"] = found.columns["score_relations"]
    return _rounded(arrays)


def _rounded(arrays):
    return {
        name: np.round(array, DECIMALS) if array.dtype.kind == "f" else array
        for name, array in arrays.items()
    }
