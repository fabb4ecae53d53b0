"""The tutorials run as they stand, and are kept with the outputs that the documentation shows."""

import json
import os
import subprocess
import sys
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


def names_in(folder):
    return {file.name for file in folder.iterdir()}


def check_quickstart(namespace, folder):
    assert len(namespace["metrics"]) == 8
    assert namespace["metrics"]["reciprocal_rank"].mean() > 0.5
    assert names_in(folder) == {"screen.h5ad", "targets.csv"}


def check_perturbseq(namespace, folder):
    table = namespace["table"]
    assert table["group"].nunique() == 12
    assert set(namespace["known"]) < set(table["gene"])
    assert namespace["scored"]["cdn-sc"]["reciprocal_rank"].mean() > 0.5
    assert len(namespace["ranks"]) == 4
    assert names_in(folder) == set()


def check_sciplex(namespace, folder):
    # four drugs at three doses, and vehicle cells under another label
    assert namespace["table"]["group"].nunique() == 13
    doses = namespace["compared"].groupby([label.split()[1] for label in namespace["compared"].index])
    means = doses["cdn-sc"].mean()
    assert means["1000"] > means["10"]
    assert names_in(folder) == set()


def check_evaluation(namespace, folder):
    assert namespace["result"].per_group["method"].nunique() == 11
    assert namespace["result"].per_group["pair"].nunique() == 24
    assert names_in(folder / "results" / "mine") >= {"summary.md", "summary_by.csv", "settings.json"}


def check_fine_tuning(namespace, folder):
    assert len(namespace["after"]) == len(namespace["unknown"]) == 12
    training = namespace["training"]
    assert not set(training["groups"]) & set(namespace["unknown"])
    assert training["best_auroc"] == max(training["validations"]["validation_auroc"])
    assert namespace["params"]["model"] == "my-screen"
    assert names_in(folder) == {"my-screen.safetensors"}


def check_large_screens(namespace, folder):
    assert namespace["table"]["group"].nunique() == 80
    assert namespace["largest_difference"] < 1e-4
    assert namespace["backed"].isbacked
    assert names_in(folder) >= {"targets.csv.gz", "result.h5ad", "shard0.csv", "shard1.csv"}


def check_published_weights(namespace, folder):
    assert len(namespace["table"].columns) == 3
    assert "refused" in namespace["refused"]
    assert names_in(folder) == {"my_copy.safetensors", "from_a_stranger.ckpt"}


# What each tutorial leaves behind.
CHECKS = {
    "quickstart": check_quickstart,
    "perturbseq": check_perturbseq,
    "sciplex": check_sciplex,
    "evaluation": check_evaluation,
    "fine_tuning": check_fine_tuning,
    "large_screens": check_large_screens,
    "published_weights": check_published_weights,
}


def run_in_shell(commands):
    """Run a cell that begins with %%bash, with the command `cdn-sc` of this environment."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(["bash", "-e", "-c", commands], check=True, env=os.environ | {"PATH": path})


def test_there_are_tutorials():
    assert {path.stem for path in NOTEBOOKS} == set(CHECKS)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_code_runs(path, tmp_path):
    namespace = {}
    for number, cell in enumerate(code_cells(path)):
        source = "".join(cell["source"])
        if source.startswith("%%bash\n"):
            run_in_shell(source.removeprefix("%%bash\n"))
        else:
            exec(compile(source, f"{path.name}, cell {number}", "exec"), namespace)
    CHECKS[path.stem](namespace, tmp_path)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_are_kept(path):
    cells = code_cells(path)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    # neither errors nor warnings, which would name folders of the machine
    assert {output["output_type"] for output in outputs} <= {"execute_result", "display_data"}
    assert path.stat().st_size < 400_000
