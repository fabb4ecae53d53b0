"""Groups in which nothing happened: their inputs must say so, wherever the correlations came from."""

import numpy as np
import pytest

from cdn_sc._contrasts import within_conditions
from cdn_sc.features import FEATURES, gene_inputs, summarize_control
from cdn_sc.simulate import screen_pairs

NAMES = (
    "linear_variance", "quadratic_variance", "residual_0", "residual_1", "linear_residual", "fitted_shift",
    "fitted_variance",
)  # fmt: skip


@pytest.fixture(scope="module")
def averages():
    """Mean over the genes of null groups, in standard errors, by the road of the correlations."""
    found = {"control": [], "screen": []}
    for seed in range(8):
        rng = np.random.default_rng(seed)
        pairs = screen_pairs(rng, n_genes=100, n_groups=5, n_control=1000, n_perturbed=(100, 100))
        cells = rng.permutation(pairs[0].control)
        control = cells[:600]
        contrasts = within_conditions([pair.perturbed for pair in pairs])
        for road, others in (("control", None), ("screen", contrasts)):
            summary = summarize_control(control, others)
            for start in range(600, 1000, 100):
                (features,) = gene_inputs(summary, cells[start : start + 100]).features.numpy()
                squashed = features[:, [FEATURES.index(name) for name in NAMES]]
                found[road].append((np.sign(squashed) * np.expm1(np.abs(squashed))).mean(axis=0))
    return {road: np.mean(values, axis=0) for road, values in found.items()}


@pytest.mark.parametrize("road", ["control", "screen"])
@pytest.mark.parametrize("name", NAMES)
def test_residuals_vary_as_expected(averages, road, name):
    assert averages[road][NAMES.index(name)] == pytest.approx(0, abs=0.5)


@pytest.mark.parametrize("name", NAMES)
def test_both_roads_give_the_same_law(averages, name):
    place = NAMES.index(name)
    assert averages["control"][place] == pytest.approx(averages["screen"][place], abs=0.5)
