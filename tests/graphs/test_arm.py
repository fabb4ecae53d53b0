import logging

import numpy as np
import pytest

from cdn_sc.graphs import arm_inputs, edge_tokens, sample_arm
from cdn_sc.graphs.estimate import estimate


@pytest.fixture
def values() -> np.ndarray:
    rng = np.random.default_rng(0)
    return (rng.normal(size=(300, 12)) @ rng.normal(size=(12, 12))).astype(np.float32)


def test_is_sample_estimate_tokens(values):
    inputs = arm_inputs(values, n_subsets=10, rng=np.random.default_rng(1))
    sample = sample_arm(values, 10, np.random.default_rng(1))
    graphs, succeeded = estimate(sample.subset_values(values))
    tokens, pairs = edge_tokens(sample.genes, graphs, succeeded)
    np.testing.assert_array_equal(inputs.tokens, tokens)
    np.testing.assert_array_equal(inputs.pairs, pairs)
    np.testing.assert_array_equal(inputs.correlation, sample.correlation)
    np.testing.assert_array_equal(inputs.mean_variance, sample.mean_variance)
    assert ((inputs.tokens != 0).sum(axis=1) == 20).all()


@pytest.mark.parametrize("estimator", ["fci", "causal-learn"])
def test_silent_gene_is_independent(values, estimator):
    values[:, 3] = 0
    inputs = arm_inputs(values, n_subsets=8, rng=np.random.default_rng(2), estimator=estimator)
    held = (inputs.pairs == 4).any(axis=1)
    assert held.any()
    assert set(np.unique(inputs.tokens[:, held])) <= {0, 1}
    assert inputs.tokens[:, ~held].max() > 1
    assert not inputs.correlation[3].any()


def test_no_subset_succeeds(values, caplog):
    duplicated = np.repeat(values[:, :1], 5, axis=1)
    with caplog.at_level(logging.WARNING, logger="cdn_sc"):
        inputs = arm_inputs(duplicated, n_subsets=6, rng=np.random.default_rng(3))
    assert inputs.tokens.shape == (1, 20)
    assert (inputs.tokens == 1).all()
    assert len(inputs.pairs) == 20
    assert "without edges" in caplog.text


def test_failed_subsets_are_dropped(values):
    values[:, 1] = values[:, 0]
    inputs = arm_inputs(values, n_subsets=30, rng=np.random.default_rng(4))
    sample = sample_arm(values, 30, np.random.default_rng(4))
    with_both = np.isin(sample.genes, [0, 1]).sum(axis=1) == 2
    assert with_both.any()
    assert len(inputs.tokens) == 30 - with_both.sum()


@pytest.mark.parametrize("n_genes", [2, 3, 4])
def test_few_genes(values, n_genes):
    inputs = arm_inputs(values[:, :n_genes], n_subsets=4, rng=np.random.default_rng(5))
    assert inputs.tokens.shape == (4, n_genes * (n_genes - 1))
    assert (inputs.tokens > 0).all()
    assert (inputs.tokens == inputs.tokens[0]).all()  # up to 500 cells, every subset is the same


def test_same_stream_same_inputs(values):
    first, second, other = (arm_inputs(values, n_subsets=10, rng=np.random.default_rng(s)) for s in (6, 6, 7))
    np.testing.assert_array_equal(first.tokens, second.tokens)
    assert first.tokens.shape != other.tokens.shape or (first.tokens != other.tokens).any()
