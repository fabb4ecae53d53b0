"""What the pages say can be done, can be done: messages, snippets, links."""

import ast
import importlib.util
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

import cdn_sc

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"


def literals(text):
    """The strings of a module, f-strings with what is filled in left out."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            yield "".join(part.value for part in node.values if isinstance(part, ast.Constant))


def test_the_messages_of_the_troubleshooting_page_exist():
    page = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `([^`]+)` \|", page, re.M)
    assert len(listed) > 10
    said = [
        re.sub(r"\s+", " ", text)
        for path in (ROOT / "src").rglob("*.py")
        for text in literals(path.read_text(encoding="utf-8"))
    ]
    assert [message for message in listed if not any(message in text for text in said)] == []


@pytest.fixture
def screen(tmp_path, monkeypatch):
    """A folder with a file as users have them: counts, guides, drugs, identifiers, cells without a label."""
    from matplotlib import pyplot as plt

    adata = cdn_sc.simulate.screen(30, {"knockdown": 3, "activity": 1}, n_control=90, n_perturbed=40, seed=3)
    labels = adata.obs["perturbation"].astype(str)
    rng = np.random.default_rng(0)
    guide = labels.map({group: f"{genes[0]}_g1" for group, genes in adata.uns["targets"].items()})
    guide[labels == "control"] = rng.choice(["NTC_1", "NTC_2", "NTC_3"], size=(labels == "control").sum())
    drug = labels.map(dict(zip(adata.uns["targets"], ["drug_A", "drug_A", "drug_B", "drug_B"], strict=True)))
    adata.obs["guide"] = guide.where(rng.random(len(guide)) > 0.05).astype("category")
    adata.obs["drug"] = drug.fillna("DMSO")
    adata.obs["dose"] = np.where(labels == "control", 0, 10)
    adata.obs["cell_line"] = "A172"
    adata.var["feature_name"] = adata.var_names
    adata.var["feature_types"] = "Gene Expression"
    adata.var_names = [f"ENSG{number:011d}" for number in range(adata.n_vars)]
    adata.uns = {}
    adata.write_h5ad(tmp_path / "screen.h5ad")
    monkeypatch.chdir(tmp_path)
    plt.switch_backend("Agg")
    monkeypatch.setattr(plt, "show", lambda: None)
    verbosity = cdn_sc.settings.verbosity
    cdn_sc.settings.verbosity = "warning"
    yield tmp_path
    cdn_sc.settings.verbosity = verbosity
    plt.close("all")


def test_the_snippets_on_preparing_data_run(screen):
    page = (DOCS / "preparing_data.md").read_text(encoding="utf-8")
    namespace = {"my_genes": ["gene_01", "gene_02", "gene_03", "gene_04"]}
    for number, snippet in enumerate(re.findall(r"^```python\n(.*?)^```$", page, re.M | re.S)):
        exec(compile(snippet, f"preparing_data.md, snippet {number}", "exec"), namespace)
    assert {"targets.csv", "targets_A172.csv", "screen_with_targets.h5ad"} <= {
        path.name for path in screen.iterdir()
    }
    assert namespace["table"]["symbol"].notna().all()


def test_the_command_on_preparing_data_runs(screen, capsys):
    from cdn_sc.cli import main

    page = (DOCS / "preparing_data.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"^\$ cdn-sc (.*)$", page, re.M)
    main(shlex.split(command))
    capsys.readouterr()
    assert (screen / "targets.csv").is_file()


@pytest.fixture
def check_links():
    spec = importlib.util.spec_from_file_location("check_links", DOCS / "check_links.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_broken_links_are_found(check_links, tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.html").write_text(
        '<h1 id="top">A</h1><a href="sub/b.html#there">b</a><a href="#top">a</a><a href="https://example.org/x">e</a>'
        '<img src="picture.png"><a href="sub/b.html#nowhere">b</a><a href="c.html">c</a>',
        encoding="utf-8",
    )
    (tmp_path / "sub" / "b.html").write_text(
        '<h2 id="there">B</h2><a href="../a.html">a</a>', encoding="utf-8"
    )
    assert check_links.broken_links(tmp_path) == [
        "a.html: picture.png",
        "a.html: sub/b.html#nowhere",
        "a.html: c.html",
    ]
    (tmp_path / "picture.png").write_bytes(b"")
    (tmp_path / "c.html").write_text("", encoding="utf-8")
    assert check_links.broken_links(tmp_path) == ["a.html: sub/b.html#nowhere"]


def test_all_pages_are_in_the_contents():
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    listed = {
        line
        for block in re.findall(r"^```\{toctree\}\n(.*?)^```$", index, re.M | re.S)
        for line in block.splitlines()
    }
    pages = {path.stem for path in DOCS.glob("*.md")} - {"index"}
    notebooks = {f"tutorials/{path.stem}" for path in (ROOT / "tutorials").glob("*.ipynb")}
    assert (pages | notebooks) - listed == set()
