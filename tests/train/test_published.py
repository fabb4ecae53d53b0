"""The published layout: what is read, what is refused, and the shipped configuration on it."""

import numpy as np
import pandas as pd
import pytest
from published import write_published
from runs import rows, run, tiny_config

from cdn_sc import models
from cdn_sc.errors import InputError
from cdn_sc.train import read_config
from cdn_sc.train.config import locate_pairs
from cdn_sc.train.data import draw_batch, read_published_once
from cdn_sc.train.published import PublishedPairs, read_published


@pytest.fixture(scope="module")
def layout(tmp_path_factory):
    folder = tmp_path_factory.mktemp("published")
    return folder, write_published(folder)


@pytest.fixture
def copy(tmp_path):
    """A layout that a test may spoil."""
    write_published(tmp_path)
    return tmp_path


def test_pairs_and_split(layout):
    folder, pairs = layout
    found = read_published(folder, folder / "perturbseq.csv")
    numbers = [[int(p.attributes["pert"][4:]) for p in part] for part in (found.training, found.validation)]
    assert numbers == [[*range(1, 10), 11], [0, 10]]  # rows 0 and 10 validate, 12 and 13 are for tests
    for number, pair in zip(numbers[0], found.training, strict=True):
        np.testing.assert_array_equal(pair.control, pairs[number].control)
        np.testing.assert_array_equal(pair.perturbed, pairs[number].perturbed)
        assert pair.targets == pairs[number].targets
        assert pair.control.dtype == pair.perturbed.dtype == np.float32
    assert found.training[1].attributes["name"] == "GENE2"
    assert found.training[1].attributes["genes"] == found.training[1].control.shape[1]


def test_slices_read_nothing(layout, monkeypatch):
    folder, _ = layout
    found = read_published(folder, folder / "perturbseq.csv").training
    monkeypatch.setattr(np, "load", lambda *_, **__: pytest.fail("was read"))
    part = found[2:5]
    assert isinstance(part, PublishedPairs)
    assert len(part) == 3


def test_rows_are_numbered_over_the_whole_table(copy):
    table = pd.read_csv(copy / "perturbseq.csv")
    table.loc[0, "split"] = "test"
    table.to_csv(copy / "perturbseq.csv", index=False)
    found = read_published(copy, copy / "perturbseq.csv")
    assert [pair.attributes["pert"] for pair in found.validation] == ["ENSG10"]


def test_fingerprint(copy):
    before = read_published(copy, copy / "perturbseq.csv").fingerprint
    assert read_published(copy, copy / "perturbseq.csv").fingerprint == before
    table = pd.read_csv(copy / "perturbseq.csv")
    table.loc[3, "label"] = 5 - table.loc[3, "label"]
    table.to_csv(copy / "perturbseq.csv", index=False)
    assert read_published(copy, copy / "perturbseq.csv").fingerprint != before


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "perturbseq.csv").unlink(), "cannot read the table of splits"),
        (lambda f: (f / "perturbseq.csv").write_text(""), "cannot read the table of splits"),
        (
            lambda f: (f / "perturbseq.csv").write_text("a,b\n1,2\n"),
            r"lacks the columns \['fp_data', 'label'",
        ),
        (lambda f: change(f, "split", "test"), "no row whose split is 'train'; its splits: 'test'"),
        (lambda f: change(f, "label", "TP53"), "are no whole numbers"),
        (
            lambda f: (f / "data/single_cell/line/data-ENSG3.npy").unlink(),
            r"1 of 24 files of the table are not there, the first is '.*data-ENSG3.npy'",
        ),
    ],
)
def test_refused_at_once(copy, spoil, message):
    spoil(copy)
    with pytest.raises(InputError, match=message):
        read_published(copy, copy / "perturbseq.csv")


def change(folder, column, value):
    pd.read_csv(folder / "perturbseq.csv").assign(**{column: value}).to_csv(
        folder / "perturbseq.csv", index=False
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((20, 3)), r"has 3 genes and data-ENSG1.npy has \d"),
        (np.zeros(20), r"shape \(20,\)"),
        (np.array([["a"] * 7] * 5), "type <U1"),
        (np.full((20, 3), np.nan), "NaN or infinite"),
        (np.full((20, 3), 1e300), "NaN or infinite"),
        (np.zeros((20, 0)), r"shape \(20, 0\)"),
        (np.zeros((2, 3), dtype=[("a", "f4")]), r"type \[\('a', '<f4'\)\]"),
        (None, "cannot read .* as an array of numpy"),
    ],
)
def test_refused_when_read(copy, values, message):
    path = copy / "data/single_cell/line/data_interv-ENSG1.npy"
    if values is None:
        path.write_bytes(path.read_bytes()[:200])
    else:
        np.save(path, values)
    with pytest.raises(InputError, match=message):
        _ = read_published(copy, copy / "perturbseq.csv").training[0]


def test_changed_table_is_read_again(copy):
    """In one process, such as a notebook."""
    arguments = str(copy), str(copy / "perturbseq.csv")
    before = read_published_once(*arguments)
    assert read_published_once(*arguments) is before
    change(copy, "label", 1)
    assert read_published_once(*arguments).fingerprint != before.fingerprint
    assert [int(pair.targets[0]) for pair in read_published_once(*arguments).training] == [1] * 10


def test_label_beyond_the_genes(copy):
    change(copy, "label", 99)
    with pytest.raises(InputError, match=r"the label 99 of .* is none of its \d genes"):
        _ = read_published(copy, copy / "perturbseq.csv").training[0]


def test_training_on_the_layout(layout, tmp_path):
    folder, pairs = layout
    config = tiny_config(
        "cdn", sources=[{"type": "published"}], max_pairs_per_batch=2, select_by="auroc", steps=4
    )
    with pytest.raises(InputError, match=r"lacks its folder and splits: .*--data and --splits"):
        draw_batch(config, 0)
    config = locate_pairs(config, folder, folder / "perturbseq.csv")
    known = [pair.control.tobytes() for pair in pairs]
    for pair in draw_batch(config, 0):
        assert pair.control.tobytes() in known
    run(config, tmp_path / "here")
    run(config, tmp_path / "elsewhere", workers=1)
    networks = [models.load(tmp_path / part / "tiny.safetensors") for part in ("here", "elsewhere")]
    states = [network.state_dict() for network in networks]
    assert all((states[0][name] == states[1][name]).all() for name in states[0])
    assert [row["step"] for row in rows(tmp_path / "here")] == ["0", "2", "4"]


def test_pairs_of_a_configuration_without_them():
    with pytest.raises(ValueError, match="no source 'published'; its sources: 'scm', 'screen'"):
        locate_pairs(tiny_config(), "folder")
    assert locate_pairs(tiny_config()) == tiny_config()


def test_the_published_recipe_ships():
    config = read_config("cdn-perturbseq")
    assert (config.learning_rate, config.schedule, config.select_by) == (1e-5, "constant", "auroc")
    assert config.max_pairs_per_batch in (1, 2)
    assert config.patience > 0
    assert config.initial_weights == "cdn_synthetic-all"
    assert read_config("cdn-perturbseq", {"initial_weights": "cdn-screens"}).initial_weights == "cdn-screens"
    assert [source.type for source in config.sources] == ["published"]
