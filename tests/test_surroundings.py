"""The process around us: what it has set for itself, and streams that cannot be written."""

import logging
import sys

import numpy as np
import pandas as pd
import pytest
import torch

import cdn_sc
from cdn_sc import models
from cdn_sc._logging import logger
from cdn_sc._progress import progress_bar


@pytest.fixture(scope="module")
def screen():
    adata = cdn_sc.simulate.screen(30, {"knockdown": 4}, n_control=60, n_perturbed=30, seed=5)
    adata.X = np.log1p(adata.X.toarray())
    return adata


@pytest.fixture(params=["float64", "meta"])
def other_defaults(request):
    """Switches torch to another default, which the test's end switches back."""
    yield {
        "float64": lambda: torch.set_default_dtype(torch.float64),
        "meta": lambda: torch.set_default_device("meta"),
    }[request.param]
    torch.set_default_dtype(torch.float32)
    torch.set_default_device(None)


def scores(adata, **options):
    cdn_sc.tl.predict_targets(adata, "perturbation", "control", device="cpu", progress=False, **options)
    return adata.uns["cdn_targets"]["table"]


@pytest.mark.parametrize("options", [{}, {"model": "cdn-scm", "n_subsets": 4}])
def test_predictions_do_not_depend_on_the_defaults_of_torch(screen, other_defaults, options):
    expected = scores(screen, **options)
    loaded = models.load(options.get("model", "default"))
    other_defaults()
    pd.testing.assert_frame_equal(scores(screen, **options), expected, check_exact=True)
    again = scores(screen, **options | {"model": loaded})
    pd.testing.assert_frame_equal(again, expected, check_exact=True)


def test_fine_tuning_does_not_depend_on_the_defaults_of_torch(screen, other_defaults):
    configuration = {"architecture": "gene_transformer", "channels": 8, "heads": 2, "layers": 1}
    with torch.random.fork_rng(devices=[]):
        network = models.build_network(configuration)
    options = {"targets": screen.uns["targets"], "model": network, "epochs": 1, "validation": 0}

    def tuned():
        model = cdn_sc.tl.fine_tune(
            screen, "perturbation", "control", device="cpu", progress=False, **options
        )
        return model.state_dict()

    expected = tuned()
    other_defaults()
    found = tuned()
    assert all(value.dtype == torch.float32 for value in found.values())
    for name, value in expected.items():
        np.testing.assert_allclose(found[name].numpy(), value.numpy(), atol=1e-7)
    assert network.training


@pytest.fixture(params=["none", "closed", "full"])
def deaf(request, monkeypatch, tmp_path):
    """`sys.stderr` that takes nothing: none at all, a closed file, a file on a full disk."""
    stream = None
    if request.param == "closed":
        stream = (tmp_path / "log").open("w")
        stream.close()
    if request.param == "full":

        def full(*_):
            raise OSError(28, "No space left on device")

        stream = type("Full", (), {"write": full, "flush": full, "encoding": "utf-8"})()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(logging.getLogger(), "handlers", [])


@pytest.mark.usefixtures("deaf")
def test_streams_that_cannot_be_written_end_no_work(screen):
    logger.error("nobody hears this")
    table = scores(screen)
    cdn_sc.tl.predict_targets(screen, "perturbation", "control", device="cpu", progress=True)
    pd.testing.assert_frame_equal(screen.uns["cdn_targets"]["table"], table)
    with progress_bar(True, total=2) as bar:
        bar.set_postfix_str("group", refresh=True)
        bar.update(2)


def test_bars_are_written_where_they_can_be(capsys):
    with progress_bar(True, total=2, desc="groups") as bar:
        bar.update(2)
    with progress_bar(False, total=3, desc="others") as bar:
        bar.update(3)
    said = capsys.readouterr().err
    assert "groups: 100%" in said
    assert "others" not in said
