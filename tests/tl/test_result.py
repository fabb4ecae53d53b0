"""The result in files, and its reading by scanpy's own functions."""

import warnings

import anndata as ad
import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from matplotlib import pyplot as plt

import cdn_sc
from cdn_sc.get import predicted_targets_df
from cdn_sc.tl import predict_targets, to_rank_genes_groups
from cdn_sc.tl._result import GroupResult, assemble_table, skipped_table


@pytest.fixture(scope="module")
def large_result():
    """A result of 10,000 groups with 20 candidate genes each, made by the code behind `predict_targets`."""
    rng = np.random.default_rng(0)
    results = [
        GroupResult(
            group=f"guide/{i} + other",
            genes=np.sort(rng.choice(2000, 20, replace=False)),
            logits=rng.normal(size=20),
            logfoldchange=rng.normal(size=20),
            columns={"depth": rng.normal(size=20)},
        )
        for i in range(10_000)
    ]
    return {
        "params": {
            "groupby": "guide",
            "control": ["a", "b"],
            "groups": "all",
            "n_genes": 20,
            "use_raw": False,
        },
        "table": assemble_table(results, pd.Index([f"gene{i}" for i in range(2000)])),
        "skipped": skipped_table({f"small/{i}": "3 cells, min_cells=10" for i in range(500)}),
    }


def round_trip(adata, path, kind):
    with warnings.catch_warnings():
        # anndata tells of its own plans for zarr's formats.
        warnings.filterwarnings("ignore", message=".*zarr.*")
        getattr(adata, f"write_{kind}")(path)
        return getattr(ad, f"read_{kind}")(path)


def assert_equal_results(read, written):
    pd.testing.assert_frame_equal(read["table"], written["table"], check_index_type=False)
    pd.testing.assert_frame_equal(read["skipped"], written["skipped"], check_index_type=False)
    assert set(read["params"]) == set(written["params"])
    for name, value in written["params"].items():
        if isinstance(value, list):
            assert list(read["params"][name]) == value
        else:
            assert read["params"][name] == value
            assert type(read["params"][name]) in (str, bool, int, float, np.bool_, np.int64, np.float64)


@pytest.mark.parametrize("kind", ["h5ad", "zarr"])
def test_10_000_groups_come_back_equal(large_result, tmp_path, kind):
    assert large_result["table"]["group"].nunique() == 10_000
    assert len(large_result["table"]) == 200_000
    adata = ad.AnnData(np.zeros((2, 2), np.float32), uns={"cdn_targets": large_result})
    read = round_trip(adata, tmp_path / "result", kind)
    assert_equal_results(read.uns["cdn_targets"], large_result)


@pytest.mark.parametrize("kind", ["h5ad", "zarr"])
@pytest.mark.parametrize("options", [{}, {"groups": ["drug_A", "x/y"], "n_genes": None, "kind": "knockdown"}])
def test_what_predict_targets_writes_comes_back_equal(screen, predictor, tmp_path, kind, options):
    predict_targets(screen, "perturbation", "control", **options)
    read = round_trip(screen, tmp_path / "result", kind)
    assert_equal_results(read.uns["cdn_targets"], screen.uns["cdn_targets"])


def test_table_does_not_depend_on_the_order_of_results():
    results = [GroupResult(name, np.array([0, 2]), np.array([1.0, 2.0]), np.zeros(2)) for name in "ba"]
    names = pd.Index(["x", "y", "z"])
    table = assemble_table(results, names)
    pd.testing.assert_frame_equal(assemble_table(results[::-1], names), table)
    assert list(table["group"]) == ["a", "a", "b", "b"]
    assert list(table["gene"]) == ["z", "x"] * 2
    assert list(table["gene"].cat.categories) == ["x", "z"]


def test_extreme_logits_give_scores_between_0_and_1():
    results = [GroupResult("a", np.arange(3), np.array([-1e4, 0.0, 1e4], np.float32), np.zeros(3))]
    assert list(assemble_table(results, pd.Index(["x", "y", "z"]))["score"]) == [1.0, 0.5, 0.0]


@pytest.fixture
def converted(screen, predictor):
    predict_targets(screen, "perturbation", "control")
    to_rank_genes_groups(screen)
    return screen


def test_scanpy_reads_the_converted_result(converted):
    table = converted.uns["cdn_targets"]["table"]
    read = sc.get.rank_genes_groups_df(converted, None)
    for name, theirs in {
        "group": "group",
        "gene": "names",
        "score": "scores",
        "logfoldchange": "logfoldchanges",
    }.items():
        assert list(table[name]) == list(read[theirs]), name
    assert read["pvals"].isna().all()
    assert read["pvals_adj"].isna().all()
    written = converted.uns["rank_genes_groups"]
    assert written["params"] == {
        "groupby": "perturbation",
        "reference": "control",
        "method": "cdn_sc",
        "use_raw": False,
        "layer": None,
        "corr_method": "none",
    }
    assert [written[name].dtype[0].kind for name in ("names", "scores", "pvals")] == ["O", "f", "f"]


@pytest.mark.parametrize("kind", ["h5ad", "zarr"])
def test_converted_result_survives_files(converted, tmp_path, kind):
    read = round_trip(converted, tmp_path / "result", kind)
    pd.testing.assert_frame_equal(
        sc.get.rank_genes_groups_df(read, ["x/y", "A+B"]),
        sc.get.rank_genes_groups_df(converted, ["x/y", "A+B"]),
        check_dtype=False,
    )


def test_chosen_groups_and_copy(screen, predictor):
    predict_targets(screen, "perturbation", ["control", "drug_B"])
    copied = to_rank_genes_groups(screen, ["x/y", "drug_A"], key_added="rgg", copy=True)
    assert "rgg" not in screen.uns
    assert copied.uns["rgg"]["names"].dtype.names == ("x/y", "drug_A")
    assert copied.uns["rgg"]["params"]["reference"] == "control, drug_B"


def test_groups_are_cut_to_the_shortest(converted):
    result = converted.uns["cdn_targets"]
    table = result["table"]
    result["table"] = table[(table["group"] != "x/y") | (table["rank"] <= 3)]
    with pytest.warns(UserWarning, match="keeps its best 3 genes of up to 12") as caught:
        to_rank_genes_groups(converted)
    assert caught[0].filename == __file__
    assert converted.uns["rank_genes_groups"]["names"].shape == (3,)
    assert converted.uns["rank_genes_groups"]["names"]["drug_A"][0] == "gene1"


def test_bad_conversions(screen, converted):
    with pytest.raises(KeyError, match=r"under 'other'.*under 'cdn_targets': pass key="):
        to_rank_genes_groups(screen, key="other")
    with pytest.raises(KeyError, match=r"no group 'drug_a'.*'drug_A'"):
        to_rank_genes_groups(screen, ["drug_a"])
    with pytest.raises(ValueError, match=r"groups=\['drug_A'\]"):
        to_rank_genes_groups(screen, "drug_A")
    with pytest.raises(ValueError, match="empty list"):
        to_rank_genes_groups(screen, [])
    with pytest.raises(ValueError, match=r"groups holds \['drug_A'\], a list"):
        to_rank_genes_groups(screen, [["drug_A"]])
    before = screen.uns["cdn_targets"]
    with pytest.raises(ValueError, match="key_added='cdn_targets' holds predicted targets"):
        to_rank_genes_groups(screen, key_added="cdn_targets")
    assert set(screen.uns["cdn_targets"]) == set(before) == {"params", "table", "groups", "skipped"}


@pytest.mark.parametrize("labels", [[0, 1, 2], [0.0, 1.0, 2.0], [False, True, None]])
def test_labels_that_are_no_strings_are_found_by_all_readers(screen, predictor, labels):
    control, wanted, *_ = labels
    screen.obs["dose"] = pd.Series(np.resize(labels, screen.n_obs), index=screen.obs_names, dtype=object)
    if None not in labels:
        screen.obs["dose"] = screen.obs["dose"].astype(type(wanted))
    predict_targets(screen, "dose", control, groups=[wanted])
    name = str(wanted)
    table = predicted_targets_df(screen, wanted)
    assert list(table.columns) == ["gene", "rank", "score", "logfoldchange", "noise"]
    for label in (1, name, np.array(wanted).item()):
        pd.testing.assert_frame_equal(predicted_targets_df(screen, label), table)
        to_rank_genes_groups(screen, label if not isinstance(label, str) else [label])
        assert screen.uns["rank_genes_groups"]["names"].dtype.names == (name,)
        axis = cdn_sc.pl.predicted_targets(screen, label, n_genes=2, show=False)
        assert axis.get_title() == name
        plt.close("all")
    with pytest.raises(KeyError, match="no group '7'"):
        predicted_targets_df(screen, 7)


@pytest.mark.parametrize("length", [5, 15, 16])
def test_groups_that_do_not_fit_that_layout_warn(tmp_path, length):
    fitting = 65_536 // (52 + 8 * (length // 8 + 1)) - 1
    for n_groups, fits in ((fitting, True), (fitting + 3, False)):
        names = [f"{i:0{length}d}" for i in range(n_groups)]
        results = [GroupResult(name, np.array([0]), np.zeros(1), np.zeros(1)) for name in names]
        params = {"groupby": "guide", "control": "c", "use_raw": False, "layer": ""}
        result = {
            "params": params,
            "table": assemble_table(results, pd.Index(["x"])),
            "skipped": skipped_table({}),
        }
        adata = ad.AnnData(np.zeros((2, 2), np.float32), uns={"cdn_targets": result})
        if fits:
            to_rank_genes_groups(adata)
            adata.write_h5ad(tmp_path / "fits.h5ad")
            continue
        with pytest.warns(UserWarning, match=f"{n_groups} groups are more than an h5ad file can hold"):
            to_rank_genes_groups(adata)
        with pytest.raises(Exception, match="object header message is too large"):
            adata.write_h5ad(tmp_path / "wide.h5ad")


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore:set_ticklabels:UserWarning")
@pytest.mark.parametrize(
    "plot", ["dotplot", "matrixplot", "heatmap", "violin", "tracksplot", "stacked_violin"]
)
def test_scanpy_plots_the_converted_result(converted, plot):
    with mpl.rc_context({"backend": "Agg"}):
        options = {} if plot == "violin" else {"dendrogram": False}
        draw = getattr(sc.pl, f"rank_genes_groups_{plot}")
        draw(converted, n_genes=3, show=False, **options)
        if plot == "dotplot":
            # scanpy colours by such values only where every category has them, and the reference has none.
            perturbed = converted[converted.obs["perturbation"] != "control"].copy()
            draw(perturbed, n_genes=3, values_to_plot="logfoldchanges", show=False, **options)
        from matplotlib import pyplot as plt

        assert plt.get_fignums()
        plt.close("all")
