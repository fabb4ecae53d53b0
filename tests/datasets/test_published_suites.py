"""The published tables, with the command, on an imitation of the archive."""

import json

import pandas as pd
import pytest
from imitation_archive import DRUGS, LINES, PAIRS_OF_A_LINE, SETTINGS

import cdn_sc
from cdn_sc.cli import main
from cdn_sc.datasets._figshare import DATA_ARTICLE
from cdn_sc.metrics import RIVALS, available_suites, suite
from cdn_sc.metrics.suites import suite_size


@pytest.fixture(autouse=True)
def verbosity(monkeypatch):
    monkeypatch.setattr(cdn_sc.settings, "verbosity", "info")


def run(*arguments):
    main(["evaluate", "--n-bootstrap", "20", *map(str, arguments)])


def test_perturbseq_with_a_bundled_model(published, tmp_path, capsys):
    options = ["--suite", "perturbseq", "--cell-line", "k562_gw", "--model", "gene-transformer"]
    run(*options, "-o", tmp_path / "whole")
    said = capsys.readouterr()
    assert "3/3" in said.err, "the progress bar knows how many pairs there are"
    per_group = pd.read_csv(tmp_path / "whole" / "per_group.csv", keep_default_na=False)
    assert set(per_group["method"]) >= {"gene-transformer", *RIVALS}
    assert set(per_group["cell_line"]) == {"k562_gw"}
    assert set(per_group["split"]) == {"test"}
    assert per_group["pair"].nunique() == 3
    summary = pd.read_csv(tmp_path / "whole" / "summary.csv")
    assert {"all", "trivial"} <= set(summary["stratum"]) or "not trivial" in set(summary["stratum"])
    assert {"mean", "low", "high"} <= set(summary.columns)
    assert "## by cell_line" in said.out
    settings = json.loads((tmp_path / "whole" / "settings.json").read_text())
    assert settings["options"] == {"cell_line": ["k562_gw"]}
    # stopped after two, and gone on
    run(*options, "-q", "--limit", 2, "-o", tmp_path / "parts")
    run(*options, "-q", "-o", tmp_path / "parts")
    whole, parts = (
        pd.read_csv(tmp_path / name / "per_group.csv").drop(columns="seconds") for name in ("whole", "parts")
    )
    pd.testing.assert_frame_equal(whole, parts)


def test_an_unseen_cell_line_and_both_strata(published, tmp_path, capsys):
    options = ["--suite", "perturbseq", "--held-out", "k562", "--rivals-only", "-q"]
    run(*options, "-o", tmp_path)
    per_group = pd.read_csv(tmp_path / "per_group.csv", keep_default_na=False)
    assert set(per_group["cell_line"]) == {"k562_gw", "k562_essential"}
    assert per_group["pair"].nunique() == 2 * PAIRS_OF_A_LINE
    said = capsys.readouterr().out
    assert {"## all", "## trivial", "## not trivial"} <= set(said.splitlines())


def test_sciplex(published, tmp_path, capsys):
    run("--suite", "sciplex", "--rivals-only", "-q", "--tell-kind", "-o", tmp_path)
    per_group = pd.read_csv(tmp_path / "per_group.csv")
    assert set(per_group["kind"]) == {"activity"}
    assert per_group["pair"].nunique() == sum(map(len, DRUGS.values()))
    assert "| A172 |" in capsys.readouterr().out


def test_synthetic(published, archive, tmp_path, capsys):
    published.add_file(DATA_ARTICLE, 9, "synthetic.zip", archive.packed("zip"))
    options = ["--suite", "synthetic", "--setting", SETTINGS[0], "--n-datasets", 1]
    run(*options, "--model", "cdn-scm", "--limit", 3, "-q", "-o", tmp_path)
    per_group = pd.read_csv(tmp_path / "per_group.csv")
    assert set(per_group["method"]) >= {"cdn-scm", *RIVALS}
    assert per_group["pair"].nunique() == 3
    assert "| linear | soft_shift |" in capsys.readouterr().out


def test_suites(published, archive):
    assert {"perturbseq", "sciplex", "synthetic"} <= set(available_suites())
    for options in ({}, {"split": "val"}, {"split": "train"}, {"held_out": "rpe1", "cell_line": "rpe1"}):
        pairs = list(suite("perturbseq", **options, folder=archive.folder))
        assert suite_size("perturbseq", **options) == len(pairs)
        assert {pair.attributes["split"] for pair in pairs} == {options.get("split", "test")}
    assert suite_size("sciplex") == 3
    assert len(list(suite("synthetic", folder=archive.folder))) == 40
    assert suite_size("synthetic") is None
    assert len(LINES) * PAIRS_OF_A_LINE == 55


def test_wrong_options_are_one_line(published, tmp_path, fails_in_one_line):
    def fails(*arguments):
        return fails_in_one_line(run, 1, "-q", "--rivals-only", *arguments, "-o", tmp_path / "out")

    assert "no cell line 'k526'" in fails("--suite", "perturbseq", "--cell-line", "k526")
    assert "no option setting" in fails("--suite", "perturbseq", "--setting", "a")
    assert "no option --cell-line" in fails("--suite", "scm240", "--cell-line", "rpe1")
    assert "no setting 'a'" in fails("--suite", "synthetic", "--setting", "a")
    assert "no split holds out 'k'" in fails("--suite", "perturbseq", "--held-out", "k")
