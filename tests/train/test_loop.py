"""Training runs of a few steps: exact resume, log, export, refusals."""

import hashlib
import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from runs import CDN, GENE_TRANSFORMER, assert_same_run, checkpoint, rows, run, tiny_config

from cdn_sc import models
from cdn_sc.errors import InputError
from cdn_sc.train import log, loop, objective, prepare
from cdn_sc.train.checkpoint import add_checksum, read_checkpoint, write_checkpoint
from cdn_sc.train.data import draw_batch, validation_pairs

ARCHITECTURES = ("gene_transformer", "cdn")


class StoppedError(Exception):
    """Stands for whatever stops a run."""


def stop_at(monkeypatch, step):
    def draw(config, number, *given):
        if number == step:
            raise StoppedError
        return draw_batch(config, number, *given)

    monkeypatch.setattr(prepare, "draw_batch", draw)


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
    assert tuple(table[0]) == log.LOG_COLUMNS
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
    assert re.search(r"^cpu, \d+ thread\(s\), 0 worker\(s\); .+ cores; PyTorch \d", training["hardware"])
    assert training["initial_weights_sha256"] == ""
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


def test_checkpoint_from_before_a_field_existed(tmp_path):
    config = tiny_config(steps=2)
    run(config, tmp_path, max_seconds=0)
    saved = checkpoint(tmp_path)
    before = json.loads(saved["config"])
    assert before.pop("kind_wrong") == 0
    write_checkpoint(tmp_path / "checkpoint.pt", saved | {"config": json.dumps(before)})
    with pytest.raises(ValueError, match=r"other kind_wrong"):
        run(replace(config, kind_wrong=0.5), tmp_path)
    run(config, tmp_path)
    assert checkpoint(tmp_path)["step"] == 2


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
    assert tuple(rows(tmp_path)[0]) == log.LOG_COLUMNS
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


DAMAGES = (
    *("cut off", "text", "empty", "folder", "other content", "huge moments"),
    *(f"other shapes of the {part}" for part in ("network", "average", "best")),
)


@pytest.mark.parametrize("damage", DAMAGES)
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
        write_checkpoint(path, {name: value for name, value in saved.items() if name != "recent"})
    elif damage == "folder":
        path.unlink()
        path.mkdir()
    elif damage.startswith("other shapes of the "):
        part = damage.removeprefix("other shapes of the ")
        changed = {name: value[..., None] for name, value in saved["average"].items()}
        write_checkpoint(path, saved | {part: changed})
    else:
        saved["optimiser"]["state"][0]["exp_avg"] = torch.zeros(1).expand(10**12)
        write_checkpoint(path, saved)
    with pytest.raises(InputError, match=r"cannot go on from .*checkpoint\.pt, which is damaged"):
        run(config, tmp_path)


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A run of one step, and its checkpoint."""
    folder = tmp_path_factory.mktemp("begun")
    config = tiny_config(steps=3)
    run(config, folder, max_seconds=0)
    return config, folder, (folder / "checkpoint.pt").read_bytes()


def test_every_flipped_bit_of_a_checkpoint_is_noticed(begun):
    _, folder, whole = begun
    path = folder / "checkpoint.pt"
    rng = np.random.default_rng(0)
    inside = rng.integers(8 * len(whole), size=400)
    at_the_end = 8 * len(whole) - 1 - np.arange(8 * 120)  # the checksum, and the archive's own end
    try:
        for bit in (*inside, *at_the_end):
            spoilt = bytearray(whole)
            spoilt[bit // 8] ^= 1 << (bit % 8)
            path.write_bytes(spoilt)
            with pytest.raises(InputError, match=r"cannot go on from .*checkpoint\.pt, .*[Dd]elete it"):
                read_checkpoint(path, "cpu")
        for length in rng.integers(len(whole), size=40):
            path.write_bytes(whole[:length])
            with pytest.raises(InputError, match=r"cannot go on from .*checkpoint\.pt, which is damaged"):
                read_checkpoint(path, "cpu")
    finally:
        path.write_bytes(whole)
    assert read_checkpoint(path, "cpu")["step"] == 1


def test_swapped_fields_are_noticed(begun, tmp_path):
    """Of two checkpoints of one run: every part is whole, but they do not belong together."""
    config, _, whole = begun
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(whole)
    names = [(b"exp_avg", b"exp_avX"), (b"network", b"average"), (b"data/10", b"data/11")]
    for one, other in names:
        place = whole.index(one)
        path.write_bytes(whole[:place] + other + whole[place + len(one) :])
        with pytest.raises(InputError, match=r"checkpoint\.pt, which is damaged.*checksum"):
            run(config, tmp_path)


def test_checkpoint_without_a_checksum(finished, tmp_path):
    """Of version 1.2 and earlier: refused, unless somebody vouches for it."""
    config, folder, _ = finished
    run(config, tmp_path, max_seconds=0)
    path = tmp_path / "checkpoint.pt"
    torch.save(checkpoint(tmp_path), path)
    with pytest.raises(
        InputError, match=r"no checksum, as version 1\.2 .*add_checksum\('.*checkpoint\.pt'\)"
    ):
        run(config, tmp_path)
    add_checksum(path)
    run(config, tmp_path)
    assert_same_run(folder, tmp_path)
    with pytest.raises(InputError, match="it has a checksum"):
        add_checksum(path)


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


def test_initial_weights_are_told_by_their_sha256(finished, tmp_path):
    config, _, path = finished
    started = models.load(run(replace(config, steps=1, initial_weights=str(path)), tmp_path))
    expected = hashlib.sha256(path.read_bytes()).hexdigest()
    assert started.card["training"]["initial_weights_sha256"] == expected


def test_initial_weights_of_a_shipped_configuration_lie_beside_the_run(finished, tmp_path, monkeypatch):
    config, _, path = finished
    monkeypatch.setattr(loop, "shipped_configs", lambda: ["first-half"])
    going_on = replace(config, steps=1, initial_weights="first-half", learning_rate=0.0)
    with pytest.raises(ValueError, match=r"goes on from 'first-half': train that one first, .*first-half'"):
        run(going_on, tmp_path / "second")
    folder = tmp_path / "first-half"
    folder.mkdir()
    shutil.copy(path, folder / "first-half.safetensors")
    started = models.load(run(going_on, tmp_path / "second")).state_dict()
    for name, value in models.load(path).state_dict().items():
        torch.testing.assert_close(started[name], value)


def test_initial_weights_of_an_ensemble(tmp_path):
    frozen = {"steps": 1, "learning_rate": 0.0}
    two = tiny_config(network=GENE_TRANSFORMER | {"members": 2}, **frozen)
    one = run(tiny_config(seed=1, **frozen), tmp_path / "one")
    given = models.load(one)
    taken = models.load(run(replace(two, initial_weights=str(one)), tmp_path / "two"))
    fresh = models.load(run(two, tmp_path / "fresh"))
    for member, source in enumerate((given.members[0], fresh.members[1])):
        for name, value in source.state_dict().items():
            torch.testing.assert_close(taken.members[member].state_dict()[name], value)
    whole = replace(two, initial_weights=str(tmp_path / "two" / "tiny.safetensors"), seed=2)
    again = models.load(run(whole, tmp_path / "again"))
    for name, value in taken.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value)


def test_initial_weights_of_the_other_form(tmp_path):
    frozen = {"steps": 1, "learning_rate": 0.0}
    concat = run(tiny_config("cdn", **frozen), tmp_path / "concat")
    difference = tiny_config("cdn", network=CDN | {"form": "difference"}, seed=1, **frozen)
    given = models.load(concat).state_dict()
    taken = models.load(
        run(replace(difference, initial_weights=str(concat)), tmp_path / "taken")
    ).state_dict()
    same = [name for name in taken if given[name].shape == taken[name].shape]
    assert any(name.startswith("encoder.") for name in same)
    assert len(same) < len(taken)  # what compares is wider in concat
    for name in same:
        torch.testing.assert_close(taken[name], given[name])


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


def test_decay_spares_biases_and_norms():
    config = tiny_config(weight_decay=0.3)
    with torch.random.fork_rng(devices=[]):
        network = models.build_network(config.network)
    decayed, others = loop._parameter_groups(network, config)
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


def one_step_of_descent(tmp_path, monkeypatch, network, members, **changes):
    """Weights, and their average, before and after plain steps of gradient descent from some weights."""

    def descent(groups, lr):
        return torch.optim.SGD(groups, lr=lr)

    monkeypatch.setattr(loop.torch.optim, "AdamW", descent)
    sizes = GENE_TRANSFORMER | {"members": members, "dropout": 0.0}
    values = {"learning_rate": 0.05, "weight_decay": 0.0, "warmup_steps": 1, "validate_every": 100}
    config = tiny_config(network=sizes, **(values | changes))
    run(config, tmp_path, start=network)
    return checkpoint(tmp_path)


def network_of(members, seed):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return models.build_network(GENE_TRANSFORMER | {"members": members, "dropout": 0.0})


@pytest.mark.parametrize("clip", [1e9, 0.01], ids=["never clipped", "always clipped"])
def test_members_learn_as_each_would_alone(tmp_path, monkeypatch, clip):
    """Gradients of their own losses, not of the mean, and each a norm of its own."""
    both = network_of(2, 0)
    with torch.no_grad():
        for parameter in both.members[1].parameters():
            parameter *= 1.5  # so that the norms of their gradients differ
    alone = [network_of(1, 1) for _ in range(2)]
    for single, member in zip(alone, both.members, strict=True):
        single.members[0].load_state_dict(member.state_dict())
    options = {"steps": 1, "clip": clip}
    together = one_step_of_descent(tmp_path / "both", monkeypatch, both, 2, **options)["network"]
    for number, single in enumerate(alone):
        folder = tmp_path / str(number)
        found = one_step_of_descent(folder, monkeypatch, single, 1, **options)["network"]
        moved = 0.0
        for name, value in found.items():
            own = name.replace("members.0", f"members.{number}")
            torch.testing.assert_close(together[own], value, rtol=1e-5, atol=1e-7)
            moved += float((value - single.state_dict()[name]).square().sum())
        # the schedule halves nothing at the first step
        step = moved**0.5 / 0.05
        assert step == pytest.approx(clip, rel=1e-3) if clip < 1 else step > 0.05


def test_average_warms_up(tmp_path, monkeypatch):
    """At first it follows the weights closely: what the network began with does not linger."""
    start = network_of(1, 0)
    initial = {name: value.clone() for name, value in start.state_dict().items()}
    options = {"average_decay": 0.15, "checkpoint_every": 1, "clip": 1.0}
    monkeypatch.setattr(loop, "learning_rate", lambda config, step: config.learning_rate)
    first = one_step_of_descent(tmp_path / "one", monkeypatch, start, 1, steps=1, **options)
    second = one_step_of_descent(tmp_path / "two", monkeypatch, start, 1, steps=2, **options)
    # shares of 1/10 and 2/11 of the past, the second bounded by average_decay
    for name, value in initial.items():
        expected = 0.1 * value + 0.9 * first["network"][name]
        torch.testing.assert_close(first["average"][name], expected)
        expected = 0.15 * expected + 0.85 * second["network"][name]
        torch.testing.assert_close(second["average"][name], expected)
    assert any((first["network"][name] - value).abs().max() > 1e-3 for name, value in initial.items())
