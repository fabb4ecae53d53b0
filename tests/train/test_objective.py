"""The loss of a batch: both architectures, the graph loss, members, what the network is told."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from runs import CDN, GENE_TRANSFORMER, tiny_config

from cdn_sc import models
from cdn_sc.train import objective, prepare
from cdn_sc.train.data import draw_batch, step_rng
from cdn_sc.train.prepare import prepare_batch, prepare_step


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
            torch.testing.assert_close(3 * parameter.grad, own.grad)
    assert loss.item() == pytest.approx(np.mean([own.item() for own in losses]))


def test_own_evidence_alone_is_given_to_a_share_of_pairs(monkeypatch):
    config = tiny_config(own_evidence=0.4)
    sizes = models.build_network(config.network).config
    given = []
    made = prepare.make_batch

    def record(network, arms, *, own_only=None, **options):
        given.append(own_only)
        return made(network, arms, own_only=own_only, **options)

    monkeypatch.setattr(prepare, "make_batch", record)
    steps = [prepare_step(config, sizes, step) for step in range(30)]
    assert [len(flags) for flags in given] == [len(step.batch.labels) for step in steps]
    assert np.mean([flag for flags in given for flag in flags]) == pytest.approx(0.4, abs=0.2)

    given.clear()
    before = prepare_step(replace(config, own_evidence=0.0), sizes, 3).batch.inputs
    assert given == [None]
    # it is drawn last: the kinds that are told stay
    assert torch.equal(steps[3].batch.inputs.kind, before.kind)


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
    last = replace(pair, targets=np.array([n_genes - 1]))
    first = replace(pair, targets=np.array([0]))
    missing = replace(last, n_missing=1)
    nowhere = replace(pair, targets=np.array([], dtype=int), n_missing=1)
    found = objective.validate(None, [last, first, missing, nowhere])
    np.testing.assert_allclose(found["map"], [1, 1 / n_genes, (1 + 2 / (n_genes + 1)) / 2, 1 / (n_genes + 1)])
    np.testing.assert_allclose(found["auroc"], [1, 0, 0.5, 0])
    # validated as trained and used: with the cells of other conditions
    assert all(given["contrasts"] is pair.contrasts for given in KnownScores.last.given)
