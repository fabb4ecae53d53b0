"""The benchmark scripts run, on small inputs, and write what the documentation includes."""

import importlib
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

import cdn_sc
import cdn_sc.predictors
from cdn_sc.graphs.estimate import estimate
from cdn_sc.graphs.sample import global_statistics
from cdn_sc.graphs.tokens import edge_tokens

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def script(monkeypatch):
    """Import a script of the folder by its name."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    before = set(sys.modules)
    verbosity = cdn_sc.settings.verbosity
    yield importlib.import_module
    cdn_sc.settings.verbosity = verbosity
    for name in set(sys.modules) - before:
        if "benchmarks" in (getattr(sys.modules[name], "__file__", None) or ""):
            del sys.modules[name]


def test_import_time(script, tmp_path, capsys):
    script("import_time").main(["--repeats", "2", "--output", str(tmp_path / "new" / "import_time.md")])
    assert "| none |" in (tmp_path / "new" / "import_time.md").read_text()
    capsys.readouterr()


@pytest.mark.filterwarnings("ignore:Writing zarr v2 data:UserWarning")
def test_round_trip(script, tmp_path, capsys):
    script("round_trip").main(["--groups", "5", "--genes", "12", "--output", str(tmp_path)])
    assert "60 rows" in capsys.readouterr().out
    steps = pd.read_csv(tmp_path / "round_trip.csv")["step"]
    assert [step.split(",")[0].split(":")[0] for step in steps] == [
        "predict_targets", "write h5ad", "read h5ad", "write zarr", "read zarr", "scanpy"
    ]  # fmt: skip
    assert (tmp_path / "dotplot.png").stat().st_size > 5_000


def test_round_trip_notices_a_difference(script):
    adata = cdn_sc.simulate.screen(24, 2, n_control=40, n_perturbed=20)
    adata.X = adata.X.log1p()
    cdn_sc.tl.predict_targets(adata, "perturbation", "control", progress=False)
    result = adata.uns["cdn_targets"]
    check = script("round_trip").check_equal
    check(result, result)
    with pytest.raises(AssertionError):
        check(result | {"table": result["table"].assign(score=0.5)}, result)
    with pytest.raises(AssertionError, match="seed"):
        check(result | {"params": result["params"] | {"seed": 9}}, result)


def test_parity(script, shared_dir, tmp_path, capsys):
    """The two smallest cases, and all graphs."""
    cases = tmp_path / "cases"
    cases.mkdir()
    for path in (shared_dir / "parity").iterdir():
        if path.suffix == ".ckpt" or re.match(r"case_[01]|fci_oracle", path.name):
            (cases / path.name).symlink_to(path)
    script("parity").main(["--parity", str(cases), "--output", str(tmp_path)])
    logits = pd.read_csv(tmp_path / "logits.csv")
    assert len(logits) == 4
    assert (logits["float32 - published"] < logits["bound"]).all()
    assert (logits["float64 - published"] > 0).all()
    graphs = pd.read_csv(tmp_path / "fci.csv").set_index("kind")
    assert graphs.loc["all", "cases"] == 20_000
    assert graphs.loc["all", "different graph"] == graphs.loc["all", "failed in one alone"] == 0
    assert "Local graphs" in capsys.readouterr().out


def test_real_screens(script, tmp_path, capsys):
    adata = cdn_sc.simulate.screen(60, {"knockdown": 3}, n_control=100, n_perturbed=60)
    truth = {group: genes[0] for group, genes in adata.uns["targets"].items()}
    unmeasured = list(truth)[-1]
    adata.uns["target_in_var"] = truth | {unmeasured: ""}
    adata.write_h5ad(tmp_path / "screen.h5ad")
    script("real_screens").main(
        [
            "--screen",
            f"{tmp_path / 'screen.h5ad'}:knockdown",
            "--tell-kind",
            "--output",
            str(tmp_path / "out"),
        ]
    )
    said = capsys.readouterr().out
    assert "Models are told the kind" in said
    per_group = pd.read_csv(tmp_path / "out" / "per_group.csv")
    assert set(per_group["method"]) == {"gene-transformer", *cdn_sc.metrics.RIVALS}
    assert set(per_group["group"]) == set(truth) - {unmeasured}
    best = per_group.groupby("method")["reciprocal_rank"].mean()
    assert best["wilcoxon"] > best["random"]
    speed = pd.read_csv(tmp_path / "out" / "speed.csv")
    assert speed["groups"].tolist() == [3]
    assert (speed["seconds a group"] > 0).all()
    for name in ("summary.csv", "real.md", "real_speed.md"):
        assert (tmp_path / "out" / name).exists()
    with pytest.raises(SystemExit):
        script("real_screens").main([])
    assert "give --data, --screen" in capsys.readouterr().err


def test_fci_as_documented(script, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["fci.py", "--subsets", "5", "--cells", "100", "--repeats", "50"])
    script("fci").main()
    assert "causal-learn" in capsys.readouterr().out


def test_documented_commands_exist():
    pages = [path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md")]
    scripts = {name for page in pages for name in re.findall(r"\$ python (\S+)", page)}
    assert scripts
    assert all((ROOT / name).is_file() for name in scripts)
    included = {name for page in pages for name in re.findall(r"\{include\} (\S+)", page)}
    assert all((ROOT / "docs" / name).is_file() for name in included)


def test_activity_ceiling(script, tmp_path, capsys, monkeypatch):
    module = script("activity_ceiling")
    monkeypatch.setattr(module, "CONTROL_CELLS", (150, 300))
    small = ["--networks", "2", "--groups", "1", "--genes", "30", "--cells", "60", "80"]
    module.main([*small, "--output", str(tmp_path)])
    capsys.readouterr()
    table = (tmp_path / "activity_ceiling.md").read_text()
    assert "150 control cells" in table
    assert "| known network |" in table


def test_a_known_network_finds_what_its_loss_explains(script):
    rng = np.random.default_rng(0)
    module = script("activity_ceiling")
    effects = np.zeros((30, 30))
    effects[4, 10:16], effects[7, 14:20] = -1.0, 1.0
    control = rng.normal(2.0, 0.5, (200, 30)).astype(np.float32)
    perturbed = rng.normal(2.0, 0.5, (100, 30)).astype(np.float32)
    perturbed[:, 10:16] -= 0.4
    scores = module.match(effects, control, perturbed, np.zeros((0, 30)))
    assert scores.argmax() == 4
    assert scores[4] > 5 * np.abs(scores[7])


def test_simulation_speed(script, tmp_path, capsys):
    script("simulation_speed").main(["--steps", "1", "--output", str(tmp_path)])
    capsys.readouterr()
    table = (tmp_path / "simulation_speed.md").read_text()
    assert table.count("| gene-transformer |") == 2
    assert table.count("| cdn-scm |") == 1


def test_activity_inputs(script, tmp_path, capsys):
    script("activity_inputs").main(["--networks", "2", "--groups", "1", "--output", str(tmp_path)])
    capsys.readouterr()
    table = (tmp_path / "activity_inputs.md").read_text()
    assert "| input: deconvolved |" in table
    assert "| lost effects only, both |" in table


def test_lost_effects_are_never_gained(script):
    rng = np.random.default_rng(0)
    weights = np.zeros((12, 12))
    weights[2, 3:7] = 0.5
    module = script("activity_inputs")
    noise = 0.01 * rng.normal(size=12)
    lost = module.signed_deconvolution(weights, 5.0 * -weights[2] + noise, 0.7, 8.0)
    assert lost[2] < -2
    assert np.abs(np.delete(lost, 2)).max() < 0.1
    assert np.all(module.signed_deconvolution(weights, 5.0 * weights[2] + noise, 0.7, 8.0) > -0.1)


def test_speed(script, tmp_path, capsys, monkeypatch):
    module = script("speed")
    monkeypatch.setattr(module, "N_CONTROL", 60)
    monkeypatch.setattr(module, "N_PERTURBED", 30)
    monkeypatch.setattr(module, "N_GROUPS", 4)
    small = ["--genes", "8", "--repeats", "1", "--plain-repeats", "1"]
    for whole in ("300", "1"):
        module.main([*small, "--whole-screen", whole, "--output", str(tmp_path)])
    capsys.readouterr()
    (row,) = pd.read_csv(tmp_path / "speed.csv").to_dict("records")
    assert row["genes"] == 8
    assert row["ratio, one group"] == pytest.approx(row["straightforward s"] / row["one group s"], rel=1e-3)
    assert all(value > 0 for name, value in row.items() if name.endswith(" s"))


def test_straightforward_arm_says_the_same_as_the_package(script):
    """The same subsets: the same pairs, tokens and statistics, whoever writes them down."""
    module = script("straightforward")
    rng = np.random.default_rng(0)
    values = (rng.normal(size=(80, 9)) @ (np.eye(9) + 0.6 * rng.normal(size=(9, 9)))).astype(np.float32)
    found = module.read_arm(values, 4, np.random.default_rng(1))
    genes, _ = module.sample(values, 4, np.random.default_rng(1))
    graphs, succeeded = estimate([values[:, g] for g in genes])
    tokens, pairs = edge_tokens(np.array(genes), graphs, succeeded)
    np.testing.assert_array_equal(found.pairs, pairs)
    np.testing.assert_array_equal(found.tokens != 0, tokens != 0)
    # the two estimators are different versions of FCI: most marks agree
    assert np.mean(found.tokens[tokens != 0] == tokens[tokens != 0]) > 0.8
    correlation, mean_variance = global_statistics(values)
    np.testing.assert_allclose(found.correlation, correlation, atol=1e-5)
    np.testing.assert_allclose(found.mean_variance, mean_variance, rtol=1e-4)


@pytest.mark.filterwarnings("ignore:.*could not be scored:UserWarning")
def test_scaling(script, tmp_path, capsys):
    module = script("scaling")
    load = cdn_sc.predictors.load_predictor
    module.main(["--cells", "300", "--groups", "3", "--genes", "60", "--output", str(tmp_path)])
    capsys.readouterr()
    table = pd.read_csv(tmp_path / "scaling.csv")
    assert table["candidates"].tolist() == ["per_group", "shared"]
    assert (table["rows of the result"] == 3 * 60).all()
    assert cdn_sc.predictors.load_predictor is load


@pytest.fixture
def small_model(tmp_path):
    """File of a small gene transformer with random weights."""
    sizes = {"channels": 8, "heads": 2, "layers": 1, "edge_channels": 4, "mixing_channels": 2}
    with torch.random.fork_rng(devices=[]):
        network = cdn_sc.models.build_network({"architecture": "gene_transformer", **sizes})
    return str(cdn_sc.models.save(network, tmp_path / "small.safetensors", {"name": "small"}))


def test_fine_tuning(script, small_model, tmp_path, capsys):
    sizes = ["--genes", "24", "--groups", "8", "--epochs", "1", "--longer", "2", "--seeds", "0", "1"]
    script("fine_tuning").main(["--model", small_model, *sizes, "--output", str(tmp_path)])
    rows = pd.read_csv(tmp_path / "fine_tuning.csv")
    methods = ["before", "fine-tuned", "from scratch", "from scratch, longer"]
    assert list(rows["method"].unique()) == methods
    known = round(0.6 * 8)
    counted = rows.groupby(["screen", "method", "seed"]).size()
    assert len(counted) == 2 * len(methods) * 2
    assert (counted == 8 - known).all()
    steps = rows.drop_duplicates(["seed", "method"]).pivot_table(
        index="seed", columns="method", values="steps"
    )
    assert (steps["from scratch, longer"] == 2 * steps["from scratch"]).all()
    assert (steps["before"] == 0).all()
    summary = pd.read_csv(tmp_path / "fine_tuning_summary.csv")
    assert (summary.loc[summary["method"] == "before", "gain"] == 0).all()
    means = rows.groupby(["screen", "method"])["auroc"].mean()
    for line in summary[summary["metric"] == "auroc"].itertuples():
        assert line.mean == pytest.approx(means[line.screen, line.method])
    assert "fine-tuned" in (tmp_path / "fine_tuning.md").read_text()
    capsys.readouterr()


def test_fine_tuning_on_a_real_screen(script, small_model, tmp_path, capsys):
    adata = cdn_sc.simulate.screen(30, {"knockdown": 4}, n_control=40, n_perturbed=20, seed=1)
    adata.uns["target_in_var"] = {name: genes[0] for name, genes in adata.uns.pop("targets").items()}
    adata.write_h5ad(tmp_path / "small_screen.h5ad")
    script("fine_tuning_real").main(
        ["--screen", str(tmp_path / "small_screen.h5ad"), "--model", small_model, "--output", str(tmp_path)]
    )
    rows = pd.read_csv(tmp_path / "fine_tuning_real.csv")
    assert {"before", "fine-tuned", "t_test"} <= set(rows["method"])
    assert (rows.groupby("method")["group"].nunique() == 4).all()
    assert "4 measured targets" in (tmp_path / "fine_tuning_real.md").read_text()
    capsys.readouterr()


def test_fine_tuning_speed(script, small_model, tmp_path, capsys, monkeypatch):
    speed = script("fine_tuning_speed")

    def here(command, **_):
        speed.main([*command[2:], "--threads", "1"])
        return SimpleNamespace(stdout=capsys.readouterr().out)

    monkeypatch.setattr(speed.subprocess, "run", here)
    speed.main(["--case", f"{small_model}:24:2", "--output", str(tmp_path)])
    table = pd.read_csv(tmp_path / "fine_tuning_speed.csv")
    assert table[["model", "genes", "groups"]].to_numpy().tolist() == [["small", 24, 2]]
    assert (table[["seconds an epoch", "peak memory, MiB"]] > 0).all(axis=None)
    assert "| small | 24 | 2 |" in (tmp_path / "fine_tuning_speed.md").read_text()
    capsys.readouterr()
