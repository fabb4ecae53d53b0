"""A small screen and a stand-in for the model, so that these tests are about `tl` alone."""

from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import cdn_sc
from cdn_sc import predictors

N_GENES = 12
GROUPS = ["A+B", "drug_A", "drug_B", "x/y"]


@dataclass(frozen=True)
class FakePrediction:
    logits: np.ndarray
    columns: dict[str, np.ndarray] = field(default_factory=dict)
    kinds: np.ndarray | None = None


class FakePredictor:
    """Scores by difference of means, plus noise from the generator that it is given."""

    name, version, sha256 = "fake", "1.2", "ab" * 32
    uses_graphs = takes_kind = True
    uses_correlations = takes_relations = False
    device = "cpu"

    def __init__(self):
        self.min_genes, self.max_genes, self.max_subsets = 1, None, None
        self.calls, self.launched, self.most_at_once = [], [], 3
        self.controls = []

    def predict(
        self,
        control,
        perturbed,
        *,
        rng,
        kind=None,
        n_subsets=50,
        estimator="fci",
        test="fisherz",
        control_seed=None,
    ):
        assert control.dtype == perturbed.dtype == np.float32
        options = {"kind": kind, "n_subsets": n_subsets, "estimator": estimator, "test": test}
        self.calls.append({"control": control, "perturbed": perturbed, **options})
        noise = rng.normal(0, 0.01, control.shape[1])
        change = np.abs(perturbed.mean(0) - control.mean(0))
        return FakePrediction(change + noise, {"noise": noise.astype(np.float32)})

    def prepare_control(self, control, contrasts=None):
        self.controls.append(control)

    def prepare(self, control, perturbed, **options):
        return partial(self.predict, control, perturbed, **options)

    def launch(self, comparisons):
        self.launched.append(len(comparisons))
        predictions = [predict() for predict in comparisons]
        return SimpleNamespace(fetch=lambda: predictions)

    def batch_size(self, n_genes, n_subsets):
        return self.most_at_once


@pytest.fixture
def predictor(monkeypatch):
    """The stand-in, which `predict_targets` then gets whatever the name of the model."""
    fake = FakePredictor()
    monkeypatch.setattr(predictors, "load_predictor", lambda model="default", **_: fake)
    monkeypatch.setattr(cdn_sc.settings, "_verbosity", "warning")
    return fake


@pytest.fixture
def screen():
    """120 cells, 12 genes, log-normalised; group i has gene i switched off altogether."""
    rng = np.random.default_rng(7)
    labels = np.repeat(["control", *GROUPS], [40, 20, 20, 20, 20])
    counts = rng.poisson(3.0, (len(labels), N_GENES)).astype(np.float32)
    for position, group in enumerate(GROUPS):
        counts[labels == group, position] = 0
    order = rng.permutation(len(labels))
    values = np.log1p(counts[order] / 2)
    return ad.AnnData(
        sparse.csr_matrix(values),
        obs=pd.DataFrame(
            {"perturbation": pd.Categorical(labels[order]), "batch": 1.0},
            index=[f"cell{i}" for i in range(len(labels))],
        ),
        var=pd.DataFrame(index=[f"gene{i}" for i in range(N_GENES)]),
    )
