"""Steps that other processes prepare: the same run, clean ends."""

import multiprocessing
import pickle

import pytest
import torch
from runs import GENE_TRANSFORMER, SCREEN, assert_same_run, checkpoint, run, tiny_config

from cdn_sc import models
from cdn_sc.train import loop
from cdn_sc.train.prepare import prepare_step
from cdn_sc.train.workers import _prepare, prepared_steps


def network_sizes(config):
    with torch.random.fork_rng(devices=[]):
        return models.build_network(config.network).config


def tensors(part):
    """All tensors of a prepared step, in order."""
    if isinstance(part, torch.Tensor):
        return [part]
    return [found for value in getattr(part, "__dict__", {}).values() for found in tensors(value)]


@pytest.mark.parametrize("architecture", ["gene_transformer", "cdn"])
def test_a_step_travels_unchanged(architecture):
    config = tiny_config(architecture)
    sizes = network_sizes(config)
    sent, kept = pickle.loads(_prepare(config, sizes, 1)), prepare_step(config, sizes, 1)
    assert sent.dropout_seed == kept.dropout_seed
    assert len(tensors(sent)) == len(tensors(kept)) >= 8
    for first, second in zip(tensors(sent), tensors(kept), strict=True):
        assert first.dtype == second.dtype
        assert torch.equal(first, second)


def workers_left():
    """Processes of ours; joblib keeps some of its own for later."""
    return [child for child in multiprocessing.active_children() if "Loky" not in child.name]


def test_run_with_workers_is_the_same(tmp_path, monkeypatch):
    config = tiny_config(steps=4, network=GENE_TRANSFORMER | {"members": 2})
    run(config, tmp_path / "without")
    run(config, tmp_path / "with", max_seconds=0)
    advance = loop._TrainingState.advance

    def interrupt(self, prepared):
        if self.step == 3:
            raise KeyboardInterrupt
        return advance(self, prepared)

    monkeypatch.setattr(loop._TrainingState, "advance", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(config, tmp_path / "with", workers=1)
    assert not workers_left()
    assert checkpoint(tmp_path / "with")["step"] == 3
    monkeypatch.undo()
    run(config, tmp_path / "with")
    assert_same_run(tmp_path / "without", tmp_path / "with")


def test_error_in_a_worker_is_raised_and_ends_it():
    # more targets than genes, which only the simulator notices
    source = SCREEN | {"options": SCREEN["options"] | {"n_targets": [1.0] * 30}}
    config = tiny_config(sources=[source])
    with pytest.raises(ValueError, match="groups of up to 30 targets need as many genes"):
        next(prepared_steps(config, network_sizes(config), 0, 1))
    assert not workers_left()


def test_negative_number_of_workers(tmp_path):
    with pytest.raises(ValueError, match="workers = -1"):
        run(tiny_config(), tmp_path, workers=-1)
