"""Published pairs, from an imitation of the archive: AnnData and Pair, read when they are looked at."""

import shutil
import weakref

import anndata
import numpy as np
import pytest
from imitation_archive import DRUGS, LINES, PAIRS_OF_A_LINE, ROWS_OF_A_DATA_SET, SETTINGS
from imitation_server import Answer

import cdn_sc
from cdn_sc import metrics
from cdn_sc.datasets import _store, perturbseq, sciplex, synthetic
from cdn_sc.datasets._figshare import DATA_ARTICLE, DATA_FILE
from cdn_sc.errors import ArchiveError, DownloadError, InputError, MissingNameError
from cdn_sc.simulate.pair import Pair


def unpacked(cache):
    return sorted(str(path.relative_to(cache)) for path in (cache / "data").rglob("*.*"))


# --- Perturb-seq -----------------------------------------------------------------------------------------


def test_a_pair(published, cache, archive):
    pairs = perturbseq(cell_line="rpe1", split="train")
    row = pairs.table.iloc[1]
    adata = pairs[1]
    control, perturbed = (np.load(archive.folder / row[column]) for column in ("fp_control", "fp_data"))
    assert adata.shape == (len(control) + len(perturbed), 24)
    assert adata.X.dtype == np.float32
    condition = adata.obs["condition"]
    assert list(condition.cat.categories) == ["control", "perturbed"]
    np.testing.assert_array_equal(adata[condition == "control"].X, control.astype(np.float32))
    np.testing.assert_array_equal(adata[condition == "perturbed"].X, perturbed.astype(np.float32))
    assert adata.var["is_target"].dtype == bool
    assert np.flatnonzero(adata.var["is_target"]).tolist() == [row["label"]]
    assert adata.var_names[row["label"]] == row["pert"]
    assert adata.var_names.is_unique
    assert adata.obs_names.is_unique
    assert adata.uns == {
        "perturbation": row["name"],
        "gene": row["pert"],
        "cluster": row["cluster"],
        "split": "train",
        "cell_line": "rpe1",
        "kind": "knockdown",
        "data_set": "perturbseq",
    }


def test_only_the_pair_that_is_looked_at_is_unpacked(published, cache):
    pairs = perturbseq(cell_line="k562_gw")
    assert not (cache / "data").exists()
    assert not published.asked("/v2")
    _ = pairs[2]
    gene = pairs.table["pert"][2]
    folder = "data/single_cell/k562_gw"
    assert unpacked(cache) == [f"{folder}/data-{gene}.npy", f"{folder}/data_interv-{gene}.npy"]
    list(pairs)
    assert len(unpacked(cache)) == 2 * PAIRS_OF_A_LINE
    assert len(published.asked(f"/files/{DATA_FILE}")) == 1


def test_all_pairs_as_a_sequence(published):
    pairs = perturbseq()
    assert len(pairs) == len(LINES) * PAIRS_OF_A_LINE
    names = [adata.uns["perturbation"] for adata in pairs]
    assert names == pairs.table["name"].tolist()
    assert "NA" in names
    assert [adata.uns["gene"] for adata in pairs[-2:]] == pairs.table["pert"].tolist()[-2:]
    assert pairs[-1].uns == pairs[len(pairs) - 1].uns
    assert len(pairs[3:9:2]) == 3
    with pytest.raises(IndexError, match="no pair 55: there are 55"):
        _ = pairs[55]


def test_selections(published):
    assert set(perturbseq(cell_line="k562").table["cell_line"]) == {"k562_gw", "k562_essential"}
    assert set(perturbseq(cell_line=["rpe1", "jurkat"]).table["cell_line"]) == {"rpe1", "jurkat"}
    assert set(perturbseq(split="test", held_out="k562").table["cell_line"]) == {"k562_gw", "k562_essential"}
    table = perturbseq(split="val", validation=True).table
    train = perturbseq(split="train", validation=True).table
    assert 0 < len(table) < len(train)
    assert not set(table["fp_data"]) & set(train["fp_data"])


def test_wrong_selections(published):
    with pytest.raises(MissingNameError, match=r"no cell line 'k526'. Did you mean 'k562'"):
        perturbseq(cell_line="k526")
    with pytest.raises(MissingNameError, match="no split 'testing'"):
        perturbseq(split="testing")
    with pytest.raises(MissingNameError, match=r"no split holds out 'k562_gw'. Did you mean 'k562'"):
        perturbseq(held_out="k562_gw")
    with pytest.raises(InputError, match="'val' needs validation=True"):
        perturbseq(split="val")
    with pytest.raises(InputError, match="no pair has split='train' and cell_line="):
        perturbseq(cell_line="rpe1", held_out="rpe1", split="train")
    with pytest.raises(MissingNameError, match="no cell line 'k562'"):
        sciplex(cell_line="k562")
    with pytest.raises(InputError, match="is no folder"):
        perturbseq(folder="/nowhere")


def test_what_it_shows(published):
    pairs = perturbseq(cell_line="rpe1")
    n_test = int((pairs.table["split"] == "test").sum())
    assert repr(pairs[1:]).splitlines()[:2] == [
        "perturbseq: 10 pairs of control and perturbed cells, each an AnnData",
        "    cell_line: rpe1 10",
    ]
    assert f"train {11 - n_test}" in repr(pairs)
    assert f"test {n_test}" in repr(pairs)
    assert repr(perturbseq().as_pairs()).endswith("as cdn_sc.simulate.Pair")
    assert repr(synthetic()).startswith("synthetic: pairs of observational and interventional rows")
    assert not published.asked("/v2")


def test_scores_and_files(published, tmp_path):
    """What a user does with a pair: predict, and save."""
    adata = perturbseq(cell_line="hepg2")[0]
    cdn_sc.tl.predict_targets(adata, "condition", "control", progress=False)
    assert adata.uns["gene"] in set(cdn_sc.get.predicted_targets_df(adata)["gene"])
    adata.write_h5ad(tmp_path / "a.h5ad")
    again = anndata.read_h5ad(tmp_path / "a.h5ad")
    assert {key: again.uns[key] for key in ("gene", "cluster", "split")} == {
        key: adata.uns[key] for key in ("gene", "cluster", "split")
    }


# --- as plain pairs --------------------------------------------------------------------------------------


def test_as_pairs(published, archive):
    view = perturbseq(cell_line="jurkat").as_pairs()
    row = perturbseq(cell_line="jurkat").table.iloc[3]
    pair = view[3]
    assert isinstance(pair, Pair)
    assert pair.control.dtype == pair.perturbed.dtype == np.float32
    assert pair.control.flags.c_contiguous
    np.testing.assert_allclose(pair.perturbed, np.load(archive.folder / row["fp_data"]), rtol=1e-6)
    assert pair.targets.tolist() == [row["label"]]
    assert pair.attributes == {
        "group": row["name"], "gene": row["pert"], "name": row["name"], "cell_line": "jurkat",
        "split": row["split"], "cluster": row["cluster"], "kind": "knockdown",
    }  # fmt: skip
    assert [one.attributes["gene"] for one in view[1:3]] == [
        view[1].attributes["gene"],
        view[2].attributes["gene"],
    ]
    assert view[-1].attributes == view[len(view) - 1].attributes
    assert len(list(view)) == len(view) == PAIRS_OF_A_LINE
    with pytest.raises(IndexError):
        _ = view[PAIRS_OF_A_LINE]


def test_control_cells_are_shared_where_they_are_the_same(published, cache):
    pairs = perturbseq(cell_line="rpe1", folder=None)
    list(pairs)  # unpack
    folder = cache / "data" / "single_cell" / "rpe1"
    first, second, third = (folder / f"data-{gene}.npy" for gene in pairs.table["pert"][:3])
    second.write_bytes(first.read_bytes())  # the same values in another file
    third.unlink()
    third.hardlink_to(first)  # the same file
    a, b, c, d = list(pairs.as_pairs())[:4]
    assert a.control is b.control is c.control
    assert d.control is not c.control


def test_few_pairs_are_held(published):
    pairs = perturbseq().as_pairs()
    perturbed, control = [], []
    for pair in pairs:
        perturbed.append(weakref.ref(pair.perturbed))
        control.append(weakref.ref(pair.control))
        del pair
        assert sum(reference() is not None for reference in perturbed) == 0
        # the last is kept for a next pair that may share it
        assert sum(reference() is not None for reference in control) <= 1
    assert len(perturbed) == 55


# --- Sci-Plex --------------------------------------------------------------------------------------------


def test_sciplex(published):
    pairs = sciplex()
    assert [adata.uns["perturbation"] for adata in pairs] == [
        name for names in DRUGS.values() for name in names
    ]
    adata = sciplex(cell_line="T98G")[0]
    assert adata.uns["cell_line"] == "T98G"
    assert adata.uns["cluster"] == -1
    assert adata.uns["kind"] == "activity"
    assert adata.var_names[adata.var["is_target"]].tolist() == [adata.uns["gene"]]
    # one drug in two cell lines is two pairs
    other = [pair for pair in sciplex() if pair.uns["perturbation"] == "Palbociclib"]
    assert len(other) == 2
    assert not np.array_equal(other[0].X, other[1].X)


# --- synthetic -------------------------------------------------------------------------------------------


@pytest.fixture
def with_synthetic(published, archive):
    published.add_file(DATA_ARTICLE, 9, "synthetic.tar.gz", archive.packed("tar:gz"))
    return published


def test_synthetic(with_synthetic, archive):
    pairs = synthetic()
    table = pairs.table
    # without being counted, and after
    names = [adata.uns["perturbation"] for adata in pairs]
    assert len(pairs) == len(names) == 2 * 10 * len(SETTINGS)
    assert [adata.uns["perturbation"] for adata in pairs] == names
    assert repr(pairs).startswith("synthetic: 40 pairs")
    values = np.load(archive.folder / table["fp_data"][0])
    lines = (archive.folder / table["fp_regime"][0]).read_text().split("\n")[:-1]
    assert len(lines) == len(values) == ROWS_OF_A_DATA_SET
    adata = pairs[4]
    control = adata[adata.obs["condition"] == "control"].X
    np.testing.assert_array_equal(control, values[[line == "" for line in lines]].astype(np.float32))
    targets = np.flatnonzero(adata.var["is_target"]).tolist()
    chosen = [line != "" and sorted(map(int, line.split(","))) == targets for line in lines]
    perturbed = adata[adata.obs["condition"] == "perturbed"].X
    np.testing.assert_array_equal(perturbed, values[chosen].astype(np.float32))
    assert adata.uns["perturbation"] == ",".join(f"gene_{target}" for target in targets)
    assert (adata.uns["setting"], adata.uns["mechanism"], adata.uns["dataset"]) == (SETTINGS[0], "linear", 1)
    np.testing.assert_array_equal(adata.varp["graph"], np.load(archive.folder / table["fp_graph"][0]) != 0)
    assert adata.varp["graph"].dtype == bool


def test_synthetic_as_pairs(with_synthetic):
    view = synthetic(setting=SETTINGS[1], n_datasets=1).as_pairs()
    pairs = list(view)
    assert len(pairs) == len(view) == 10
    assert {pair.attributes["intervention"] for pair in pairs} == {"structural_normal"}
    assert [pair.attributes["regime"] for pair in pairs] == list(range(1, 11))
    assert {pair.attributes["genes"] for pair in pairs} == {10}
    assert all(pair.control is pairs[0].control and pair.graph is not None for pair in pairs)
    assert all(1 <= len(pair.targets) <= 3 for pair in pairs)
    assert [pair.attributes["group"] for pair in view[2:4]] == [
        pair.attributes["group"] for pair in pairs[2:4]
    ]
    assert len(synthetic(n_datasets=1)) == 20
    with pytest.raises(MissingNameError, match=r"no setting 'p10_e10_n30000_linear_soft_shit'. Did you mean"):
        synthetic(setting="p10_e10_n30000_linear_soft_shit")
    with pytest.raises(InputError, match="n_datasets=0"):
        synthetic(n_datasets=0)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("intervention1.csv", "0\n" * 220, "no observational rows"),
        ("intervention1.csv", "\n" * 100 + "0\n" * 100, "has 200 lines and .* 220 rows"),
        ("intervention1.csv", "\n" * 100 + "12\n" * 120, "names variables that .* does not have"),
        ("intervention1.csv", "\n" * 100 + "-1\n" * 120, "negative numbers"),
        ("intervention1.csv", "\n" * 100 + "a\n" * 120, "something else than numbers"),
    ],
)
def test_damaged_synthetic_files(with_synthetic, cache, name, change, message):
    pairs = synthetic(setting=SETTINGS[0], n_datasets=1).as_pairs()
    _ = pairs[0]
    (cache / "data" / "synthetic" / SETTINGS[0] / name).write_text(change)
    with pytest.raises(InputError, match=message):
        list(synthetic(setting=SETTINGS[0], n_datasets=1).as_pairs())


def test_graph_of_another_size(with_synthetic, cache):
    _ = synthetic(setting=SETTINGS[0])[0]
    np.save(cache / "data" / "synthetic" / SETTINGS[0] / "DAG1.npy", np.zeros((3, 3)))
    with pytest.raises(InputError, match=r"DAG1.npy is \(3, 3\), and the data has 10 variables"):
        next(iter(synthetic(setting=SETTINGS[0])))


def test_synthetic_that_the_archive_does_not_have(with_splits, cache, archive):
    with_splits.add_file(DATA_ARTICLE, DATA_FILE, "single_cell.zip", archive.packed("zip"))
    pairs = synthetic()
    with pytest.raises(
        DownloadError, match=r"not in the published archive \(no archive\).*unpack it so that"
    ):
        len(pairs)


# --- where the archive is --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["zip", "tar:", "tar:gz", "tar:bz2"])
@pytest.mark.parametrize("top", ["", "single_cell/", "./data/"])
def test_archives_of_any_kind(with_splits, cache, archive, kind, top):
    top = top if top != "single_cell/" else ""
    with_splits.add_file(DATA_ARTICLE, DATA_FILE, "archive", archive.packed(kind, top=top))
    pairs = perturbseq(cell_line="rpe1", split="test")
    genes = [adata.uns["gene"] for adata in pairs]
    assert genes == pairs.table["pert"].tolist()
    assert len(unpacked(cache)) == 2 * len(pairs)
    assert len(with_splits.asked(f"/files/{DATA_FILE}")) == 1


def test_archive_put_there_by_hand(with_splits, cache, archive):
    folder = cache / "figshare" / str(DATA_ARTICLE)
    folder.mkdir(parents=True)
    (folder / "whatever it is called").write_bytes(archive.packed("tar:gz"))
    assert perturbseq(cell_line="rpe1")[0].n_vars == 24
    assert synthetic()[0].n_vars == 10
    assert {path.split("/")[1] for path in with_splits.asked()} == {"raw"}


def test_archive_unpacked_by_hand(with_splits, cache, archive):
    shutil.copytree(archive.folder / "data", cache / "data")
    assert sciplex()[0].n_vars == 24
    assert {path.split("/")[1] for path in with_splits.asked()} == {"raw"}


@pytest.mark.parametrize("inside", ["", "data"])
def test_another_folder(with_splits, cache, archive, inside):
    pairs = perturbseq(cell_line="rpe1", folder=archive.folder / inside)
    assert pairs[0].n_vars == pairs[1:][0].n_vars == 24
    assert sciplex(folder=archive.folder / inside)[0].n_vars == 24
    assert len(synthetic(folder=archive.folder / inside)[3:]) == 37
    with pytest.raises(InputError, match=r"no data/single_cell/.* in folder=.*29215766"):
        _ = perturbseq(folder=archive.folder / "data" / "synthetic")[0]
    assert {path.split("/")[1] for path in with_splits.asked()} == {"raw"}


def test_no_archive_to_be_had(published, cache):
    published.serve(f"/v2/articles/{DATA_ARTICLE}", Answer(b"", 403))
    pairs = perturbseq(cell_line="rpe1")
    with pytest.raises(DownloadError, match=r"could not ask figshare.*403") as caught:
        _ = pairs[0]
    for word in (
        f"10.6084/m9.figshare.{DATA_ARTICLE}",
        str(cache / "figshare" / str(DATA_ARTICLE)),
        pairs.table["fp_control"][0],
    ):
        assert word in str(caught.value)


def test_archive_without_the_file(with_splits, cache, archive):
    with_splits.add_file(
        DATA_ARTICLE, DATA_FILE, "a.zip", archive.packed("zip", top="elsewhere/").replace(b"rpe1", b"rpe2")
    )
    with pytest.raises(
        DownloadError, match=r"rpe1/data-.* is not in the published archive \(a.zip\).*by hand"
    ):
        _ = perturbseq(cell_line="rpe1")[0]


def test_file_that_is_no_archive(with_splits, cache, archive):
    with_splits.add_file(DATA_ARTICLE, DATA_FILE, "a.zip", b"no archive at all")
    with pytest.raises(ArchiveError, match="no tar or zip archive"):
        _ = perturbseq(cell_line="rpe1")[0]


def test_folder_that_cannot_be_written(published, cache, monkeypatch):
    pairs = perturbseq(cell_line="rpe1")
    _ = pairs[0]

    def refuse(*_, **__):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(_store, "unpack", refuse)
    with pytest.raises(
        DownloadError, match=r"cannot unpack .*Read-only file system.*CDN_SC_DATASETDIR.*by hand"
    ):
        _ = pairs[1]
    assert pairs[0].n_vars == 24


# --- damaged arrays --------------------------------------------------------------------------------------


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def pickled(path):
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)


def flat(path):
    np.save(path, np.zeros(3))


def text(path):
    np.save(path, np.full((3, 24), "a"))


def not_finite(path):
    values = np.load(path)
    values[1, 2] = np.nan
    np.save(path, values)


def other_genes(path):
    np.save(path, np.load(path)[:, :20])


def few_genes(path):
    for file in (path, path.with_name(path.name.replace("data_interv", "data"))):
        np.save(file, np.load(file)[:, :1])


def announcing(shape, description="'<f8'"):
    """A file whose header says what no file holds."""

    def damage(path):
        header = f"{{'descr': {description}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
        path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(4096))

    damage.__name__ = f"announcing {shape[:40]} {description}"
    return damage


def archive_of_arrays(path):
    with path.open("wb") as file:
        np.savez(file, np.zeros((3, 24)))


def beyond_float32(path):
    np.save(path, np.full((3, 24), 1e300))


BROKEN = {
    announcing("(10**12, 24)"): "damaged or no array",
    announcing("(1000000000000, 24)"): "damaged or no array",
    announcing("(4611686018427387904, 4)"): "damaged or no array",
    announcing("(100000000000000000000000, 4)"): "damaged or no array",
    announcing("(-3, -4)"): "damaged or no array|not cells x genes",
    announcing("(1000000000000000000, 0)"): "damaged or no array|not cells x genes",
    announcing("(0, 24)"): "damaged or no array|not cells x genes",
    announcing("(" * 5000 + ")" * 5000): "damaged or no array",
    announcing("(3, 24)", "[('a', '<f4', (1000000,))]"): "damaged or no array|not cells x genes",
    announcing("(3, 24)", "'|O'"): "damaged or no array",
    archive_of_arrays: "damaged or no array",
    beyond_float32: "NaN or infinity",
    cut: "damaged or no array",
    pickled: "damaged or no array",
    flat: r"holds \(3,\)",
    text: "of <U1 type",
    not_finite: "NaN or infinity",
    other_genes: "has 24 genes and .* 20; the cells of a pair have the same",
    few_genes: "has 1 genes, but its target is number",
}


@pytest.mark.parametrize(("damage", "message"), BROKEN.items(), ids=[damage.__name__ for damage in BROKEN])
def test_damaged_arrays(published, cache, damage, message):
    pairs = perturbseq(cell_line="rpe1")
    number = int(np.argmax(pairs.table["label"] > 0))
    _ = pairs[number]
    damage(cache / pairs.table["fp_data"][number])
    with pytest.raises(InputError, match=message):
        _ = perturbseq(cell_line="rpe1")[number]


# --- evaluation ------------------------------------------------------------------------------------------


def test_pairs_can_be_evaluated(published):
    result = metrics.evaluate(sciplex().as_pairs(), progress=False, n_bootstrap=10, by="cell_line")
    assert set(result.per_group["cell_line"]) == {"A172", "T98G"}
    assert result.per_group["pair"].nunique() == 3
