"""The benchmark scripts run, on small inputs, and write what the documentation includes."""

import importlib
import json
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
from cdn_sc.graphs import arm_inputs
from cdn_sc.graphs.estimate import estimate
from cdn_sc.graphs.sample import global_statistics
from cdn_sc.graphs.tokens import edge_tokens
from cdn_sc.nn import collate
from cdn_sc.train.losses import target_loss

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
    assert pd.read_csv(tmp_path / "new" / "import_time.csv")["processes"].tolist() == [2]
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
    assert set(per_group["method"]) >= {"gene-transformer", *cdn_sc.metrics.RIVALS}
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


def test_fci_as_documented(script, monkeypatch, tmp_path, capsys):
    small = ["--subsets", "5", "--cells", "100", "--repeats", "50", "--output", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["fci.py", *small])
    script("fci").main()
    assert "same adjacencies" in capsys.readouterr().out
    table = pd.read_csv(tmp_path / "fci.csv")
    assert table["estimator"].tolist()[:2] == ["fci", "fci"]
    assert table["estimator"].iloc[2].startswith("causal-learn")
    assert (table["ratio"].iloc[:2] > 1).all()


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


def test_combination(script, tmp_path, capsys):
    script("combination").main(["--networks", "1", "--groups", "1", "--output", str(tmp_path)])
    capsys.readouterr()
    table = (tmp_path / "combination.md").read_text()
    assert table.count("| t_statistic |") == table.count("| wilcoxon_statistic |") == 8


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
    assert row["floor / one group"] == pytest.approx(row["floor s"] / row["one group s"], rel=1e-3)
    assert row["floor in a screen s"] < row["floor s"]
    assert row["ratio, one group"] == pytest.approx(row["straightforward s"] / row["one group s"], rel=1e-3)
    assert all(value > 0 for name, value in row.items() if name.endswith(" s"))
    for way in ("one group", "in a screen", "own network"):
        assert 0.5 < row[f"bfloat16, tau, {way}"] <= 1
        assert row[f"bfloat16, top 10, {way}"] == 1  # of 8 genes


def test_agreement_of_rankings(script):
    agreement = script("speed").agreement
    scores = pd.Series(np.arange(12.0), index=list("abcdefghijkl"))
    assert agreement([scores], [scores[::-1] ** 2]) == pytest.approx((1, 1))
    assert agreement([scores, scores], [scores, -scores]) == pytest.approx((0, (1 + 0.8) / 2), abs=1e-9)


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
    small = ["--cells", "300", "--groups", "3", "12", "--most-per-group", "4", "--genes", "60"]
    small += ["--n-genes", "50"]
    module.main([*small, "--output", str(tmp_path)])
    capsys.readouterr()
    table = pd.read_csv(tmp_path / "scaling.csv")
    assert table["genes"].tolist() == ["of each group", "one panel", "one panel"]
    # some genes vary neither in a small group nor in the few control cells
    assert table["rows of the result"].between([150, 100, 500], [150, 150, 600]).all()
    assert cdn_sc.predictors.load_predictor is load


def test_loader_memory(script, tmp_path, capsys):
    sizes = ["--pairs", "9", "--control", "30", "--perturbed", "20", "--genes", "12"]
    script("loader_memory").main([*sizes, "--output", str(tmp_path)])
    said = capsys.readouterr().out
    assert "| AnnData | 9 | 450 |" in said
    assert "| Pair | 9 | 450 |" in said
    assert (tmp_path / "loader_memory.md").read_text() in said


@pytest.fixture
def small_model(tmp_path):
    """File of a small gene transformer with random weights."""
    sizes = {"channels": 8, "heads": 2, "layers": 1, "points": 4, "message_channels": 8, "message_heads": 2}
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


def test_plot_gallery(script, tmp_path, capsys, monkeypatch):
    gallery = script("plot_gallery")
    monkeypatch.setattr(gallery, "N_GROUPS", 8)
    arguments = [
        "--shared",
        str(tmp_path),
        "--output",
        str(tmp_path / "new"),
        "--inputs",
        "papalexi",
        "groups",
    ]
    gallery.main([*arguments, "--only", "target_heatmap", "evaluation"])
    assert f"left out: there is no {tmp_path / gallery.PAPALEXI}" in capsys.readouterr().out
    written = sorted(path.name for path in (tmp_path / "new").iterdir())
    assert written == ["evaluation_groups.png", "target_heatmap_groups.png"]
    assert all(path.stat().st_size > 3_000 for path in (tmp_path / "new").iterdir())


def test_the_page_of_plots_shows_every_picture_of_the_gallery(script):
    gallery = script("plot_gallery")
    made = {f"_static/plots/{plot}_{name}.png" for plot in gallery.PLOTS for name in gallery.INPUTS}
    page = (ROOT / "docs" / "plots.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\]\((_static/plots/[^)]+)\)", page)) == made
    assert {f"_static/plots/{path.name}" for path in (ROOT / "docs/_static/plots").iterdir()} == made
    assert all((ROOT / "docs" / path).stat().st_size < 150_000 for path in made)


def test_arm_inputs(script, tmp_path, capsys):
    small = ["--genes", "8", "--cells", "60", "--subsets", "4", "--repeats", "1", "--plain-repeats", "1"]
    script("arm_inputs").main([*small, "--output", str(tmp_path)])
    capsys.readouterr()
    (row,) = pd.read_csv(tmp_path / "arm_inputs.csv").to_dict("records")
    assert row["ratio"] == pytest.approx(row["plain ms"] / row["ours ms"], rel=1e-3)
    assert row["ratio"] > 1


def test_training_speed(script, tmp_path, capsys, monkeypatch):
    module = script("training_speed")
    monkeypatch.setattr(module, "GENES_PER_BATCH", 16)
    monkeypatch.setattr(module, "CELLS", (50, 80))
    monkeypatch.setitem(module.NETWORKS, "cdn", module.NETWORKS["cdn"] | {"blocks": 1, "channels": 8})
    small = ["--genes", "8", "--steps", "1", "--plain-steps", "1"]
    module.main([*small, "--output", str(tmp_path)])
    capsys.readouterr()
    table = pd.read_csv(tmp_path / "training_speed.csv").set_index("architecture")
    assert table.loc["cdn", "ratio"] == pytest.approx(
        table.loc["cdn", "ours pairs / s"] / table.loc["cdn", "plain pairs / s"], rel=1e-3
    )
    assert table["plain pairs / s"].isna().tolist() == [False, True]
    assert table["simulation and inputs"].between(0, 1, inclusive="neither").all()


def test_plain_training_has_the_gradients_of_ours(script):
    """The same arms and identities: the same loss, and the same gradients."""
    module = script("training_speed")
    config = module.configuration("cdn", 6)
    torch.manual_seed(0)
    network = module.build_network(
        {"architecture": "cdn", "blocks": 1, "channels": 16, "dropout": 0.0}
    ).train()
    (pair, *_), rng = module.draw_batch(config, 1), np.random.default_rng(0)
    arms = [arm_inputs(values, n_subsets=4, rng=rng) for values in (pair.control, pair.perturbed)]
    identities = np.random.default_rng(5)
    loss = module.plain_loss(network, *arms, pair, identities)
    loss.backward()
    plain = {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}
    network.zero_grad()
    drawn = np.random.default_rng(5)
    permutations = np.stack([drawn.permutation(network.config.num_vars + 1) for _ in range(6)])
    logits = network(collate([tuple(arms)], permutations=permutations[None]))
    labels = torch.zeros_like(logits)
    labels[0, torch.as_tensor(pair.targets)] = 1.0
    ours = target_loss(logits, labels, torch.ones_like(labels, dtype=torch.bool))
    assert ours.item() == pytest.approx(loss.item(), rel=1e-4)
    ours.backward()
    for name, expected in plain.items():
        found = network.get_parameter(name).grad
        if re.search(r"embed_(tokens|nodes|edges|time)\.weight$", name):
            # row 0 is that of padding, which the trainer leaves alone
            found, expected = found[1:], expected[1:]
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_startup(script, tmp_path, capsys, monkeypatch):
    module = script("startup")
    screen = cdn_sc.simulate.screen(24, 2, n_control=40, n_perturbed=20)
    monkeypatch.setattr(module.datasets, "simulated_screen", lambda: screen)
    small = ["--models", "default", "--caches", "unwritable", "--repeats", "1"]
    module.main([*small, "--output", str(tmp_path)])
    capsys.readouterr()
    (row,) = pd.read_csv(tmp_path / "startup.csv").to_dict("records")
    assert row["to first prediction s"] > row["import s"] > 0


def test_profile_prediction(script, tmp_path, capsys):
    module = script("profile_prediction")
    module.main(["--genes", "8", "--output", str(tmp_path)])
    capsys.readouterr()
    (stages,) = pd.read_csv(tmp_path / "profile_stages.csv").to_dict("records")
    assert all(stages[stage] > 0 for stage in module.STAGES)
    assert sum(stages[stage] for stage in [*module.STAGES, "rest"]) == pytest.approx(1, rel=1e-3)
    (operations,) = pd.read_csv(tmp_path / "profile_operations.csv").to_dict("records")
    assert operations["matrix products"] > operations["other operations"]


def test_all(script, tmp_path, capfd):
    """One cheap table in a process of its own, the picture from tables that are there, and a failure."""
    module = script("all")
    assert set(module.QUICK) == set(module.TABLES)
    assert all((ROOT / "benchmarks" / f"{table}.py").is_file() for table in [*module.TABLES, module.FIGURE])
    module.main(["--quick", "--only", "import_time", "--output", str(tmp_path)])
    assert (tmp_path / "import_time.csv").exists()
    with pytest.raises(SystemExit):
        module.main(
            [
                "--quick",
                "--only",
                "import_time",
                "--output",
                str(tmp_path),
                "--figure",
                str(tmp_path / "a.png"),
            ]
        )
    assert re.search(r"speed_figure +\S+ s +FAILED", capfd.readouterr().out)


def test_speed_figure(script, tmp_path):
    module = script("speed_figure")
    genes = pd.DataFrame({"genes": [20, 1000], "floor s": [0.01, 6.0]})
    for _, seconds, gigabytes, _, _ in module.OF_GENES:
        genes[seconds] = [0.1, 60.0]
        if gigabytes:
            genes[gigabytes] = [0.0, 2.0]
    genes.to_csv(tmp_path / "speed.csv")
    rows = [
        {"cells": cells, "groups": groups, "genes": choice, "seconds": 1.0, "peak GB beyond it": 0.1}
        for cells in (1000, 10_000)
        for groups in (1, 20)
        for choice in ("of each group", "one panel")
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "scaling.csv")
    picture = tmp_path / "pictures" / "speed.png"
    module.main(["--results", str(tmp_path), "--output", str(picture)])
    assert 5_000 < picture.stat().st_size < 200_000


def test_precision(script, tmp_path, capsys):
    module = script("precision")
    small = ["--models", "cdn-scm", "gene-transformer", "--output", str(tmp_path)]
    module.main(["--genes", "6:1", *small, "--variants", "bfloat16"])
    module.main(["--genes", "6:1", *small])
    capsys.readouterr()
    table = pd.read_csv(tmp_path / "precision.csv")
    assert table["variant"].tolist() == [
        "bfloat16",
        "bfloat16",
        *list(module.PUBLISHED)[1:],
        list(module.OWN)[1],
    ]
    assert table["tau"].between(0.5, 1).all()
    assert (table["largest difference"] > 0).all()
    assert (tmp_path / "precision.md").read_text().count("| cdn-scm |") == len(module.PUBLISHED)


def test_int8_weights(script, tmp_path, capsys):
    module = script("int8_weights")
    folders = large, small, tables = [tmp_path / name for name in ("float32", "int8", "tables")]
    for folder in folders:
        folder.mkdir()
    for name in ("cdn-screens", "cdn-scm-difference"):
        cdn_sc.models.save(cdn_sc.models.load(name), large / f"{name}.safetensors", {"name": name})
    options = [str(large), "--weights", str(small), "--output", str(tables), "--cells", "60"]
    module.main([*options, "--models", "cdn-scm-difference", "--pairs", "0"])
    assert not list(tables.iterdir())
    module.main([*options, "--models", "cdn-screens", "--pairs", "2"])
    capsys.readouterr()
    table = pd.read_csv(tables / "int8_weights.csv")
    assert table[["model", "genes", "pairs"]].values.tolist() == [["cdn-screens", "24 to 60", 2]]
    assert table["largest change"].between(0, 1).all()
    for file in small.iterdir():
        assert file.stat().st_size < 0.4 * (large / file.name).stat().st_size
    with pytest.raises(SystemExit, match="float32"):
        module.main([str(small), "--weights", str(large), "--models", "cdn-screens", "--pairs", "0"])


def test_resealing_keeps_tensors(script, tmp_path):
    bundled = cdn_sc.models.registry.BUNDLED_DIR / "cdn-scm.safetensors"
    copy = tmp_path / bundled.name
    copy.write_bytes(bundled.read_bytes())
    script("reseal_weights").reseal(copy)
    assert copy.read_bytes() == bundled.read_bytes()


def test_rounding_is_that_of_bfloat16(script):
    module = script("precision")
    values = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        module.round_to(values, module.BFLOAT16), values.bfloat16().float(), rtol=0, atol=0
    )
    left, right = values[:400].view(1, 20, 20), values[400:800].view(1, 20, 20)
    with module.RoundedProducts(module.BFLOAT16):
        found = torch.bmm(left, right)
    expected = torch.bmm(left.bfloat16().float(), right.bfloat16().float())
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert not torch.equal(found, torch.bmm(left, right))


def test_batching(script, tmp_path, capsys):
    script("batching").main(
        ["--genes", "6", "--together", "1", "2", "--repeats", "1", "--output", str(tmp_path)]
    )
    capsys.readouterr()
    table = pd.read_csv(tmp_path / "batching.csv")
    assert table["together"].tolist() == [1, 2] * 2
    assert (table["ms a group"] > 0).all()


def test_threads(script, tmp_path, capsys, monkeypatch):
    module = script("threads")
    small = ["--groups", "2", "--genes", "30", "--repeats", "1"]
    module.main([*small, "--way", "default"])
    seconds, computing = json.loads(capsys.readouterr().out)
    assert min(seconds, computing) > 0
    measured, others, resting = [], [], SimpleNamespace(kill=lambda: None, wait=lambda: None)
    monkeypatch.setattr(module.subprocess, "Popen", lambda *_: others.append(1) or resting)
    monkeypatch.setattr(
        module, "in_own_process", lambda way, sizes: measured.append((way, len(others), sizes)) or (2.0, 3.0)
    )
    module.main([*small, "--output", str(tmp_path)])
    assert measured == [(way, busy, (2, 30, 1)) for busy in (0, 1) for way in module.WAYS]
    table = pd.read_csv(tmp_path / "threads.csv")
    assert table["busy processes"].tolist() == [0, 0, 0, 1, 1, 1]
    assert (table["/ n_jobs=1"] == 1).all()


def test_gpu_on_a_cpu(script, tmp_path, capsys, monkeypatch):
    module = script("gpu")
    monkeypatch.setattr(module.speed, "N_CONTROL", 60)
    monkeypatch.setattr(module.speed, "N_PERTURBED", 30)
    small = ["--device", "cpu", "--genes", "8", "--groups", "6", "--side", "64", "--repeats", "1"]
    module.main([*small, "--jobs", "1", "--model", "cdn-scm", "--output", str(tmp_path)])
    said = capsys.readouterr().out
    assert "Rates of products at 8 genes" in said
    screens = pd.read_csv(tmp_path / "gpu_screen.csv")
    assert screens["precision"].tolist() == ["float32", "tf32", "bfloat16"]
    assert (screens["groups"] == 6).all()
    parts = pd.read_csv(tmp_path / "gpu_attention.csv")
    assert parts["attention of"].tolist() == ["encoder", "comparison"] * 3
    assert (parts[["ms", "share of large product", "share of own products"]] > 0).all(axis=None)
    # the default model has no attention of genes to genes
    module.main([*small, "--jobs", "1", "--precision", "float32", "--output", str(tmp_path / "default")])
    assert [path.name for path in sorted((tmp_path / "default").iterdir())] == ["gpu.md", "gpu_screen.csv"]
    screens = pd.read_csv(tmp_path / "default" / "gpu_screen.csv")
    assert screens["largest difference from the CPU"].tolist() == [0.0]
    capsys.readouterr()
    with pytest.raises(SystemExit):
        module.main(["--device", "cpu", "--groups", "4"])
    assert "more than 4" in capsys.readouterr().err
