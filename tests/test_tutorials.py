"""The tutorials run as they stand, and are kept with the outputs that the documentation shows."""

import json
from pathlib import Path

import pytest

import cdn_sc

NOTEBOOKS = sorted((Path(__file__).resolve().parents[1] / "tutorials").glob("*.ipynb"))


def code_cells(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


@pytest.fixture(autouse=True)
def keep_state(tmp_path, monkeypatch):
    import matplotlib as mpl
    from matplotlib import pyplot as plt

    monkeypatch.chdir(tmp_path)
    plt.switch_backend("Agg")
    # Agg cannot show a figure, and says so in a warning
    monkeypatch.setattr(plt, "show", lambda: None)
    verbosity = cdn_sc.settings.verbosity
    with mpl.rc_context():
        yield
    plt.close("all")
    cdn_sc.settings.verbosity = verbosity


def check_quickstart(namespace, folder):
    assert len(namespace["metrics"]) == 8
    assert namespace["metrics"]["reciprocal_rank"].mean() > 0.5
    assert {file.name for file in folder.iterdir()} == {"screen.h5ad", "targets.csv"}


# What each tutorial leaves behind.
CHECKS = {"quickstart": check_quickstart}


def test_there_are_tutorials():
    assert {path.stem for path in NOTEBOOKS} == set(CHECKS)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_code_runs(path, tmp_path):
    namespace = {}
    for number, cell in enumerate(code_cells(path)):
        exec(compile("".join(cell["source"]), f"{path.name}, cell {number}", "exec"), namespace)
    CHECKS[path.stem](namespace, tmp_path)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_are_kept(path):
    cells = code_cells(path)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    # neither errors nor warnings, which would name folders of the machine
    assert {output["output_type"] for output in outputs} <= {"execute_result", "display_data"}
    assert path.stat().st_size < 300_000
