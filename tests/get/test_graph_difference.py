"""The local causal edges of a gene, as a table."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from cdn_sc.errors import InputError, MissingNameError
from cdn_sc.get import graph_difference

GENES = [f"gene{i}" for i in range(12)]
NAMES = ["gained", "lost", "turned", "kept", "unclear", "none"]


@pytest.fixture
def adata():
    """In `drug` gene0 drives gene3 in place of gene1; it drives gene2 all along. gene11 is left out."""
    rng = np.random.default_rng(3)
    labels = np.repeat(["control", "dmso", "drug", "small"], [250, 50, 200, 5])
    values = rng.normal(size=(len(labels), len(GENES)))
    driver, hit = values[:, 0], labels == "drug"
    values[:, 1] += np.where(hit, 0, 1.5) * driver
    values[:, 2] += 1.5 * driver
    values[:, 3] += np.where(hit, 1.5, 0) * driver
    table = pd.DataFrame(
        {
            "group": pd.Categorical(["drug"] * 11),
            "gene": pd.Categorical(GENES[:11][::-1]),
            "rank": np.arange(1, 12, dtype=np.int32),
            "score": np.linspace(0.9, 0.1, 11).astype(np.float32),
            "logfoldchange": np.zeros(11, np.float32),
        }
    )
    params = {
        "groupby": "treatment",
        "control": ["control", "dmso"],
        "layer": "",
        "use_raw": False,
        "seed": 0,
    }
    skipped = pd.DataFrame({"group": ["small"], "reason": ["5 cells, min_cells=10"]})
    return ad.AnnData(
        values.astype(np.float32),
        obs=pd.DataFrame({"treatment": labels}, index=[f"cell{i}" for i in range(len(labels))]),
        var=pd.DataFrame(index=GENES),
        uns={"cdn_targets": {"params": params, "table": table, "skipped": skipped}},
    )


def of(adata, neighbour, **options):
    table = graph_difference(adata, "drug", "gene0", n_subsets=150, n_shuffles=39, **options)
    return table.set_index("neighbour").loc[neighbour]


def test_columns(adata):
    table = graph_difference(adata, "drug", "gene0", n_subsets=100, n_shuffles=19)
    assert list(table.columns) == [
        "neighbour",
        "subsets",
        "edge_control",
        "edge_perturbed",
        "share_control",
        "share_perturbed",
        "marks_control",
        "marks_perturbed",
        "chance",
        "change",
    ]
    assert set(table["neighbour"]) == set(GENES[1:11])
    assert list(table["change"].cat.categories) == NAMES
    shares = table.filter(like="share_").to_numpy()
    assert ((shares >= 0) & (shares <= 1)).all()
    assert (table.filter(like="marks_").to_numpy() <= shares).all()
    assert set(table["edge_control"]) <= {"", "-->", "<--", "<->", "o->", "<-o", "o-o"}
    assert ((table["edge_control"] == "") == (table["share_control"] == 0)).all()
    most = table[["share_control", "share_perturbed"]].max(axis=1)
    assert most.is_monotonic_decreasing


def test_what_changed(adata):
    assert of(adata, "gene1")["change"] == "lost"
    assert of(adata, "gene3")["change"] == "gained"
    assert of(adata, "gene2")["change"] in ("kept", "turned")
    table = graph_difference(adata, "drug", "gene0", n_subsets=150, n_shuffles=39).set_index("neighbour")
    assert (table.loc[["gene8", "gene9"], "change"] != "kept").all()
    assert table.loc["gene1", "share_control"] > 0.9 > table.loc["gene1", "share_perturbed"]


def test_small_differences_are_unclear(adata):
    adata.X[adata.obs["treatment"] == "drug", 1] = adata.X[adata.obs["treatment"] == "control"][:200, 1]
    table = graph_difference(adata, "drug", "gene0", n_subsets=100, n_shuffles=39)
    one = (table["share_control"] >= 0.5) ^ (table["share_perturbed"] >= 0.5)
    assert (table["change"].isin(["gained", "lost"]) == (one & (table["chance"] <= 0.05))).all()
    assert (table["change"].eq("unclear") == (one & (table["chance"] > 0.05))).all()


def test_control_groupby_and_seed(adata):
    adata.obs["other"] = adata.obs["treatment"].replace({"drug": "x", "control": "drug", "dmso": "base"})
    swapped = of(adata, "gene1", groupby="other", control="x")
    assert swapped["change"] == "gained"
    one, two, three = (
        graph_difference(adata, "drug", "gene0", n_subsets=40, n_shuffles=19, rng=seed)
        for seed in (0, None, 5)
    )
    pd.testing.assert_frame_equal(one, two)
    assert not one.equals(three)


def test_layer_of_the_result(adata):
    adata.layers["logged"] = adata.X.copy()
    expected = graph_difference(adata, "drug", "gene0", n_subsets=40, n_shuffles=19)
    adata.X = np.zeros_like(adata.X)
    adata.uns["cdn_targets"]["params"]["layer"] = "logged"
    again = graph_difference(adata, "drug", "gene0", n_subsets=40, n_shuffles=19)
    pd.testing.assert_frame_equal(again, expected)


def test_after_a_round_trip(adata, tmp_path):
    expected = graph_difference(adata, "drug", "gene0", n_subsets=40, n_shuffles=19)
    adata.write_h5ad(tmp_path / "screen.h5ad")
    again = ad.read_h5ad(tmp_path / "screen.h5ad")
    table = graph_difference(again, "drug", "gene0", n_subsets=40, n_shuffles=19)
    pd.testing.assert_frame_equal(table, expected)


def test_the_object_is_not_changed(adata):
    before = adata.copy()
    graph_difference(adata, "drug", "gene0", n_subsets=10, n_shuffles=19)
    np.testing.assert_array_equal(adata.X, before.X)
    assert set(adata.uns) == set(before.uns)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "match"),
    [
        (
            ("drug", "Gene0"),
            {},
            MissingNameError,
            "no candidate gene of the group 'drug'. Did you mean 'gene0'",
        ),
        (("drug", "gene11"), {}, MissingNameError, "'gene11' is no candidate gene"),
        (("small", "gene0"), {}, MissingNameError, "was not scored: 5 cells"),
        (("Drug", "gene0"), {}, MissingNameError, "Did you mean 'drug'"),
        (("drug", "gene0"), {"key": "other"}, MissingNameError, "pass key="),
        (("drug", "gene0"), {"groupby": "tretment"}, MissingNameError, "Did you mean 'treatment'"),
        (("drug", "gene0"), {"control": "contrl"}, MissingNameError, "Did you mean 'control'"),
        (("drug", "gene0"), {"n_subsets": 1}, InputError, "n_subsets is a whole number of at least 2"),
        (("drug", "gene0"), {"n_shuffles": 5}, InputError, "n_shuffles is a whole number of at least 19"),
        (("drug", "gene0"), {"rng": -1}, InputError, "-1 is no seed"),
    ],
)
def test_bad_input(adata, arguments, options, error, match):
    with pytest.raises(error, match=match):
        graph_difference(adata, *arguments, **options)


def test_an_object_without_the_candidates(adata):
    with pytest.raises(MissingNameError, match=r"adata\.X has no gene 'gene5', a candidate"):
        graph_difference(adata[:, [name for name in GENES if name != "gene5"]], "drug", "gene0")


def test_values_that_are_not_finite(adata):
    adata.X[0, 0] = np.nan
    with pytest.raises(InputError, match="NaN or infinite"):
        graph_difference(adata, "drug", "gene0")


def test_a_single_candidate(adata):
    result = adata.uns["cdn_targets"]
    result["table"] = result["table"].iloc[[10]]
    with pytest.raises(InputError, match="only candidate"):
        graph_difference(adata, "drug", "gene0")
