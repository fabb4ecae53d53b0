"""Scripts that measure accuracy, on tiny sizes: they run, and count what they say they count."""

import importlib
import sys
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from cdn_sc.simulate import screen_pairs

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def script(monkeypatch):
    """Import a script of the folder by its name."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    before = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if "benchmarks" in (getattr(sys.modules[name], "__file__", None) or ""):
            del sys.modules[name]


def test_known_relations(script, tmp_path, capsys, monkeypatch):
    module = script("known_relations")
    monkeypatch.setattr(module, "TABLES", dict(list(module.TABLES.items())[:2]))
    module.main(["--networks", "1", "--kinds", "activity", "--without-rival", "--output", str(tmp_path)])
    capsys.readouterr()
    table = pd.read_csv(tmp_path / "known_relations.csv")
    assert table["table"].tolist() == ["none", "known .3, correct .3"]
    assert {"untold", "told"} <= set(table.columns)


def test_decoupler_reads_the_table(script):
    pytest.importorskip("decoupler", reason="the extra 'rivals' is not installed")
    module = script("known_relations")
    (pair, *_) = module.pairs_of("activity", 1, {"relations": (0.9, 0.9)})
    scores = module.LinearModelOfRelations().predict(
        pair.control, pair.perturbed, rng=np.random.default_rng(0), kind=None, relations=pair.relations
    )
    known = np.bincount(pair.relations.sources, minlength=200)
    assert np.isfinite(scores[known >= 3]).all()
    assert (scores[known < 3] == -np.inf).all()


def test_langevin_screens(script, tmp_path, capsys):
    module = script("langevin_screens")
    small = ["--networks", "1", "--groups", "2", "--genes", "30", "--control", "40", "--perturbed", "20"]
    module.main([*small, "--kinds", "activity", "--output", str(tmp_path)])
    capsys.readouterr()
    table = pd.read_csv(tmp_path / "langevin_screens.csv")
    assert table["kind"].tolist() == ["activity"] * 2
    assert (table[["told", "untold", "best rival"]] > 0).all(axis=None)


@pytest.mark.parametrize("kind", ["knockdown", "activation", "knockout", "cas9", "activity"])
def test_langevin_perturbations_do_what_they_say(script, kind):
    module = script("langevin_screens")
    pairs = list(module.groups_of(kind, 3, 40, False, 4, 150, 120))
    change = np.array(
        [
            pair.perturbed[:, pair.targets[0]].mean() - pair.control[:, pair.targets[0]].mean()
            for pair in pairs
        ]
    )
    spread = np.array([pair.control[:, pair.targets[0]].std() for pair in pairs])
    if kind == "activity":
        assert (np.abs(change) < spread).all()
    elif kind == "activation":
        assert (change > 0.3).all()
    elif kind == "cas9":  # some keep nearly all of their transcript
        assert np.mean(change < 0) >= 0.5
    else:
        assert (change < 0).all()
    moved = [np.abs(pair.perturbed.mean(0) - pair.control.mean(0)).max() for pair in pairs]
    assert max(moved) > 0.2
    assert all(pair.control is pairs[0].control for pair in pairs)


def test_real_sets(script, tmp_path, capsys, monkeypatch):
    """Both parts of the table; comparisons within blocks; nothing but the files that are named is read."""
    module = script("real_sets")
    rng = np.random.default_rng(0)
    labels = np.repeat(["control", "a", "b"], [40, 10, 10])
    values = rng.normal(0, 1, (60, 12)).astype(np.float32)
    values[labels == "a", 0] -= 3
    blocks = np.tile(["x", "y"], 30)
    values[blocks == "y"] += 20
    adata = ad.AnnData(
        values,
        obs=pd.DataFrame({"perturbation": labels, "stimulus": blocks}, index=[f"c{i}" for i in range(60)]),
        var=pd.DataFrame(index=[f"g{i}" for i in range(12)]),
        uns={"scale": "log", "kind": "activity", "target_in_var": {"a": "g0", "b": "g1|g2"}},
    )
    adata.write_h5ad(tmp_path / "hpn_dream2016_bt20.h5ad")
    module.main(
        ["--data", str(tmp_path), "--sets", "hpn_dream2016_bt20", "--output", str(tmp_path / "results")]
    )
    capsys.readouterr()
    table = pd.read_csv(tmp_path / "results" / "real_sets.csv", index_col=0)
    assert table.loc["groups"].tolist() == ["2", "2"]
    assert table.columns.tolist() == ["hpn_dream2016_bt20", "inhibitors"]
    assert {"t_test", "moderated_t", "one_sided_t"} <= set(table.index)
    # within blocks the change is seen
    assert float(table.loc["t_test", "inhibitors"].split()[0]) > 0.4


def test_own_cells(script, tmp_path, capsys):
    module = script("own_cells")
    module.main(["--networks", "2", "--groups", "3", "--genes", "30", "--output", str(tmp_path)])
    capsys.readouterr()
    table = pd.read_csv(tmp_path / "own_cells.csv")
    assert table["own cells"].tolist() == [module.CAPPED, module.WITHOUT, module.UNCAPPED, module.NONE] * 2
    pairs = screen_pairs(
        np.random.default_rng(0), n_genes=30, n_groups=3, n_control=100, n_perturbed=(20, 21)
    )
    parts = [pair.perturbed for pair in pairs]
    rules = module.contrasts_by_rule(pairs[0].control, parts, 1)
    most = 5  # a twentieth of 100 + 3 x 5 cells
    assert [None if found is None else len(found) for found in rules.values()] == [
        3 * (most - 1), 2 * (most - 1), sum(len(part) - 1 for part in parts), None,
    ]  # fmt: skip


def test_reference_ceiling(script, tmp_path, capsys, monkeypatch):
    """With more cells a reference screen tells more, and with no error most."""
    module = script("reference_ceiling")
    monkeypatch.setattr(module, "CELLS", (5, 3000))
    module.main(["--networks", "2", "--genes", "40", "--output", str(tmp_path)])
    capsys.readouterr()
    table = pd.read_csv(tmp_path / "reference_ceiling.csv").query("rule == 'with size'")
    means = table.set_index("reference")["mean"]
    assert means["5 cells"] < means["no error"]
    assert means["5 cells"] < means["3000 cells"]
