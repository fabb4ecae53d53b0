"""Batches and configurations."""

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch
from nn_arms import random_arm

from cdn_sc.nn import CDNConfig, collate, collate_arms, draw_permutations


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_batch_holds_the_token_matrix(rng):
    arms = [random_arm(rng, 7, 4), random_arm(rng, 12, 9)]
    batch = collate_arms(arms, [draw_permutations(rng, 20, 3) for _ in arms])
    for b, arm in enumerate(arms):
        rebuilt = np.zeros(arm.tokens.shape, int)
        for t in range(len(arm.tokens)):
            for token, column in zip(batch.tokens[b, t], batch.columns[b, t], strict=True):
                if token:
                    rebuilt[t, column] = token
        np.testing.assert_array_equal(rebuilt, arm.tokens)
        assert not batch.tokens[b, len(arm.tokens) :].any()
        first = batch.first_pair_subsets[b]
        np.testing.assert_array_equal(first[first >= 0], np.flatnonzero(arm.tokens[:, 0]))
    assert batch.n_genes.tolist() == [7, 12]
    assert batch.n_subsets.tolist() == [4, 9]
    assert batch.padded
    assert batch.genes.sum(1).tolist() == [7, 12]


def test_permutations_come_from_the_generator(rng):
    pairs = [(random_arm(rng, 5, 2), random_arm(rng, 5, 2)) for _ in range(2)]
    first = collate(pairs, rng=np.random.default_rng(4), num_vars=20)
    again = collate(pairs, rng=np.random.default_rng(4), num_vars=20)
    drawn = torch.cat([first.control.permutations, first.perturbed.permutations], 1)
    assert torch.equal(drawn, torch.cat([again.control.permutations, again.perturbed.permutations], 1))
    assert torch.equal(drawn.sort(-1).values, torch.arange(21).expand(2, 6, 21))
    assert len(drawn.flatten(0, 1).unique(dim=0)) == 12
    assert torch.equal(drawn[0], torch.from_numpy(draw_permutations(np.random.default_rng(4), 20)))


def test_batch_moves_with_everything(rng):
    pairs = [(random_arm(rng, 5, 2), random_arm(rng, 5, 3))]
    batch = collate(pairs, rng=rng, num_vars=20).to("meta")
    assert batch.control.tokens.device.type == batch.perturbed.permutations.device.type == "meta"
    assert len(batch) == 1


def test_bad_batches(rng):
    small, large = random_arm(rng, 5, 2), random_arm(rng, 6, 2)
    with pytest.raises(ValueError, match="control arm has 5 genes, the perturbed arm 6"):
        collate([(small, large)], rng=rng)
    with pytest.raises(ValueError, match="either `permutations` or `rng`"):
        collate([(small, small)])
    with pytest.raises(ValueError, match=r"must have shape \(1, 6, num_vars \+ 1\)"):
        collate([(small, small)], permutations=draw_permutations(rng, 20, 3)[None])
    with pytest.raises(ValueError, match="at least one"):
        collate_arms([], np.zeros((0, 3, 21), int))


def test_configuration_is_plain_json():
    config = CDNConfig(form="difference", dropout=0.2)
    assert CDNConfig(**json.loads(json.dumps(asdict(config)))) == config
    assert (
        CDNConfig(form="concat").comparison_channels == 2 * CDNConfig(form="difference").comparison_channels
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"form": "sum"}, "form must be"),
        ({"heads": 7}, "must divide"),
        ({"channels": 0}, "positive integer"),
        ({"comparison_ffn": 2.5}, "positive integer"),
        ({"dropout": 1.0}, "dropout"),
    ],
)
def test_impossible_configurations(changes, message):
    with pytest.raises(ValueError, match=message):
        CDNConfig(**changes)
