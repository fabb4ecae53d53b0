"""Bootstrap intervals: what they resample, and how often they hold the truth."""

import numpy as np
import pandas as pd
import pytest

from cdn_sc import metrics
from cdn_sc.metrics.summary import bootstrap, summarise, to_markdown, units_of
from cdn_sc.simulate import scm_dataset, screen_pairs

N_GROUPS = 8


def clustered(rng, n_networks, between, within):
    """Metrics whose true mean is 0: networks vary as well as the groups within them."""
    network = np.repeat(np.arange(n_networks), N_GROUPS)
    values = between * rng.normal(size=n_networks)[network] + within * rng.normal(size=network.size)
    return pd.DataFrame({"network": network, "auroc": values, "trivial": False})


def coverage(n_networks, *, resample="network", between=1.0, repeats=400):
    rng = np.random.default_rng(n_networks)
    hits = 0
    for seed in range(repeats):
        table = clustered(rng, n_networks, between, 1.0)
        units = None if resample == "group" else table["network"].to_numpy()
        found = bootstrap(
            table[["auroc"]].to_numpy(), units, n_bootstrap=1000 if n_networks < 12 else 300, seed=seed
        ).iloc[0]
        hits += found["low"] <= 0 <= found["high"]
    return hits / repeats


@pytest.mark.parametrize("n_networks", [8, 30])
def test_intervals_over_networks_hold_the_truth_at_their_level(n_networks):
    # 400 repeats: a standard error of 1 percent
    assert coverage(n_networks) == pytest.approx(0.95, abs=0.03)


def test_intervals_over_groups_of_networks_would_not():
    assert coverage(12, resample="group") < 0.75


def test_intervals_over_independent_groups_hold_the_truth_at_their_level():
    # of 2 networks that do not differ: 16 groups
    assert coverage(2, resample="group", between=0.0) == pytest.approx(0.95, abs=0.03)


def test_summary_resamples_networks():
    table = clustered(np.random.default_rng(0), 12, 1.0, 0.3)
    row = summarise(table).query("stratum == 'all'").iloc[0]
    means = table.groupby("network")["auroc"].mean()
    # Student's t with 11 degrees of freedom, on the standard error over networks
    half_width = 2.201 * means.std(ddof=1) / np.sqrt(12)
    assert row["high"] - row["low"] == pytest.approx(2 * half_width, rel=0.1)
    assert (row["n_groups"], row["n_units"]) == (96, 12)
    alone = summarise(table.drop(columns="network")).query("stratum == 'all'").iloc[0]
    assert alone["n_units"] == 96
    assert row["high"] - row["low"] > 2 * (alone["high"] - alone["low"])
    assert row["mean"] == pytest.approx(alone["mean"])


@pytest.mark.parametrize(("confidence", "quantile"), [(0.5, 0.6745), (0.8, 1.2816), (0.95, 1.96)])
def test_level_of_an_interval(confidence, quantile):
    values = np.random.default_rng(1).normal(size=(2000, 1))
    found = bootstrap(values, confidence=confidence, n_bootstrap=2000).iloc[0]
    error = values.std() / np.sqrt(2000)
    assert found["high"] - found["mean"] == pytest.approx(quantile * error, rel=0.1)
    assert found["mean"] - found["low"] == pytest.approx(quantile * error, rel=0.1)


def test_networks_of_unequal_size_count_by_their_groups():
    table = pd.DataFrame({"network": ["a"] * 9 + ["b"], "auroc": [1.0] * 9 + [0.0], "trivial": False})
    row = summarise(table).query("stratum == 'all'").iloc[0]
    assert row["mean"] == pytest.approx(0.9)
    assert (row["low"], row["high"]) == (0.0, 1.0)


def test_groups_of_one_network_have_no_interval():
    table = pd.DataFrame({"network": "a", "auroc": [0.2, 0.4, 0.9], "method": "m", "trivial": False})
    summary = summarise(table, by="method")
    row = summary.query("stratum == 'all'").iloc[0]
    assert row["mean"] == pytest.approx(0.5)
    assert np.isnan(row["low"])
    assert np.isnan(row["high"])
    assert (row["n_groups"], row["n_units"]) == (3, 1)
    assert to_markdown(summary, metrics=["auroc"]).splitlines() == [
        "| method | groups | networks | auroc |",
        "|---|---|---|---|",
        "| m | 3 | 1 | 0.500 |",
    ]
    one_group = summarise(table.drop(columns="network")[:1])
    assert one_group["low"].isna().all()


def test_rows_without_a_network_stand_for_themselves():
    table = pd.DataFrame({"network": ["a", "a", None, np.nan, "b"]}, index=[5, 3, 9, 0, 1])
    assert units_of(table).tolist() == [0, 0, 1, 2, 3]
    assert units_of(table.drop(columns="network")).tolist() == [0, 1, 2, 3, 4]
    # the methods of a pair, summarised together
    assert units_of(pd.DataFrame({"pair": [0, 0, 1, 1]})).tolist() == [0, 0, 1, 1]
    assert units_of(pd.DataFrame({"pair": [0, 1, 2], "network": [None, "a", "a"]})).tolist() == [0, 1, 1]


def test_simulated_pairs_name_their_network():
    size = {"n_genes": 12, "n_groups": 3, "n_control": 20, "n_perturbed": (5, 6), "measured_per_gene": 2.0}
    names = [
        {pair.attributes["network"] for pair in screen_pairs(np.random.default_rng(seed), **size)}
        for seed in (0, 1)
    ]
    assert [len(found) for found in names] == [1, 1]
    assert names[0] != names[1]
    names = [
        {
            p.attributes["network"]
            for p in scm_dataset(4, 4, "linear", "soft_shift", 40, np.random.default_rng(s))
        }
        for s in (0, 1)
    ]
    assert [len(found) for found in names] == [1, 1]
    assert names[0] != names[1]


def test_evaluation_resamples_the_networks_of_a_suite(tmp_path):
    options = {"genes": 24, "kinds": ("activity",), "n_networks": 3, "n_groups": 4}
    pairs = metrics.suite("screens", n_control=60, n_perturbed=(20, 30), **options)
    result = metrics.evaluate(pairs, progress=False, n_bootstrap=50)
    rows = result.summary.query("stratum == 'all' and metric == 'auroc'")
    assert set(rows["n_groups"]) == {12}
    assert set(rows["n_units"]) == {3}
    # names of networks come back from a file as names
    result.write(tmp_path)
    again = metrics.EvaluationResult.read(tmp_path)
    pd.testing.assert_frame_equal(again.summarise(), result.summary, check_dtype=False)
    assert "| groups | networks |" in (tmp_path / "summary.md").read_text()


def test_evaluation_with_rows_of_before_networks_were_named(tmp_path):
    """An evaluation that was begun by an earlier version is summarised as it was: over its groups."""
    rng = np.random.default_rng(0)
    pairs = screen_pairs(rng, n_genes=24, n_groups=4, n_control=40, n_perturbed=(20, 30))
    result = metrics.evaluate(pairs, progress=False, n_bootstrap=50)
    del result.per_group["network"]
    result.write(tmp_path)
    rows = metrics.EvaluationResult.read(tmp_path).summarise().query("stratum == 'all'")
    assert set(rows.query("metric == 'average_precision'")["n_units"]) == {4}
