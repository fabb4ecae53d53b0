"""Training runs of a few steps: exact resume, log, export, refusals."""

import csv
from dataclasses import replace

import numpy as np
import pytest
import torch
from runs import CDN, tiny_config

from cdn_sc import models
from cdn_sc.errors import InputError
from cdn_sc.train import loop, objective, train
from cdn_sc.train.data import draw_batch, step_rng, validation_pairs

ARCHITECTURES = ("gene_transformer", "cdn")


class StoppedError(Exception):
    """Stands for whatever stops a run."""


def run(config, folder, **options):
    return train(config, folder, progress=False, **options)


def stop_at(monkeypatch, step):
    def draw(config, number):
        if number == step:
            raise StoppedError
        return draw_batch(config, number)

    monkeypatch.setattr(loop, "draw_batch", draw)


def rows(folder):
    with (folder / "log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def without_time(table):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in table]


def checkpoint(folder):
    return torch.load(folder / "checkpoint.pt", weights_only=True)


def assert_same_run(first, second):
    a, b = checkpoint(first), checkpoint(second)
    for part in ("network", "average"):
        assert a[part].keys() == b[part].keys()
        for name in a[part]:
            assert torch.equal(a[part][name], b[part][name]), (part, name)
    for part in ("step", "pairs", "recent", "last_map", "config"):
        assert a[part] == b[part], part
    assert without_time(rows(first)) == without_time(rows(second))
    weights = [models.load(folder / "tiny.safetensors").state_dict() for folder in (first, second)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.fixture(scope="module", params=ARCHITECTURES)
def finished(request, tmp_path_factory):
    """A run that nothing interrupted."""
    config = tiny_config(request.param)
    folder = tmp_path_factory.mktemp(request.param)
    return config, folder, run(config, folder)


def test_run_that_is_stopped_ends_as_one_that_is_not(finished, tmp_path, monkeypatch):
    config, folder, _ = finished
    stop_at(monkeypatch, 5)  # checkpoint at 3, log rows at 2 and 4: the second is written again
    with pytest.raises(StoppedError):
        run(config, tmp_path)
    assert checkpoint(tmp_path)["step"] == 3
    assert [row["step"] for row in rows(tmp_path)] == ["2", "4"]
    monkeypatch.undo()
    run(config, tmp_path)
    assert_same_run(folder, tmp_path)


def test_max_seconds_stops_after_a_step(finished, tmp_path):
    config, folder, _ = finished
    for step in range(1, 7):
        path = run(config, tmp_path, max_seconds=0)
        assert checkpoint(tmp_path)["step"] == step
        assert models.load(path).card["training"]["steps"] == step
    assert_same_run(folder, tmp_path)


def test_weights_move(finished):
    _, folder, path = finished
    average, network = checkpoint(folder)["average"], checkpoint(folder)["network"]
    floats = [name for name, value in network.items() if value.is_floating_point()]
    assert any(not torch.equal(average[name], network[name]) for name in floats)
    loaded = models.load(path).state_dict()
    assert all(torch.equal(loaded[name], average[name]) for name in average)


def test_log(finished):
    config, folder, _ = finished
    table = rows(folder)
    assert tuple(table[0]) == loop.LOG_COLUMNS
    assert [int(row["step"]) for row in table] == [2, 4, 6]
    pairs = [sum(len(draw_batch(config, s)) for s in range(int(row["step"]))) for row in table]
    assert [int(row["pairs"]) for row in table] == pairs
    assert all(0 < float(row["validation_map"]) <= 1 for row in table)
    assert float(table[-1]["loss"]) == pytest.approx(np.mean(checkpoint(folder)["recent"]))


def test_export(finished):
    config, folder, path = finished
    assert path == folder / "tiny.safetensors"
    network = models.load(path)
    assert network.config.architecture == config.network["architecture"]
    assert not network.training
    card = network.card
    assert (card["name"], card["recommended_for"]) == ("tiny", "tests")
    training = card["training"]
    assert training["steps"] == 6
    assert training["pairs"] == checkpoint(folder)["pairs"]
    assert training["validation_map"] == checkpoint(folder)["last_map"]
    assert "tiny" in training["configuration"]
    found = objective.average_precisions(network, validation_pairs(config)).mean()
    assert found == pytest.approx(training["validation_map"], abs=1e-6)


def test_finished_run_is_exported_again(finished):
    config, folder, path = finished
    before = checkpoint(folder)["average"]
    path.unlink()
    assert run(config, folder) == path
    state = models.load(path).state_dict()
    assert all(torch.equal(state[name], before[name]) for name in before)


def test_folder_of_another_configuration_is_refused(finished):
    config, folder, _ = finished
    with pytest.raises(ValueError, match=r"another configuration \(other learning_rate, seed\)"):
        run(replace(config, seed=5, learning_rate=0.1), folder)


def test_global_generator_is_left_alone(tmp_path):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    run(tiny_config(steps=2), tmp_path)
    assert torch.equal(torch.get_rng_state(), before)


def test_global_generator_does_not_matter(finished, tmp_path):
    config, folder, _ = finished
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        run(config, tmp_path)
    assert_same_run(folder, tmp_path)


def test_seed_matters(tmp_path):
    for seed in (0, 1):
        run(tiny_config(steps=1, seed=seed), tmp_path / str(seed))
    first, second = (checkpoint(tmp_path / str(seed))["network"] for seed in (0, 1))
    assert not all(torch.equal(first[name], second[name]) for name in first)


def test_stop_before_the_first_validation(tmp_path):
    path = run(tiny_config(steps=50, validate_every=50), tmp_path, max_seconds=0)
    assert models.load(path).card["training"]["validation_map"] is None
    assert not (tmp_path / "log.csv").exists()


@pytest.mark.parametrize("damage", ["", "step,pairs,seconds", "nonsense"])
def test_damaged_log_does_not_stop_a_run(tmp_path, damage):
    config = tiny_config(steps=2)
    run(config, tmp_path, max_seconds=0)
    (tmp_path / "log.csv").write_text(damage)
    run(config, tmp_path)
    assert tuple(rows(tmp_path)[0]) == loop.LOG_COLUMNS
    assert [row["step"] for row in rows(tmp_path)] == ["2"]


@pytest.mark.parametrize("part", ["advance", "validate"])
def test_interrupted_run_keeps_its_steps(finished, tmp_path, monkeypatch, part):
    config, folder, _ = finished
    state = loop._TrainingState
    whole = getattr(state, part)

    def stop(self, *arguments):
        if self.step == 4:
            raise KeyboardInterrupt
        return whole(self, *arguments)

    monkeypatch.setattr(state, part, stop)
    with pytest.raises(KeyboardInterrupt):
        run(config, tmp_path)
    assert checkpoint(tmp_path)["step"] == 4  # every third step has one by itself
    monkeypatch.undo()
    run(config, tmp_path)
    assert_same_run(folder, tmp_path)


def test_half_a_step_is_not_stored(finished, tmp_path, monkeypatch):
    config, folder, _ = finished

    def stop(*_):
        raise KeyboardInterrupt

    run(config, tmp_path, max_seconds=0)
    monkeypatch.setattr(loop, "update_average", stop)  # the weights have moved, their average has not
    with pytest.raises(KeyboardInterrupt):
        run(config, tmp_path)
    assert checkpoint(tmp_path)["step"] == 1
    monkeypatch.undo()
    run(config, tmp_path)
    assert_same_run(folder, tmp_path)


def test_first_checkpoint_is_early(tmp_path, monkeypatch):
    stop_at(monkeypatch, 1)
    with pytest.raises(StoppedError):
        run(tiny_config(checkpoint_every=100), tmp_path)
    assert checkpoint(tmp_path)["step"] == 1


@pytest.mark.parametrize("damage", ["cut off", "text", "empty", "other content", "other shapes"])
def test_damaged_checkpoint_is_named(tmp_path, damage):
    config = tiny_config(steps=3)
    run(config, tmp_path, max_seconds=0)
    path = tmp_path / "checkpoint.pt"
    saved = checkpoint(tmp_path)
    if damage == "cut off":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif damage in ("text", "empty"):
        path.write_text("no checkpoint" if damage == "text" else "")
    elif damage == "other content":
        torch.save({name: value for name, value in saved.items() if name != "recent"}, path)
    else:
        saved["network"] = {name: value[..., None] for name, value in saved["network"].items()}
        torch.save(saved, path)
    with pytest.raises(InputError, match=r"cannot go on from .*checkpoint\.pt, which is damaged"):
        run(config, tmp_path)


def test_learning_that_diverges_is_reported(tmp_path, monkeypatch):
    config = tiny_config(checkpoint_every=1)
    run(config, tmp_path, max_seconds=0)
    before = checkpoint(tmp_path)
    monkeypatch.setattr(loop, "batch_loss", lambda *_, **__: torch.tensor(float("nan"), requires_grad=True))
    with pytest.raises(FloatingPointError, match="the loss is nan at step 1"):
        run(config, tmp_path)
    after = checkpoint(tmp_path)
    assert all(torch.equal(before["network"][k], after["network"][k]) for k in before["network"])


def test_initial_weights(finished, tmp_path):
    config, _, path = finished
    frozen = replace(config, steps=1, initial_weights=str(path), learning_rate=0.0)
    started = models.load(run(frozen, tmp_path)).state_dict()
    for name, value in models.load(path).state_dict().items():
        torch.testing.assert_close(started[name], value)


def test_initial_weights_of_another_network(finished, tmp_path):
    config, _, path = finished
    other = tiny_config("cdn" if config.network["architecture"] == "gene_transformer" else "gene_transformer")
    with pytest.raises(ValueError, match="altogether different network"):
        run(replace(other, initial_weights=str(path)), tmp_path)


def test_networks_that_cannot_be_trained(tmp_path):
    sea = {k: v for k, v in CDN.items() if k != "comparison_ffn"} | {"architecture": "sea"}
    with pytest.raises(ValueError, match="the network is a 'sea'; one that predicts targets"):
        run(tiny_config("cdn", network=sea), tmp_path)
    with pytest.raises(InputError, match="there is no architecture 'transformer'"):
        run(tiny_config(network={"architecture": "transformer"}), tmp_path)


def test_learning_rate():
    config = tiny_config(steps=100, warmup_steps=10, learning_rate=2.0)
    rates = [loop.learning_rate(config, step) for step in range(101)]
    assert rates[0] == pytest.approx(0.2)
    assert rates[4] == pytest.approx(0.5 * (1 + np.cos(0.04 * np.pi)))
    assert rates[50] == pytest.approx(1.0)
    assert rates[75] == pytest.approx(1 + np.cos(0.75 * np.pi))
    assert rates[100] == pytest.approx(0, abs=1e-12)
    assert np.argmax(rates) == 9
    assert (np.diff(rates[9:]) < 0).all()
    assert loop.learning_rate(replace(config, warmup_steps=0), 0) == pytest.approx(2.0)


def test_average_of_floats_and_counters():
    average = {"weight": torch.tensor([0.0, 4.0]), "counter": torch.tensor(3), "flag": torch.tensor(False)}
    current = {"weight": torch.tensor([1.0, 0.0]), "counter": torch.tensor(8), "flag": torch.tensor(True)}
    loop.update_average(average, current, 0.75)
    torch.testing.assert_close(average["weight"], torch.tensor([0.25, 3.0]))
    assert (int(average["counter"]), bool(average["flag"])) == (8, True)
    assert float(current["weight"][0]) == 1


def small_batch(architecture, **changes):
    config = tiny_config(architecture, **changes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = models.build_network(config.network).eval()
    return network, draw_batch(config, 0), config


def loss_of(network, pairs, config):
    return objective.batch_loss(network, pairs, config, rng=step_rng(config, "inputs", 0), device="cpu")


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

    monkeypatch.setattr(objective, "make_batch", record)
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


def test_decay_spares_biases_and_norms():
    network, _, config = small_batch("gene_transformer")
    decayed, others = loop._parameter_groups(network, replace(config, weight_decay=0.3))
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.3, 0.0)
    assert len(decayed["params"]) + len(others["params"]) == len(list(network.parameters()))
    spared = {id(parameter) for parameter in others["params"]}
    for name, parameter in network.named_parameters():
        assert (id(parameter) in spared) == (name.endswith("bias") or "norm" in name or parameter.ndim == 1)


def test_training_lowers_the_loss(tmp_path):
    config = tiny_config(steps=60, learning_rate=0.01, validate_every=60, checkpoint_every=60)
    run(config, tmp_path)
    recent = checkpoint(tmp_path)["recent"]
    assert len(recent) == 60
    assert np.mean(recent[-20:]) < 0.9 * np.mean(recent[:10])
