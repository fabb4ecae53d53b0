"""Inputs of the gene transformer: order of genes, degenerate arms, caps, signs."""

import numpy as np
import pytest
import torch
from arms import correlated_values, inputs_of, one_group
from scipy import stats

from cdn_sc._known_relations import KnownRelations
from cdn_sc.features import (
    EDGE_FEATURES,
    FEATURES,
    N_OWN_FEATURES,
    _scales,
    gene_inputs,
    group_statistics,
    inputs_of_groups,
    summarize_control,
)
from cdn_sc.features.genes import without_relations

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
    assert {inputs.features.dtype, inputs.edges.dtype} == {np.dtype(np.float32)}
    assert inputs.neighbours.dtype == np.int64
    assert len(set(FEATURES)) == len(FEATURES)
    assert not (inputs.neighbours == np.arange(24)[:, None]).any()


def test_genes_are_exchangeable(arms):
    order = np.random.default_rng(1).permutation(24)
    inputs, shuffled = inputs_of(*arms), inputs_of(*(arm[:, order] for arm in arms))
    np.testing.assert_allclose(shuffled.features, inputs.features[order], atol=2e-3)
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
    for name in ("welch_t", "moderated_t", "wilcoxon", "effect_size", "residual_0", "linear_residual"):
        assert features[:, COLUMN[name]].argmax() == 5, name
    for name in ("welch_t_rank", "wilcoxon_rank", "effect_rank", "residual_0_rank"):
        assert features[5, COLUMN[name]] == 0, name


def test_signs_turn_with_the_arms(arms):
    there, back = inputs_of(*arms).features, inputs_of(*arms[::-1]).features
    for name in ("welch_t", "moderated_t", "log_variance_ratio", "detection_change", "log_fold_change"):
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

    def squash(z):
        return np.sign(z) * np.log1p(np.abs(z))

    expected = {
        "welch_t": squash(stats.ttest_ind(y, x, equal_var=False).statistic),
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
    for array in (inputs.features, inputs.edges):
        assert np.isfinite(array).all()
        assert np.abs(array).max(initial=0) <= 12


def test_cell_numbers_are_capped():
    """Ten times the cells with the same values say no more, beyond the caps."""
    rng = np.random.default_rng(4)
    control, perturbed = correlated_values(rng, 2000, 5), correlated_values(rng, 500, 5)
    once = inputs_of(control, perturbed).features
    many = inputs_of(np.tile(control, (10, 1)), np.tile(perturbed, (10, 1))).features
    capped = ("welch_t", "moderated_t", "wilcoxon", "ks_rise", "log_variance_ratio", "detection_change")
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


def test_own_values_alone_decide_the_first_features(arms):
    """Another partner of a gene changes what is said of it in the others, but not there."""
    control, perturbed = arms
    order = np.random.default_rng(0).permutation(len(perturbed))
    other = perturbed.copy()
    other[:, 5] = perturbed[order, 5]  # the same values in other cells: relations alone change
    there, here = gene_inputs(summarize_control(control), perturbed, other).features
    assert (there - here).abs().max() > 0.1
    torch.testing.assert_close(there[:, :N_OWN_FEATURES], here[:, :N_OWN_FEATURES], rtol=1e-6, atol=1e-6)
    assert (there[:, N_OWN_FEATURES:] - here[:, N_OWN_FEATURES:]).abs().amax() > 0.1
    names = FEATURES[:N_OWN_FEATURES]
    assert {"welch_t", "moderated_t", "effect_rank", "overall_change", "has_zeros"} <= set(names)
    assert not any("residual" in name or "projection" in name or "known" in name for name in names)


def test_relations_are_told_from_none(arms):
    """Withheld again, nothing of them is left; other inputs are as they were."""
    control, perturbed = arms
    rng = np.random.default_rng(1)
    summary = summarize_control(control)
    near = summary.neighbours.numpy()[:, 0]
    relations = KnownRelations.of_entries(24, np.arange(24), near, rng.normal(0, 1, 24))
    without, told = (gene_inputs(summary, perturbed, relations=known) for known in (None, relations))
    assert not torch.equal(told.features, without.features)
    assert not torch.equal(told.edges, without.edges)
    assert (without.known, told.known is None) == (None, False)
    assert torch.equal(without_relations(told.features), without.features)
    assert torch.equal(without_relations(told.edges, of_pairs=True), without.edges)


def test_inputs_are_left_alone(arms):
    copies = [arm.copy() for arm in arms]
    inputs_of(*arms)
    for arm, copy in zip(arms, copies, strict=True):
        np.testing.assert_array_equal(arm, copy)


def test_groups_together_are_as_one_by_one(arms):
    """Whatever their sizes, and whichever stand beside them."""
    control, perturbed = arms
    summary = summarize_control(control)
    groups = [perturbed, perturbed[:3], control[:20], np.tile(perturbed, (15, 1))]
    together = gene_inputs(summary, *groups)
    for features, edges, group in zip(together.features, together.edges, groups, strict=True):
        alone = one_group(gene_inputs(summary, group))
        np.testing.assert_allclose(features, alone.features, atol=1e-4)
        np.testing.assert_allclose(edges, alone.edges, atol=1e-4)
        np.testing.assert_array_equal(together.neighbours, alone.neighbours)
    assert (together.features[0] - together.features[1]).abs().max() > 0.5


def test_statistics_are_all_that_is_kept_of_a_group(arms):
    """They do not grow with the cells; the cells may go."""
    control, perturbed = arms
    summary = summarize_control(control)
    statistics = group_statistics(summary, perturbed.copy())
    assert all(np.size(value) <= 24 * 16 for value in vars(statistics).values())
    found = inputs_of_groups(summary, [statistics])
    expected = gene_inputs(summary, perturbed)
    assert torch.equal(found.features, expected.features)
    assert torch.equal(found.edges, expected.edges)


def test_one_summary_serves_many_groups(arms):
    control, perturbed = arms
    summary = summarize_control(control)
    first = gene_inputs(summary, perturbed)
    gene_inputs(summary, perturbed[:10])
    assert torch.equal(gene_inputs(summary, perturbed).features, first.features)


def test_an_unhit_gene_keeps_its_regression():
    """Its neighbours' changes carry it along; those of a gene that was cut off from its own do not."""
    rng = np.random.default_rng(7)
    control, perturbed = (correlated_values(rng, n, 12, silent=0.0) for n in (800, 300))
    cut = perturbed.copy()
    cut[:, 6] = rng.permutation(cut[:, 6])
    before, after = gene_inputs(summarize_control(control), perturbed, cut).features
    for name in ("regression_kept", "correlation_kept"):
        assert after[6, COLUMN[name]] < -1.5 < before[6, COLUMN[name]], name
        assert after[6, COLUMN[f"{name}_rank"]] == 0, name
    for name in ("regression_changed", "correlation_changed", "linear_variance"):
        assert after[6, COLUMN[name]] > before[6, COLUMN[name]] + 1, name


def test_unusable_arms(arms):
    summary = summarize_control(arms[0])
    with pytest.raises(ValueError, match="cells x 24 genes"):
        gene_inputs(summary, arms[1][:, :23])
    with pytest.raises(ValueError, match="cells x 24 genes"):
        gene_inputs(summary, arms[1][0])
    with pytest.raises(ValueError, match="1 perturbed cells"):
        gene_inputs(summary, arms[1][:1])


def test_scales():
    np.testing.assert_allclose(_scales.squash(torch.tensor([-np.e + 1, 0, np.e - 1])), [-1, 0, 1])
    # two groups at once, each with ranks of its own
    values = {
        "one": torch.tensor([[1.0, 5.0, 3.0, 2.0], [4.0, 3.0, 2.0, 1.0]]),
        "tied": torch.tensor([[2.0, 2.0, 0.0, 7.0], [0.0, 0.0, 0.0, 0.0]]),
        # but for rounding, as a share of their size where that is above 1, else as they are
        "near": torch.tensor([[1e5, 1e5 + 1, 1e-5, 0.0], [1e5, 1e5 + 9, 1e-4, 0.0]]),
    }
    found = _scales.rank_features(values)
    ranks = {
        "one": [[4, 1, 2, 3], [1, 2, 3, 4]],
        "tied": [[2.5, 2.5, 4, 1], [2.5, 2.5, 2.5, 2.5]],
        "near": [[1.5, 1.5, 3.5, 3.5], [2, 1, 3, 4]],
    }
    assert set(found) == set(ranks)
    for name, expected in ranks.items():
        np.testing.assert_allclose(found[name], -np.log2(expected) / 4, atol=1e-6, err_msg=name)
