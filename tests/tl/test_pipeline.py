"""Batches, threads and memory of the way through the model: they change no result."""

import threading

import numpy as np
import pandas as pd
import pytest
import torch

import cdn_sc
from cdn_sc.tl import _pipeline, predict_targets

GROUPS = ["A+B", "drug_A", "drug_B", "x/y"]


def table_of(adata, **options):
    predict_targets(adata, "perturbation", "control", progress=False, **options)
    return adata.uns["cdn_targets"]["table"]


@pytest.fixture
def expected(screen, predictor):
    """The table of a screen whose groups went through the model one by one."""
    predictor.most_at_once = 1
    table = table_of(screen.copy())
    assert predictor.launched == [1, 1, 1, 1]
    predictor.launched.clear()
    predictor.most_at_once = 3
    return table


@pytest.mark.parametrize("n_jobs", [1, 2, 4])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_batches_depend_on_the_groups_alone(screen, predictor, expected, device, n_jobs):
    predictor.device = device
    pd.testing.assert_frame_equal(table_of(screen, n_jobs=n_jobs), expected)
    assert sorted(predictor.launched) == [1, 3]


def test_groups_of_other_sizes_go_apart(screen, predictor):
    values = screen.X.toarray()
    values[:, 11] = 0.5
    in_b = np.flatnonzero(screen.obs["perturbation"] == "drug_B")
    values[in_b, 11] = np.arange(len(in_b))
    screen.X = values
    # models with a limit of their own choose for each group
    predictor.max_genes = 12
    table = table_of(screen)
    # drug_B has a candidate more
    assert predictor.launched == [2, 1, 1]
    counts = table["group"].value_counts().to_dict()
    # others have one panel, and only the rows of a group where the gene varies
    predictor.max_genes = None
    predictor.launched.clear()
    table = table_of(screen)
    assert predictor.launched == [3, 1]
    assert table["group"].value_counts().to_dict() == counts
    assert table["group"].value_counts().to_dict() == {"drug_B": 12} | dict.fromkeys(
        ["A+B", "drug_A", "x/y"], 11
    )


def test_accelerator_is_fed_by_one_thread_and_never_waited_for_at_once(screen, predictor, expected):
    """Groups are made ready in other threads; predictions are fetched when later batches are there."""
    predictor.device, predictor.most_at_once = "cuda", 1
    events, prepare, launch = [], predictor.prepare, predictor.launch
    here = threading.get_ident()

    def prepare_in_background(*arguments, **options):
        assert threading.get_ident() != here
        return prepare(*arguments, **options)

    def launch_here(comparisons):
        assert threading.get_ident() == here
        number = len([each for each in events if each[0] == "launch"])
        events.append(("launch", number))
        launched = launch(comparisons)
        fetch = launched.fetch
        launched.fetch = lambda: events.append(("fetch", number)) or fetch()
        return launched

    predictor.prepare, predictor.launch = prepare_in_background, launch_here
    pd.testing.assert_frame_equal(table_of(screen), expected)
    assert [name for name, _ in events] == ["launch"] * 3 + ["fetch", "launch", "fetch", "fetch", "fetch"]
    assert [number for name, number in events if name == "fetch"] == [0, 1, 2, 3]


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("n_jobs", [1, 3])
def test_groups_are_made_ready_only_so_far_ahead(screen, predictor, device, n_jobs):
    labels = np.array(["control"] * 40 + [f"group_{i % 8}" for i in range(80)])
    screen.obs["perturbation"] = labels
    predictor.device, predictor.most_at_once = device, 1
    prepared, ahead, prepare, launch = [], [], predictor.prepare, predictor.launch

    def counting_prepare(*arguments, **options):
        prepared.append(1)
        return prepare(*arguments, **options)

    def counting_launch(comparisons):
        ahead.append(len(prepared) - len(ahead))
        return launch(comparisons)

    predictor.prepare, predictor.launch = counting_prepare, counting_launch
    table_of(screen, n_jobs=n_jobs)
    assert len(prepared) == 8
    limit = 1 if (n_jobs, device) == (1, "cpu") else 3 * n_jobs + _pipeline.BATCHES_ON_DEVICE
    assert max(ahead) <= limit


def out_of_memory_above(predictor, monkeypatch, most):
    launch, tried = predictor.launch, []

    def small_device(comparisons):
        tried.append(len(comparisons))
        if len(comparisons) > most:
            raise torch.cuda.OutOfMemoryError("no room")
        return launch(comparisons)

    monkeypatch.setattr(predictor, "launch", small_device)
    return tried


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_batches_are_halved_where_memory_is_short(screen, predictor, expected, monkeypatch, caplog, device):
    labels = screen.obs["perturbation"].astype(str)
    order = np.random.default_rng(0).permutation(len(labels))
    halves = [
        f"{label}{i % 2}" if label != "control" else label for i, label in zip(order, labels, strict=True)
    ]
    halved = screen.copy()
    halved.obs["perturbation"] = halves
    predictor.most_at_once = 1
    one_by_one = table_of(halved.copy(), min_cells=2)
    predictor.most_at_once, predictor.device = 4, device
    tried = out_of_memory_above(predictor, monkeypatch, 2)
    with caplog.at_level("WARNING", logger="cdn_sc"):
        pd.testing.assert_frame_equal(table_of(halved, min_cells=2), one_by_one)
    # what did not fit once is not tried again
    assert tried == [4, 2, 2, 2, 2]
    assert [message for message in caplog.messages if "memory" in message] == [
        "Out of device memory with 4 groups at once: going on with 2."
    ]


def test_a_group_that_does_not_fit_by_itself(screen, predictor, monkeypatch):
    tried = out_of_memory_above(predictor, monkeypatch, 0)
    match = r"memory in group 'A\+B' with 12 candidate genes: lower n_genes \(such as n_genes=6\)"
    with pytest.raises(cdn_sc.errors.DeviceMemoryError, match=match):
        table_of(screen)
    assert tried == [3, 1, 1]
    assert "cdn_targets" not in screen.uns


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("where", ["prepare", "launch"])
def test_errors_end_the_call_and_its_threads(screen, predictor, monkeypatch, where, n_jobs, device):
    def fails(*_, **__):
        raise ZeroDivisionError("a bug")

    predictor.device = device
    monkeypatch.setattr(predictor, where, fails)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        table_of(screen, n_jobs=n_jobs)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("cdn_sc")]
    assert "cdn_targets" not in screen.uns


@pytest.mark.parametrize("precision", ["float32", "tf32", "bfloat16"])
@pytest.mark.parametrize("architecture", ["cdn", "gene_transformer"])
def test_networks_score_groups_together_as_one_by_one(screen, monkeypatch, architecture, precision):
    """With other numbers of local graphs in each, and each with random numbers of its own."""
    from cdn_sc.models import build_network
    from cdn_sc.predictors import Predictor

    sizes = {"cdn": {"channels": 16, "heads": 2, "blocks": 1}, "gene_transformer": {}}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build_network({"architecture": architecture} | sizes[architecture])
    options = {"model": network, "device": "cpu", "n_genes": 8, "precision": precision}
    options |= {"n_subsets": 6} if architecture == "cdn" else {}
    tables = []
    for together in (1, 3):
        monkeypatch.setattr(Predictor, "batch_size", lambda *_, together=together: together)
        tables.append(table_of(screen, **options))
    by = ["group", "gene"]
    one_by_one, in_batches = (table.sort_values(by).reset_index(drop=True) for table in tables)
    pd.testing.assert_frame_equal(one_by_one[by], in_batches[by])
    tolerance = 0.01 if precision == "bfloat16" else 1e-5
    np.testing.assert_allclose(one_by_one["score"], in_batches["score"], atol=tolerance)
    assert screen.uns["cdn_targets"]["params"]["precision"] == precision


def test_precision_changes_scores_a_little(screen):
    tables = {
        precision: table_of(screen, device="cpu", precision=precision).set_index(["group", "gene"])["score"]
        for precision in ("float32", "bfloat16")
    }
    difference = (tables["float32"] - tables["bfloat16"].reindex(tables["float32"].index)).abs().max()
    assert 0 < difference < 0.05


def test_unknown_precision(screen, predictor):
    with pytest.raises(ValueError, match="precision is one of 'float32', 'tf32', 'bfloat16', not 'half'"):
        table_of(screen, precision="half")
    assert not predictor.calls
