"""Each input against its plain reading, on random and on awkward arms, two groups at a time."""

import numpy as np
import pytest
from arms import correlated_values
from plain_reading import Reading

from cdn_sc._contrasts import within_conditions
from cdn_sc._known_relations import KnownRelations
from cdn_sc.features import EDGE_FEATURES, FEATURES, gene_inputs, summarize_control

# single precision of values and correlations, in units of squashed statistics
TOLERANCE = 1e-3
# as exact as the bound of the largest singular value, which gives the length of its steps
TOLERANCES = {"deconvolved": 5e-3, "unexplained_change": 5e-3, "known_deconvolved": 5e-3}
N_GENES = 20


def arms_of(case):
    rng = np.random.default_rng(len(case))
    shift = np.zeros(N_GENES)
    shift[[2, 9]] = 1.5, -1.0
    if case == "small panel":
        values = correlated_values(rng, 60, 6), correlated_values(rng, 25, 6, shift=shift[:6]), None
    elif case == "large panel":
        values = correlated_values(rng, 160, 50), correlated_values(rng, 40, 50), None
    elif case == "few cells behind many genes":
        values = (
            correlated_values(rng, 14, 40),
            correlated_values(rng, 9, 40),
            within_conditions([correlated_values(rng, 5, 40)]),
        )
    elif case == "more cells than are fitted":
        values = correlated_values(rng, 21000, 6), correlated_values(rng, 30, 6, shift=shift[:6]), None
    elif case == "rarely seen":
        values = correlated_values(rng, 7000, 4), correlated_values(rng, 5000, 4), None
    elif case == "few cells":
        values = correlated_values(rng, 12, N_GENES), correlated_values(rng, 7, N_GENES, shift=shift), None
    elif case == "many cells":
        values = (
            correlated_values(rng, 2600, N_GENES),
            correlated_values(rng, 900, N_GENES, shift=shift / 5),
            None,
        )
    else:
        control, perturbed = (
            correlated_values(rng, 150, N_GENES, silent=0.1),
            correlated_values(rng, 40, N_GENES, shift=shift),
        )
        values = control, perturbed, None
    control, perturbed, contrasts = values
    if case == "ties":
        control, perturbed = np.round(2 * control) / 2, np.round(2 * perturbed) / 2
    if case == "negative values":
        control, perturbed = control - 2, perturbed - 2
    if case == "awkward genes":
        control[:, 4] = 0.0
        control[:, 7] = perturbed[:, 7] = 1.5
        perturbed[:, 11] = 0.0
        # seen in one cell of either arm: detection and kurtosis at their limits
        control[1:, 17] = perturbed[1:, 18] = 0.0
        perturbed[:, 13] *= 1e4
        control[:, 15] *= 1e3
    if case == "rarely seen":
        # seen in so few cells that the error of its detection is at its floor
        control[1:, 3] = perturbed[1:, 3] = 0.0
    if case == "a screen":
        contrasts = within_conditions([correlated_values(rng, n, N_GENES, silent=0.0) for n in (50, 30)])
    if case == "shifted mean":
        perturbed = perturbed + np.float32(3)
    return control, perturbed, contrasts


CASES = (
    "random", "ties", "negative values", "awkward genes", "a screen", "shifted mean", "few cells",
    "many cells", "rarely seen", "more cells than are fitted", "small panel", "large panel",
    "few cells behind many genes", "known relations", "known signs of some", "nothing known of them",
)  # fmt: skip


def relations_of(case):
    """(source, target) -> weight."""
    rng = np.random.default_rng(7)
    if case == "nothing known of them":
        return {}
    if "known" not in case:
        return None
    sources = rng.choice([0, 2, 5, 9, 14], 40)  # of the others nothing is known
    weights = rng.normal(0, 1, 40) ** 3
    if case == "known signs of some":
        weights[::3] = np.nan
    pairs = zip(sources, rng.integers(0, N_GENES, 40), weights, strict=True)
    return {(int(s), int(t)): float(w) for s, t, w in pairs if s != t}


@pytest.fixture(scope="module", params=CASES)
def found_and_read(request):
    control, perturbed, contrasts = arms_of(request.param)
    # another group, of another size, in the same products
    groups = [perturbed, perturbed[-max(2, len(perturbed) // 2) :]]
    relations = relations_of(request.param)
    known = None
    if relations is not None:
        sources, targets = np.array(list(relations), dtype=int).reshape(-1, 2).T
        known = KnownRelations.of_entries(
            control.shape[1], sources, targets, np.array(list(relations.values()))
        )
    found = gene_inputs(summarize_control(control, contrasts), *groups, relations=known)
    return found, [Reading(control, group, contrasts, relations) for group in groups]


def test_features(found_and_read):
    found, readings = found_and_read
    for group, reading in enumerate(readings):
        assert set(reading.features) == set(FEATURES)
        for column, name in enumerate(FEATURES):
            np.testing.assert_allclose(
                found.features[group, :, column],
                reading.features[name],
                rtol=TOLERANCE,
                atol=TOLERANCES.get(name, TOLERANCE),
                err_msg=name,
            )


def test_edges(found_and_read):
    found, readings = found_and_read
    neighbours = found.neighbours.numpy()
    rows = np.arange(len(neighbours))[:, None]
    for group, reading in enumerate(readings):
        assert set(reading.edges) == set(EDGE_FEATURES)
        for column, name in enumerate(EDGE_FEATURES):
            np.testing.assert_allclose(
                found.edges[group, :, :, column],
                np.where(neighbours < 0, 0, reading.edges[name][rows, neighbours]),
                rtol=TOLERANCE,
                atol=TOLERANCE,
                err_msg=name,
            )


def test_neighbours_are_the_most_related_genes(found_and_read):
    found, (reading, _) = found_and_read
    n_genes, number = found.neighbours.shape
    assert number == min(16, n_genes - 1)
    for chosen, expected in zip(found.neighbours, reading.neighbours, strict=True):
        assert chosen[chosen >= 0].tolist() == expected
