"""Inputs of the gene transformer: order of genes, degenerate arms, caps, signs."""

import numpy as np
import pytest
from arms import correlated_values, inputs_of
from scipy import stats

from cdn_sc.features import (
    EDGE_FEATURES,
    FEATURES,
    MIXING_MATRICES,
    gene_inputs,
    summarize_control,
    withhold_others,
)
from cdn_sc.features._scales import rank_features, squash

COLUMN = {name: index for index, name in enumerate(FEATURES)}


def by_neighbour(inputs):
    """Edges in the order of their neighbours, which is arbitrary."""
    order = np.argsort(inputs.neighbours, axis=1)
    return (
        np.take_along_axis(inputs.neighbours, order, axis=1),
        np.take_along_axis(inputs.edges, order[..., None], axis=1),
    )


@pytest.fixture
def arms():
    rng = np.random.default_rng(0)
    return correlated_values(rng, 150, 24), correlated_values(rng, 40, 24, shift=3.0 * (np.arange(24) == 5))


def test_shapes_and_types(arms):
    inputs = inputs_of(*arms)
    assert inputs.features.shape == (24, len(FEATURES))
    assert inputs.neighbours.shape == (24, 16)
    assert inputs.edges.shape == (24, 16, len(EDGE_FEATURES))
    assert inputs.mixing.shape == (len(MIXING_MATRICES), 24, 24)
    assert {inputs.features.dtype, inputs.edges.dtype, inputs.mixing.dtype} == {np.dtype(np.float32)}
    assert len(set(FEATURES)) == len(FEATURES)
    assert not (inputs.neighbours == np.arange(24)[:, None]).any()


def test_genes_are_exchangeable(arms):
    order = np.random.default_rng(1).permutation(24)
    inputs, shuffled = inputs_of(*arms), inputs_of(*(arm[:, order] for arm in arms))
    np.testing.assert_allclose(shuffled.features, inputs.features[order], atol=2e-3)
    np.testing.assert_allclose(shuffled.mixing, inputs.mixing[:, order][:, :, order], atol=1e-4)
    neighbours, edges = by_neighbour(inputs)
    new_names = np.argsort(order)
    renamed = np.argsort(new_names[neighbours[order]], axis=1)
    expected = np.take_along_axis(new_names[neighbours[order]], renamed, axis=1)
    found, found_edges = by_neighbour(shuffled)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_allclose(
        found_edges, np.take_along_axis(edges[order], renamed[..., None], axis=1), atol=2e-3
    )


def test_cells_are_exchangeable(arms):
    rng = np.random.default_rng(2)
    shuffled = inputs_of(*(rng.permutation(arm) for arm in arms))
    np.testing.assert_allclose(shuffled.features, inputs_of(*arms).features, atol=2e-3)


def test_the_shifted_gene_stands_out(arms):
    features = inputs_of(*arms).features
    for name in ("welch_t", "pooled_t", "wilcoxon", "effect_size", "residual_0", "local_residual"):
        assert features[:, COLUMN[name]].argmax() == 5, name
    for name in ("welch_t_rank", "wilcoxon_rank", "effect_rank", "residual_0_rank"):
        assert features[5, COLUMN[name]] == 0, name


def test_signs_turn_with_the_arms(arms):
    there, back = inputs_of(*arms).features, inputs_of(*arms[::-1]).features
    for name in ("welch_t", "pooled_t", "log_variance_ratio", "detection_change", "log_fold_change"):
        large = np.abs(there[:, COLUMN[name]]) > 0.5
        assert large.any(), name
        np.testing.assert_array_equal(
            np.sign(back[large, COLUMN[name]]), -np.sign(there[large, COLUMN[name]]), name
        )
    np.testing.assert_allclose(there[:, COLUMN["ks_rise"]], back[:, COLUMN["ks_fall"]], atol=1e-6)


def test_own_features_are_the_usual_tests():
    rng = np.random.default_rng(6)
    control, perturbed = correlated_values(rng, 9, 6), correlated_values(rng, 7, 6)
    features = inputs_of(control, perturbed).features
    x, y = control.astype(float), perturbed.astype(float)
    expected = {
        "welch_t": squash(stats.ttest_ind(y, x, equal_var=False).statistic),
        "pooled_t": squash(stats.ttest_ind(y, x).statistic),
        "effect_size": squash((y.mean(axis=0) - x.mean(axis=0)) / x.std(axis=0, ddof=1)),
        "log_fold_change": np.log((y.mean(axis=0) + 0.02) / (x.mean(axis=0) + 0.02)),
        "control_detection": (x > 0).mean(axis=0),
        "perturbed_detection": (y > 0).mean(axis=0),
        "control_mean": squash(x.mean(axis=0)),
    }
    for name, value in expected.items():
        np.testing.assert_allclose(features[:, COLUMN[name]], value, rtol=1e-4, atol=1e-5, err_msg=name)


def test_identical_arms():
    control = correlated_values(np.random.default_rng(0), 60, 10)
    features = inputs_of(control, control).features
    for name in ("welch_t", "wilcoxon", "ks_rise", "ks_fall", "log_variance_ratio", "detection_change"):
        np.testing.assert_allclose(features[:, COLUMN[name]], 0, atol=1e-3, err_msg=name)
    assert np.ptp(features[:, COLUMN["control_mean"]]) > 0


def degenerate_arms():
    rng = np.random.default_rng(3)
    values, other = correlated_values(rng, 50, 8), correlated_values(rng, 30, 8)
    silent, constant, doubled = values.copy(), values.copy(), values.copy()
    silent[:, 2] = 0
    constant[:, [1, 4]] = 1.5
    doubled[:, 3] = doubled[:, 2]
    silent_other = other.copy()
    silent_other[:, 2] = 0
    nothing = np.zeros_like(values)
    return {
        "silent in control": (silent, other),
        "silent in perturbed": (values, silent_other),
        "silent in both": (silent, silent_other),
        "constant": (constant, constant[:20]),
        "constant at another level": (constant, 2 * constant[:20]),
        "two equal genes": (doubled, doubled[:20]),
        "nothing at all": (nothing, nothing[:20]),
        "two cells": (values[:2], other[:2]),
        "two perturbed cells": (values, other[:2]),
        "two equal cells": (values, other[[0, 0]]),
        "large values": (1e4 * values, 1e4 * other),
        "small values": (1e-4 * values, 1e-4 * other),
        "negative values": (values - 3, other - 3),
        "more genes than cells": (values[:5], other[:4]),
        **{f"{n} genes": (values[:, :n], other[:, :n]) for n in (1, 2, 3)},
    }


@pytest.mark.parametrize("case", degenerate_arms())
def test_degenerate_arms(case):
    """Finite, bounded, and (as warnings are errors) silent."""
    control, perturbed = degenerate_arms()[case]
    inputs = inputs_of(control, perturbed)
    n_genes = control.shape[1]
    assert inputs.features.shape == (n_genes, len(FEATURES))
    assert inputs.neighbours.shape == (n_genes, min(16, n_genes - 1))
    for array in (inputs.features, inputs.edges, inputs.mixing):
        assert np.isfinite(array).all()
        assert np.abs(array).max(initial=0) <= 12


def test_cell_numbers_are_capped():
    """Ten times the cells with the same values say no more, beyond the caps."""
    rng = np.random.default_rng(4)
    control, perturbed = correlated_values(rng, 2000, 5), correlated_values(rng, 500, 5)
    once = inputs_of(control, perturbed).features
    many = inputs_of(np.tile(control, (10, 1)), np.tile(perturbed, (10, 1))).features
    capped = ("welch_t", "pooled_t", "wilcoxon", "ks_rise", "log_variance_ratio", "detection_change")
    for name in (*capped, "log_control_cells", "log_perturbed_cells"):
        np.testing.assert_allclose(many[:, COLUMN[name]], once[:, COLUMN[name]], atol=0.02, err_msg=name)
    fewer = inputs_of(control[:200], perturbed[:50]).features
    np.testing.assert_allclose(fewer[:, COLUMN["log_control_cells"]], np.log10(200) - 3, rtol=1e-6)
    np.testing.assert_allclose(fewer[:, COLUMN["log_perturbed_cells"]], np.log10(50) - 2, rtol=1e-6)


def test_context(arms):
    features = inputs_of(*arms).features
    assert features[0, COLUMN["log_genes"]] == pytest.approx(np.log10(24) - 2)
    assert features[0, COLUMN["has_zeros"]] == 1
    dense = inputs_of(*(arm + 1 for arm in arms)).features
    assert dense[0, COLUMN["has_zeros"]] == 0


OF_ITSELF = {
    "welch_t", "pooled_t", "wilcoxon", "ks_rise", "ks_fall", "log_variance_ratio", "detection_change",
    "effect_size", "log_fold_change", "control_detection", "perturbed_detection", "control_mean",
    "control_variance", "welch_t_rank", "wilcoxon_rank", "ks_rank", "variance_rank", "effect_rank",
    "log_control_cells", "log_all_control_cells", "log_perturbed_cells", "log_genes", "overall_change",
    "has_zeros",
}  # fmt: skip


def test_what_others_say_is_withheld(arms):
    inputs = inputs_of(*arms)
    before = inputs.features.copy()
    withheld = withhold_others(inputs)
    np.testing.assert_array_equal(inputs.features, before)
    assert set(FEATURES) >= OF_ITSELF
    for name, column in COLUMN.items():
        expected = before[:, column] if name in OF_ITSELF else 0
        np.testing.assert_array_equal(withheld.features[:, column], expected, err_msg=name)
        assert name in OF_ITSELF or before[:, column].any(), name
    assert not withheld.edges.any()
    assert not withheld.mixing.any()
    np.testing.assert_array_equal(withheld.neighbours, inputs.neighbours)


def test_what_is_withheld_says_nothing_of_other_genes(arms):
    """Another partner of a gene changes what is said of it, unless that is withheld."""
    control, perturbed = arms
    order = np.random.default_rng(0).permutation(len(perturbed))
    other = perturbed.copy()
    other[:, 5] = perturbed[order, 5]  # the same values in other cells: relations alone change
    summary = summarize_control(control)
    there, here = gene_inputs(summary, perturbed), gene_inputs(summary, other)
    assert np.abs(there.features - here.features).max() > 0.1
    for name in ("features", "edges", "mixing"):
        np.testing.assert_array_equal(
            getattr(withhold_others(there), name), getattr(withhold_others(here), name), err_msg=name
        )


def test_inputs_are_left_alone(arms):
    copies = [arm.copy() for arm in arms]
    inputs_of(*arms)
    for arm, copy in zip(arms, copies, strict=True):
        np.testing.assert_array_equal(arm, copy)


def test_one_summary_serves_many_groups(arms):
    control, perturbed = arms
    summary = summarize_control(control)
    first = gene_inputs(summary, perturbed)
    gene_inputs(summary, perturbed[:10])
    np.testing.assert_array_equal(gene_inputs(summary, perturbed).features, first.features)


def test_unusable_arms(arms):
    summary = summarize_control(arms[0])
    with pytest.raises(ValueError, match="cells x 24 genes"):
        gene_inputs(summary, arms[1][:, :23])
    with pytest.raises(ValueError, match="cells x 24 genes"):
        gene_inputs(summary, arms[1][0])
    with pytest.raises(ValueError, match="1 perturbed cells"):
        gene_inputs(summary, arms[1][:1])


def test_scales():
    np.testing.assert_allclose(squash(np.array([-np.e + 1, 0, np.e - 1])), [-1, 0, 1])
    values = {"one": np.array([1.0, 5.0, 3.0, 2.0]), "tied": np.array([2.0, 2.0, 0.0, 7.0])}
    found = rank_features(values)
    np.testing.assert_allclose(found["one"], [-0.5, 0, -0.25, -np.log2(3) / 4])
    np.testing.assert_allclose(found["tied"], -np.log2(stats.rankdata(-values["tied"])) / 4)
