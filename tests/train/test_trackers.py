"""TensorBoard and Weights & Biases: what they are told, and what is said where they are missing."""

import sys
from types import ModuleType, SimpleNamespace

import pytest
from runs import rows, run, tiny_config

from cdn_sc.errors import InputError


@pytest.fixture
def tensorboard(monkeypatch):
    """A stand-in for the package; returns what it was told."""
    told = []

    class SummaryWriter:
        def __init__(self, folder):
            told.append(("folder", folder))

        def add_scalar(self, name, value, step):
            told.append((name, value, step))

        def close(self):
            told.append("closed")

    module = ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = SummaryWriter
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    return told


@pytest.fixture
def wandb(monkeypatch):
    told = []
    module = ModuleType("wandb")

    def init(**options):
        told.append(options)
        return SimpleNamespace(
            log=lambda values, step: told.append((step, values)), finish=lambda: told.append("finished")
        )

    module.init = init
    monkeypatch.setitem(sys.modules, "wandb", module)
    return told


def test_tensorboard(tensorboard, tmp_path):
    run(tiny_config(steps=4), tmp_path, trackers=["tensorboard"])
    assert tensorboard[0] == ("folder", str(tmp_path / "tensorboard"))
    assert tensorboard[-1] == "closed"
    found = [(value, step) for name, value, step in tensorboard[1:-1] if name == "validation_auroc"]
    assert found == [(float(row["validation_auroc"]), int(row["step"])) for row in rows(tmp_path)]


def test_wandb(wandb, tmp_path):
    config = tiny_config(steps=2)
    run(config, tmp_path, trackers=("wandb",))
    assert wandb[0]["config"]["learning_rate"] == config.learning_rate
    assert wandb[0]["dir"] == str(tmp_path)
    (row,) = rows(tmp_path)
    step, values = wandb[1]
    assert (step, values["validation_map"]) == (2, float(row["validation_map"]))
    assert wandb[-1] == "finished"


def test_trackers_are_closed_after_an_error(tensorboard, tmp_path):
    with pytest.raises(ValueError, match=r"hand its pairs to train\(given"):
        run(tiny_config(sources=[{"type": "given"}]), tmp_path / "early", trackers=["tensorboard"])
    assert tensorboard == []  # what is wrong with the run is said before anything is opened

    class StoppedError(Exception):
        pass

    def stop(*_):
        raise StoppedError

    from cdn_sc.train import loop

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop._TrainingState, "advance", stop)
        with pytest.raises(StoppedError):
            run(tiny_config(), tmp_path / "late", trackers=["tensorboard"])
    assert tensorboard[-1] == "closed"


@pytest.mark.parametrize(("name", "module"), [("tensorboard", "torch.utils.tensorboard"), ("wandb", "wandb")])
def test_missing_package(name, module, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=rf"needs the package {name}, which is not installed"):
        run(tiny_config(), tmp_path, trackers=[name])


def test_unknown_tracker(tmp_path):
    with pytest.raises(InputError, match=r"no tracker 'tensorbord'. Did you mean 'tensorboard'"):
        run(tiny_config(), tmp_path, trackers=["tensorbord"])
