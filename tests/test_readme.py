"""Every command and snippet of the README works as it stands."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import torch

import cdn_sc
from cdn_sc.cli import main

ROOT = Path(__file__).resolve().parents[1]
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", (ROOT / "README.md").read_text(encoding="utf-8"), re.M | re.S)
COMMANDS = [
    line.removeprefix("$ ")
    for language, text in BLOCKS
    if language == "console"
    for line in text.splitlines()
]

# Commands that no test runs, and why.
NOT_RUN = {
    "pip install .": "installs, from the network, into the environment that the tests run in",
}
# Options that make a command short enough for a test.
SHORTER = {"evaluate": ["--limit", "2", "--n-bootstrap", "20"], "train": ["--max-seconds", "0"]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the files that the README speaks of."""
    import scanpy as sc

    folder = tmp_path_factory.mktemp("readme")
    adata = cdn_sc.simulate.screen(40, {"knockdown": 2, "activity": 1}, n_control=80, n_perturbed=40, seed=3)
    adata.uns["target_in_var"] = {group: genes[0] for group, genes in adata.uns["targets"].items()}
    for name in ("counts", "truth"):
        adata.write_h5ad(folder / f"{name}.h5ad")
    sc.pp.normalize_total(adata)
    sc.pp.log1p(adata)
    adata.write_h5ad(folder / "screen.h5ad")
    (toml,) = [text for language, text in BLOCKS if language == "toml"]
    (folder / "small.toml").write_text(toml)
    return folder


@pytest.fixture(autouse=True)
def there(folder, monkeypatch):
    monkeypatch.chdir(folder)
    verbosity, threads = cdn_sc.settings.verbosity, torch.get_num_threads()
    yield
    cdn_sc.settings.verbosity = verbosity
    torch.set_num_threads(threads)


def test_blocks_are_of_a_known_kind():
    assert {language for language, _ in BLOCKS} == {"console", "python", "toml"}
    assert all(
        line.startswith("$ ") for lang, text in BLOCKS if lang == "console" for line in text.splitlines()
    )
    assert set(NOT_RUN) <= set(COMMANDS)


def test_the_first_commands_are_demo_and_test():
    assert COMMANDS[:2] == ["make demo", "make test"]


def test_python(monkeypatch):
    """All Python blocks, one after another, in one namespace."""
    from matplotlib import pyplot as plt

    plt.switch_backend("Agg")
    # Agg cannot show a figure, and says so in a warning
    monkeypatch.setattr(plt, "show", lambda: None)
    code = "\n".join(text for language, text in BLOCKS if language == "python")
    namespace = {}
    exec(compile(code, "README.md", "exec"), namespace)
    plt.close("all")
    assert namespace["adata"].shape == cdn_sc.datasets.simulated_screen().shape


@pytest.mark.parametrize("command", COMMANDS)
def test_command(command, capsys):
    if command in NOT_RUN:
        pytest.skip(NOT_RUN[command])
    program, *arguments = shlex.split(command)
    if program == "make":
        # -n prints what would be run, and fails for a target that does not exist
        run = subprocess.run(
            ["make", "-n", "-C", ROOT, *arguments], capture_output=True, text=True, check=True
        )
        assert {"demo": "cdn-sc demo", "test": "pytest"}[arguments[0]] in run.stdout
        return
    assert program == "cdn-sc"
    main([*arguments, *SHORTER.get(arguments[0], [])])
    capsys.readouterr()
    for option in ("-o", "--table", "--output"):
        if option in arguments:
            assert Path(arguments[arguments.index(option) + 1]).exists()


def test_links_lead_somewhere():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
        assert (ROOT / target).exists(), target
