import numpy as np
import pandas as pd
import pytest

from cdn_sc.metrics import summarise
from cdn_sc.metrics.summary import to_markdown


@pytest.fixture
def per_group():
    rng = np.random.default_rng(0)
    n = 200
    return pd.DataFrame(
        {
            "method": ["good", "bad"] * n,
            "auroc": np.where(np.arange(2 * n) % 2, rng.normal(0.5, 0.1, 2 * n), rng.normal(0.9, 0.1, 2 * n)),
            "average_precision": rng.random(2 * n),
            "trivial": np.arange(2 * n) % 4 < 2,
        }
    )


def cell(summary, method, metric, stratum="all"):
    keep = (summary["method"] == method) & (summary["metric"] == metric) & (summary["stratum"] == stratum)
    (row,) = summary[keep].to_dict("records")
    return row


def test_means_and_intervals(per_group):
    summary = summarise(per_group, by="method")
    good = cell(summary, "good", "auroc")
    values = per_group.loc[per_group["method"] == "good", "auroc"]
    assert good["mean"] == pytest.approx(values.mean())
    assert good["n_groups"] == 200
    half_width = 1.96 * values.std() / np.sqrt(200)
    assert good["low"] == pytest.approx(values.mean() - half_width, abs=0.003)
    assert good["high"] == pytest.approx(values.mean() + half_width, abs=0.003)
    assert cell(summary, "good", "auroc", "trivial")["n_groups"] == 100
    assert cell(summary, "bad", "auroc")["mean"] < good["low"]


def test_missing_values_are_left_out(per_group):
    per_group.loc[per_group.index[:100], "auroc"] = np.nan
    row = cell(summarise(per_group, by="method"), "good", "auroc")
    kept = per_group.loc[per_group["method"] == "good", "auroc"].dropna()
    assert row["n_groups"] == kept.size == 150
    assert row["mean"] == pytest.approx(kept.mean())
    per_group["auroc"] = np.nan
    assert np.isnan(cell(summarise(per_group, by="method"), "good", "auroc")["low"])


def test_same_seed_same_interval(per_group):
    pd.testing.assert_frame_equal(summarise(per_group, seed=3), summarise(per_group, seed=3))
    assert not summarise(per_group, seed=3).equals(summarise(per_group, seed=4))


def test_unknown_columns_are_refused(per_group):
    with pytest.raises(ValueError, match=r"no such columns to summarise by: \['kind'\]"):
        summarise(per_group, by=["method", "kind"])


def test_markdown(per_group):
    summary = summarise(per_group, by="method", n_bootstrap=50)
    lines = to_markdown(summary, metrics=["auroc"], interval=False).splitlines()
    assert lines[0] == "| method | groups | auroc |"
    assert lines[2] == f"| good | 200 | {cell(summary, 'good', 'auroc')['mean']:.3f} |"
    assert len(lines) == 4
