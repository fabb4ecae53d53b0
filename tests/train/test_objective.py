"""The loss of a batch: both architectures, the graph loss, members, what the network is told."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from runs import CDN, GENE_TRANSFORMER, tiny_config

from cdn_sc import models
from cdn_sc._known_relations import KnownRelations
from cdn_sc.nn.gene_transformer import KIND_NAMES
from cdn_sc.train import objective, prepare
from cdn_sc.train.data import draw_batch, step_rng
from cdn_sc.train.prepare import prepare_batch


class StoppedError(Exception):
    """Stands for whatever stops a preparation."""


def small_batch(architecture, **changes):
    config = tiny_config(architecture, **changes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = models.build_network(config.network).eval()
    return network, draw_batch(config, 0), config


def loss_of(network, pairs, config):
    batch = prepare_batch(pairs, config, network.config, step_rng(config, "inputs", 0))
    return objective.batch_loss(network, batch, config, device="cpu")


def test_graph_loss_is_added():
    network, pairs, config = small_batch("cdn")
    losses = [loss_of(network, pairs, replace(config, graph_weight=w)).item() for w in (0.0, 1.0, 3.0)]
    assert losses[1] > losses[0]
    assert losses[2] - losses[0] == pytest.approx(3 * (losses[1] - losses[0]), rel=1e-4)
    without = [replace(pair, graph=None) for pair in pairs]
    assert loss_of(network, without, config).item() == pytest.approx(losses[0])


def test_graph_of_the_control_arm_is_compared(monkeypatch):
    network, pairs, config = small_batch("cdn")
    pairs = [replace(pair, graph=np.eye(pair.control.shape[1], k=1) > 0) for pair in pairs]  # a chain
    seen = []

    def record(logits, graph, mask):
        seen.append(graph)
        return logits.sum()

    monkeypatch.setattr(objective, "graph_loss", record)
    loss_of(network, pairs, config)
    np.testing.assert_array_equal(seen[0].numpy(), [pair.graph for pair in pairs])


def test_graph_head_learns_from_the_graph_loss():
    network, pairs, config = small_batch("cdn")
    loss_of(network, pairs, config).backward()
    for name, parameter in network.named_parameters():
        if name.startswith(("top_layer", "linear_out", "encoder.embed")):
            assert parameter.grad is not None, name
            assert parameter.grad.abs().max() > 0, name


def test_network_without_graph_head():
    network, pairs, config = small_batch("cdn", network=CDN | {"graph_head": False})
    assert loss_of(network, pairs, config).item() > 0


def test_kind_is_told_to_a_share_of_pairs(monkeypatch):
    network, _, config = small_batch("gene_transformer")
    pairs = [pair for step in range(30) for pair in draw_batch(config, step)]
    told = []

    def record(network, arms, *, kinds, **options):
        told.extend(kinds)
        raise StoppedError

    monkeypatch.setattr(prepare, "make_batch", record)
    for share in (0.0, 0.5, 1.0):
        told.clear()
        with pytest.raises(StoppedError):
            loss_of(network, pairs, replace(config, kind_told=share))
        known = [(kind, pair) for kind, pair in zip(told, pairs, strict=True) if "kind" in pair.attributes]
        assert np.mean([kind is not None for kind, _ in known]) == pytest.approx(share, abs=0.2)
        assert all(kind in (None, pair.attributes["kind"]) for kind, pair in known)
        assert {kind for kind, pair in zip(told, pairs, strict=True) if "kind" not in pair.attributes} == {
            None
        }


def test_members_learn_from_their_own_losses():
    network, pairs, config = small_batch("gene_transformer", network=GENE_TRANSFORMER | {"members": 3})
    batch = prepare_batch(pairs, config, network.config, step_rng(config, "inputs", 0))
    loss = objective.batch_loss(network, batch, config, device="cpu")
    loss.backward()
    alone, *_ = small_batch("gene_transformer")
    losses = []
    for member in network.members:
        alone.zero_grad()
        alone.members[0].load_state_dict(member.state_dict())
        losses.append(objective.batch_loss(alone, batch, config, device="cpu"))
        losses[-1].backward()
        for parameter, own in zip(member.parameters(), alone.parameters(), strict=True):
            if own.grad is None:  # none of these pairs has relations
                assert parameter.grad is None
            else:
                torch.testing.assert_close(3 * parameter.grad, own.grad)
    assert loss.item() == pytest.approx(np.mean([own.item() for own in losses]))


def test_some_are_told_another_kind(monkeypatch):
    config = tiny_config(kind_told=1.0, kind_wrong=0.5)
    sizes = models.build_network(config.network).config
    pairs = [pair for step in range(40) for pair in draw_batch(config, step)]
    true = [KIND_NAMES.index(pair.attributes.get("kind", "unknown")) for pair in pairs]
    known = np.array(true) > 0
    told = prepare_batch(pairs, config, sizes, np.random.default_rng(0))
    right = told.inputs.kind.numpy() == true
    # one of four kinds at random is the true one
    assert np.mean(~right[known]) == pytest.approx(0.5 * 3 / 4, abs=0.15)
    assert right[~known].all()
    # what was told is not asked for
    assert (told.kinds < 0).all()
    untold = prepare_batch(pairs, replace(config, kind_told=0.0), sizes, np.random.default_rng(0))
    assert untold.kinds.tolist() == [kind - 1 for kind in true]


def test_directions_are_those_of_the_targets():
    config = tiny_config()
    sizes = models.build_network(config.network).config
    pairs = [pair for step in range(10) for pair in draw_batch(config, step)]
    batch = prepare_batch(pairs, config, sizes, np.random.default_rng(0))
    for found, pair in zip(batch.directions.numpy(), pairs, strict=True):
        expected = np.zeros(len(found))
        if pair.directions is not None:
            expected[pair.targets] = pair.directions
        np.testing.assert_array_equal(found, expected)
    assert {-1.0, 0.0, 1.0} == set(batch.directions.unique().tolist())


def test_all_that_a_gene_transformer_says_is_learnt(monkeypatch):
    network, pairs, config = small_batch("gene_transformer", kind_told=0.0)
    pairs = [pair for step in range(6) for pair in draw_batch(config, step)]
    loss_of(network, pairs, config).backward()
    silent = ("known.",)  # none of these pairs has relations
    for name, parameter in network.named_parameters():
        if not any(part in name for part in silent):
            assert parameter.grad is not None, name
            assert parameter.grad.abs().max() > 0, name


class KnownScores:
    """Predicts each gene's number; notes what it was given."""

    def __init__(self, network, device, *, columns):
        self.max_subsets, self.given = None, []
        KnownScores.last = self

    def predict(self, control, perturbed, *, rng, **given):
        self.given.append(given)
        return SimpleNamespace(logits=np.arange(control.shape[1], dtype=float))


def test_validation_ranks_the_largest_logit_first(monkeypatch):
    monkeypatch.setattr(objective, "Predictor", KnownScores)
    _, pairs, _ = small_batch("gene_transformer")
    pair = replace(pairs[0], contrasts=np.ones((2, pairs[0].control.shape[1]), dtype=np.float32))
    n_genes = pair.control.shape[1]
    pair = replace(
        pair, relations=KnownRelations.of_entries(n_genes, np.array([0]), np.array([1]), np.ones(1))
    )
    last = replace(pair, targets=np.array([n_genes - 1]))
    first = replace(pair, targets=np.array([0]))
    missing = replace(last, n_missing=1)
    nowhere = replace(pair, targets=np.array([], dtype=int), n_missing=1)
    found = objective.validate(None, [last, first, missing, nowhere])
    np.testing.assert_allclose(found["map"], [1, 1 / n_genes, (1 + 2 / (n_genes + 1)) / 2, 1 / (n_genes + 1)])
    np.testing.assert_allclose(found["auroc"], [1, 0, 0.5, 0])
    # validated as trained and used: with the cells of other conditions
    assert all(given["contrasts"] is pair.contrasts for given in KnownScores.last.given)
    assert all(given["relations"] is pair.relations for given in KnownScores.last.given)
