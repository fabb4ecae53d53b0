"""The command `cdn-sc predict`."""

from types import SimpleNamespace

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import cdn_sc
from cdn_sc import predictors
from cdn_sc.cli import main


def prepare(control, perturbed, **options):
    change = perturbed.mean(0) - control.mean(0)
    return SimpleNamespace(
        logits=np.abs(change), columns={"t_statistic": change.astype(np.float32)}, kinds=None
    )


@pytest.fixture(autouse=True)
def stand_in(monkeypatch):
    fake = SimpleNamespace(
        name="fake",
        version="1",
        sha256="0" * 64,
        min_genes=1,
        max_genes=None,
        max_subsets=None,
        uses_graphs=False,
        takes_kind=True,
        uses_correlations=False,
        takes_relations=False,
        device="cpu",
        prepare=prepare,
        prepare_control=lambda control, contrasts: None,
        launch=lambda prepared: SimpleNamespace(fetch=lambda: prepared),
        batch_size=lambda n_genes, n_subsets: 2,
    )
    monkeypatch.setattr(predictors, "load_predictor", lambda model="default", **_: fake)
    verbosity = cdn_sc.settings.verbosity
    yield
    cdn_sc.settings.verbosity = verbosity


@pytest.fixture
def counts():
    rng = np.random.default_rng(0)
    labels = np.repeat(["control", "A", "B"], [30, 20, 4])
    values = rng.poisson(3, (54, 6)).astype(np.float32)
    values[labels == "A", 2] = 0
    return ad.AnnData(
        sparse.csr_matrix(values),
        obs=pd.DataFrame({"perturbation": pd.Categorical(labels)}, index=[f"c{i}" for i in range(54)]),
        var=pd.DataFrame(index=[f"g{i}" for i in range(6)]),
    )


@pytest.fixture
def source(counts, tmp_path):
    counts.X = counts.X.log1p()
    counts.write_h5ad(tmp_path / "in.h5ad")
    return tmp_path / "in.h5ad"


def run(*arguments):
    main(["predict", *map(str, arguments)])


def fails(capsys, code, *arguments):
    with pytest.raises(SystemExit) as stopped:
        main(list(map(str, arguments)))
    said = capsys.readouterr()
    assert stopped.value.code == code
    assert said.out == ""
    assert said.err.startswith("cdn-sc: ")
    assert said.err.count("\n") == 1
    return said.err


COLUMN = ["--groupby", "perturbation", "--control", "control"]


def test_predict_writes_both_files(source, tmp_path, capsys):
    out, table = tmp_path / "out.h5ad", tmp_path / "targets.csv"
    before = source.read_bytes()
    run(source, *COLUMN, "-o", out, "--table", table, "--groups", "A", "--seed", 5, "--n-genes", 4)
    result = ad.read_h5ad(out).uns["cdn_targets"]
    assert result["params"]["seed"] == 5
    assert list(result["params"]["groups"]) == ["A"]
    written = pd.read_csv(table)
    assert list(written.columns) == ["group", "gene", "rank", "score", "logfoldchange", "t_statistic"]
    assert written["gene"][0] == "g2"
    assert written["t_statistic"][0] < 0
    assert len(written) == 4
    assert source.read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"in.h5ad", "out.h5ad", "targets.csv"}
    assert "predict targets: 100%" in capsys.readouterr().err


def test_share_of_cells_that_must_have_a_gene(counts, tmp_path):
    values = counts.X.toarray()
    values[:, 5] = 0
    values[:3, 5] = [1, 2, 1]  # of 30 control cells
    counts.X = sparse.csr_matrix(np.log1p(values))
    counts.write_h5ad(tmp_path / "rare.h5ad")
    out, table = tmp_path / "out.h5ad", tmp_path / "targets.csv"
    for share, number in (([], 6), (["--min-detection", 0.1], 6), (["--min-detection", 0.11], 5)):
        run(tmp_path / "rare.h5ad", *COLUMN, "-o", out, "--table", table, "--groups", "A", *share)
        assert len(pd.read_csv(table)) == number
        params = ad.read_h5ad(out).uns["cdn_targets"]["params"]
        assert params["min_detection"] == (share[1] if share else 0.01)
        assert params["n_genes"] == -1
        for path in (out, table):
            path.unlink()


@pytest.mark.filterwarnings("default")
def test_skipped_groups_are_told_in_one_line(source, tmp_path, capsys):
    run(source, *COLUMN, "--table", tmp_path / "targets.tsv.gz", "--quiet")
    assert pd.read_csv(tmp_path / "targets.tsv.gz", sep="\t")["gene"][0] == "g2"
    said = capsys.readouterr().err
    assert said.startswith("cdn-sc: warning: 1 of 2 groups could not be scored: 'B'")
    assert said.count("\n") == 1


@pytest.mark.parametrize("layer", [[], ["--layer", "counts"]])
def test_normalise_leaves_the_counts(counts, tmp_path, layer):
    if layer:
        counts.layers["counts"] = counts.X.copy()
        counts.X = None
    counts.write_h5ad(tmp_path / "counts.h5ad")
    run(
        tmp_path / "counts.h5ad", *COLUMN, "-o", tmp_path / "out.h5ad", "--groups", "A", "--normalise", *layer
    )
    written = ad.read_h5ad(tmp_path / "out.h5ad")
    assert set(written.layers) == set(counts.layers)
    kept = written.layers["counts"] if layer else written.X
    assert kept.max() == np.round(kept.max()) > 5
    assert set(written.uns) == {"cdn_targets"}
    params = written.uns["cdn_targets"]["params"]
    assert params["layer"] == ("counts" if layer else "")
    assert params["normalised"]


def test_normalise_without_values(counts, tmp_path, capsys):
    counts.layers["counts"] = counts.X.copy()
    counts.X = None
    counts.write_h5ad(tmp_path / "counts.h5ad")
    said = fails(
        capsys, 1, "predict", tmp_path / "counts.h5ad", *COLUMN, "-o", tmp_path / "out.h5ad", "--normalise"
    )
    assert "name a --layer with the counts" in said


def test_counts_are_refused_in_one_line(counts, tmp_path, capsys):
    counts.write_h5ad(tmp_path / "counts.h5ad")
    said = fails(capsys, 1, "predict", tmp_path / "counts.h5ad", *COLUMN, "-o", tmp_path / "out.h5ad")
    assert "look like counts" in said
    assert "--normalise" in said
    assert "allow_counts" not in said
    assert not (tmp_path / "out.h5ad").exists()


def test_bad_input_is_one_line(source, tmp_path, capsys):
    out = ["-o", tmp_path / "out.h5ad"]
    start = ["predict", source]
    assert "Did you mean 'perturbation'" in fails(
        capsys, 1, *start, "--groupby", "perturb", "--control", "control", *out
    )
    assert "no control 'ctrl'" in fails(
        capsys, 1, *start, "--groupby", "perturbation", "--control", "ctrl", *out
    )
    assert "no group 'Z'" in fails(capsys, 1, *start, *COLUMN, *out, "--groups", "Z")
    assert "nowhere to write" in fails(capsys, 1, *start, *COLUMN)
    assert "no file" in fails(capsys, 1, "predict", tmp_path / "none.h5ad", *COLUMN, *out)
    assert "never overwritten" in fails(capsys, 1, *start, *COLUMN, "-o", source)
    assert ".h5ad" in fails(capsys, 1, *start, *COLUMN, "-o", tmp_path / "out.zip")
    assert "no folder" in fails(capsys, 1, *start, *COLUMN, "-o", tmp_path / "nowhere" / "out.h5ad")
    assert "--groupby" in fails(capsys, 2, *start, "--control", "control", *out)
    assert "--n-genes" in fails(capsys, 2, *start, *COLUMN, *out, "--n-genes", "many")
    assert "--min-detection is a share" in fails(capsys, 1, *start, *COLUMN, *out, "--min-detection", 2)
    assert "'xpu' is no device" in fails(capsys, 1, *start, *COLUMN, *out, "--device", "xpu")
    assert "predikt" in fails(capsys, 2, "predikt")
    (tmp_path / "text.h5ad").write_text("not an h5ad file")
    assert "cannot read" in fails(capsys, 1, "predict", tmp_path / "text.h5ad", *COLUMN, *out)
    assert not (tmp_path / "out.h5ad").exists()


@pytest.mark.parametrize("option", [["--table", "t.csv"], ["-o", "x.h5ad"]])
def test_folder_that_cannot_be_written_is_noticed_first(source, tmp_path, monkeypatch, capsys, option):
    def read_only(dir):
        raise PermissionError(13, f"Permission denied: {dir}")

    monkeypatch.setattr("cdn_sc._files.tempfile.TemporaryFile", read_only)
    monkeypatch.setattr(ad, "read_h5ad", lambda *_: pytest.fail("work was done"))
    name, file = option
    said = fails(capsys, 1, "predict", source, *COLUMN, name, tmp_path / file)
    assert f"cannot write into the folder '{tmp_path}': Permission denied" in said


def test_no_half_file_is_left(source, tmp_path, monkeypatch, capsys):
    (tmp_path / "out.h5ad").write_text("from before")

    def breaks(file, key, value):
        file["half"] = 1
        raise OSError("disk full")

    monkeypatch.setattr(ad.io, "write_elem", breaks)
    fails(capsys, 1, "predict", source, *COLUMN, "-o", tmp_path / "out.h5ad", "--groups", "A", "--quiet")
    assert (tmp_path / "out.h5ad").read_text() == "from before"
    assert {path.name for path in tmp_path.iterdir()} == {"in.h5ad", "out.h5ad"}


def test_help_and_version(capsys):
    main(["--help"])
    assert "predict" in capsys.readouterr().out
    main([])
    assert "predict" in capsys.readouterr().out
    main(["--version"])
    assert capsys.readouterr().out.strip() == cdn_sc.__version__
