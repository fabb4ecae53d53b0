"""The command `cdn-sc demo`, with the bundled weights."""

import anndata as ad
import pytest

import cdn_sc
from cdn_sc.cli import main


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("demo") / "new" / "folder"


@pytest.fixture(scope="module")
def said(folder):
    from contextlib import redirect_stdout
    from io import StringIO

    with redirect_stdout(StringIO()) as out:
        main(["demo", "--output", str(folder), "--device", "cpu"])
    return out.getvalue()


def test_the_table_names_truth_and_prediction(said):
    lines = said.splitlines()
    header = next(line for line in lines if "true target" in line)
    for column in ("group", "kind", "predicted top 3", "rank", "rank by Wilcoxon"):
        assert column in header
    rows = [line.split() for line in lines if "(" in line and ")" in line]
    assert len(rows) == 8
    for target, bracketed, kind, named, *top, rank, by_test in rows:
        assert target == named
        assert bracketed == f"({kind})"
        assert (target in " ".join(top)) == (int(rank) <= 3)
        assert 1 <= int(by_test) <= 200
    assert "ranked first in" in said


def test_files(said, folder):
    assert sorted(path.name for path in folder.iterdir()) == ["demo.h5ad", "predicted_targets.png"]
    adata = ad.read_h5ad(folder / "demo.h5ad")
    assert adata.uns["cdn_targets"]["params"]["model"] == "gene-transformer"
    assert len(adata.uns["targets"]) == 8
    for group in adata.uns["targets"]:
        table = cdn_sc.get.predicted_targets_df(adata, group, n_genes=3)
        (row,) = [line for line in said.splitlines() if group in line]
        assert ", ".join(table["gene"]) in row
    assert (adata.layers["counts"] != adata.X).nnz > 0
    picture = (folder / "predicted_targets.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 20_000


def test_output_that_is_a_file(tmp_path, capsys):
    (tmp_path / "taken").write_text("")
    with pytest.raises(SystemExit) as stopped:
        main(["demo", "--output", str(tmp_path / "taken")])
    assert stopped.value.code == 1
    assert "is a file; the results need a folder" in capsys.readouterr().err


def test_output_that_cannot_be_written_is_noticed_first(tmp_path, monkeypatch, capsys):
    def read_only(dir):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("cdn_sc._files.tempfile.TemporaryFile", read_only)
    monkeypatch.setattr(cdn_sc.datasets, "simulated_screen", lambda: pytest.fail("work was done"))
    with pytest.raises(SystemExit) as stopped:
        main(["demo", "--output", str(tmp_path)])
    assert stopped.value.code == 1
    assert "Read-only file system" in capsys.readouterr().err
