"""The published splits: the authors' files as tables."""

import hashlib

import pandas as pd
import pytest
from imitation_server import Answer

import cdn_sc
from cdn_sc.datasets import splits
from cdn_sc.datasets._splits import FILES, REGISTRY
from cdn_sc.errors import DownloadError, InputError, MissingNameError

PAIRS = {"k562_gw": 1767, "k562_essential": 1060, "rpe1": 961, "hepg2": 627, "jurkat": 1014}
TESTED = {"k562_gw": 678, "k562_essential": 420, "rpe1": 397, "hepg2": 263, "jurkat": 333}
HELD_OUT = {"hepg2": ["hepg2"], "jurkat": ["jurkat"], "k562": ["k562_gw", "k562_essential"], "rpe1": ["rpe1"]}


@pytest.fixture
def real(server, cache, shared_dir):
    """A server with the real files, of which the registry has the checksums."""
    for name in REGISTRY:
        server.serve(f"/raw/{name}", (shared_dir / "splits" / name).read_bytes())
    return server


def test_real_files_have_the_checksums_of_the_registry(shared_dir):
    assert sorted(FILES.values()) == sorted(REGISTRY)
    for name, checksum in REGISTRY.items():
        content = (shared_dir / "splits" / name).read_bytes()
        assert f"sha256:{hashlib.sha256(content).hexdigest()}" == checksum


def test_seen_cell_lines(real):
    table = splits("seen")
    assert list(table.columns) == [
        "pert", "name", "cluster", "split", "fp_data", "label", "cell_line", "fp_control"
    ]  # fmt: skip
    assert table["cell_line"].value_counts().to_dict() == PAIRS
    assert table[table["split"] == "test"]["cell_line"].value_counts().to_dict() == TESTED
    assert table["label"].dtype == table["cluster"].dtype == "int64"
    assert table["label"].between(0, 999).all()
    assert (table["name"] != "").all()
    first = table.iloc[0]
    assert first["fp_control"] == "data/single_cell/k562_gw/data-ENSG00000001084.npy"
    pd.testing.assert_frame_equal(splits("perturbseq"), table)
    assert real.asked() == ["/raw/perturbseq.csv"]


@pytest.mark.parametrize("line", HELD_OUT)
def test_unseen_cell_lines(real, line):
    table = splits(f"unseen-{line}")
    assert set(table[table["split"] == "test"]["cell_line"]) == set(HELD_OUT[line])
    assert not set(table[table["split"] == "train"]["cell_line"]) & set(HELD_OUT[line])
    assert len(table) == sum(PAIRS.values())


def test_validation_rows(real):
    """Rows for training at every tenth place of the file, the first being one; no others change."""
    plain, table = splits("seen"), splits("seen", validation=True)
    is_validation = (plain.index % 10 == 0) & (plain["split"] == "train")
    assert (table["split"][is_validation] == "val").all()
    pd.testing.assert_frame_equal(table[~is_validation], plain[~is_validation])
    assert table["split"].value_counts().to_dict() == {"train": 3017, "test": 2091, "val": 321}
    assert "val" not in set(splits("sciplex", validation=True)["split"])


def test_sciplex_and_synthetic(real):
    drugs = splits("sciplex")
    assert drugs["cell_line"].tolist() == ["A172"] * 3 + ["T98G"] * 3
    assert set(drugs["split"]) == {"test"}
    table = splits("synthetic")
    assert len(table) == 240
    assert table.groupby("setting").size().tolist() == [5] * 48
    assert set(table["mechanism"]) == {"linear", "polynomial", "sigmoid_add"}
    assert set(table["intervention"]) == {
        "structural_normal", "structural_uniform", "soft_scale", "soft_shift"
    }  # fmt: skip
    assert sorted(set(zip(table["genes"], table["edges"], strict=True))) == [
        (10, 10), (10, 20), (20, 20), (20, 40)
    ]  # fmt: skip
    assert set(table["setting"]) == set(cdn_sc.simulate.scm.scm240_names())


def test_unknown_names(server, cache):
    with pytest.raises(
        MissingNameError, match=r"no published split 'unseen-hepg'. Did you mean 'unseen-hepg2'"
    ):
        splits("unseen-hepg")
    with pytest.raises(MissingNameError, match="no published split 3"):
        splits(3)
    assert server.asked() == []


def test_wrong_file(server, cache):
    server.serve("/raw/sciplex.csv", Answer(b"name,pert\n"))
    with pytest.raises(
        DownloadError, match=r"another checksum.*Download sciplex.csv by hand from https://git"
    ):
        splits("sciplex")


def test_paths_of_another_layout(published, monkeypatch):
    content = b"pert,name,cluster,split,fp_data,label\nE,N,1,test,data/../../x/data_interv-E.npy,1\n"
    monkeypatch.setitem(REGISTRY, "perturbseq.csv", f"sha256:{hashlib.sha256(content).hexdigest()}")
    published.serve("/raw/perturbseq.csv", content)
    with pytest.raises(InputError, match="none of the published layout"):
        splits("seen")
