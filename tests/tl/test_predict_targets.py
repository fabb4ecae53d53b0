"""What `predict_targets` writes, and that it does not depend on what it should not depend on."""

import doctest
import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from scipy import sparse

import cdn_sc
from cdn_sc.tl import predict_targets

GROUPS = ["A+B", "drug_A", "drug_B", "x/y"]


def table_of(adata, **options):
    predict_targets(adata, "perturbation", "control", **options)
    return adata.uns["cdn_targets"]["table"]


def test_result_has_the_documented_fields(screen, predictor):
    options = {"kind": "knockdown", "n_subsets": 7, "estimator": "causal-learn", "test": "kci"}
    assert predict_targets(screen, "perturbation", "control", **options) is None
    result = screen.uns["cdn_targets"]
    assert set(result) == {"params", "table", "groups", "skipped"}
    table = result["table"]
    assert list(table.columns) == ["group", "gene", "rank", "score", "logfoldchange", "noise"]
    assert list(table["group"].cat.categories) == GROUPS
    assert isinstance(table["gene"].dtype, pd.CategoricalDtype)
    assert [str(table[name].dtype) for name in ("rank", "score", "logfoldchange")] == [
        "int32",
        "float32",
        "float32",
    ]
    assert not table.isna().any().any()
    for position, (_, rows) in enumerate(table.groupby("group", observed=True)):
        assert list(rows["rank"]) == list(range(1, 13))
        assert (np.diff(rows["score"]) <= 0).all()
        assert rows["gene"].iloc[0] == f"gene{position}"
    for name, value in options.items():
        assert {call[name] for call in predictor.calls} == {value}
    assert result["params"] == {
        "groupby": "perturbation",
        "control": "control",
        "groups": "all",
        "model": "fake",
        "model_version": "1.2",
        "model_sha256": "ab" * 32,
        "kind": "knockdown",
        "relations": "",
        "relations_key": "",
        "layer": "",
        "use_raw": False,
        "mask_var": "",
        "n_genes": -1,
        "min_detection": 0.01,
        "n_subsets": 7,
        "estimator": "causal-learn",
        "test": "kci",
        "correlations": "",
        "precision": "float32",
        "min_cells": 10,
        "seed": 0,
        "version": cdn_sc.__version__,
    }
    assert result["skipped"].empty


def test_copy_leaves_the_original_alone(screen, predictor):
    written = predict_targets(screen, "perturbation", "control", copy=True, key_added="mine")
    assert "mine" in written.uns
    assert not screen.uns


def test_score_is_the_sigmoid_of_the_logits(screen, predictor):
    table = table_of(screen, groups=["drug_A"])
    call = predictor.calls[0]
    by_name = sorted(table["gene"].astype(str))  # the order in which genes enter the model
    order = [by_name.index(gene) for gene in table["gene"]]
    logits = np.abs(call["perturbed"].mean(0) - call["control"].mean(0))[order] + table["noise"].to_numpy()
    np.testing.assert_allclose(table["score"], 1 / (1 + np.exp(-logits)), rtol=1e-5)


def test_log_fold_change_is_scanpys(screen, predictor):
    ours = table_of(screen).set_index(["group", "gene"])["logfoldchange"]
    screen.uns["log1p"] = {"base": None}
    sc.tl.rank_genes_groups(screen, "perturbation", reference="control", method="t-test")
    for group in GROUPS:
        theirs = sc.get.rank_genes_groups_df(screen, group).set_index("names")["logfoldchanges"]
        np.testing.assert_allclose(ours[group].reindex(theirs.index), theirs, rtol=1e-4, atol=1e-5)


def as_kind(adata, kind, tmp_path):
    values = adata.X.toarray()
    if kind.startswith("backed"):
        if kind == "backed dense":
            adata.X = values
        elif kind == "backed csc":
            adata.X = adata.X.tocsc()
        adata.write_h5ad(tmp_path / "cells.h5ad")
        return ad.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    adata.X = {
        "dense": lambda: values,
        "dense float64": lambda: values.astype(np.float64),
        "fortran": lambda: np.asfortranarray(values),
        "csc_matrix": lambda: sparse.csc_matrix(values),
        "csr_array": lambda: sparse.csr_array(values),
        "csc_array": lambda: sparse.csc_array(values),
    }[kind]()
    return adata


@pytest.mark.parametrize(
    "kind",
    [
        "dense",
        "dense float64",
        "fortran",
        "csc_matrix",
        "csr_array",
        "csc_array",
        "backed csr",
        "backed csc",
        "backed dense",
    ],
)
def test_every_kind_of_matrix_gives_the_same(screen, predictor, kind, tmp_path):
    expected = table_of(screen.copy())
    adata = as_kind(screen, kind, tmp_path)
    pd.testing.assert_frame_equal(table_of(adata), expected, rtol=1e-5)
    if adata.isbacked:
        adata.file.close()


def test_layer_and_raw_are_read(screen, predictor):
    expected = table_of(screen.copy())
    other = screen.copy()
    other.layers["log"] = other.X.copy()
    other.raw = screen
    other.X = sparse.csr_matrix(np.zeros(other.shape, np.float32))
    pd.testing.assert_frame_equal(table_of(other, layer="log"), expected)
    assert other.uns["cdn_targets"]["params"]["layer"] == "log"
    other = other[:, :5].copy()
    pd.testing.assert_frame_equal(table_of(other, use_raw=True), expected)


def test_results_do_not_depend_on_other_groups_order_or_jobs(screen, predictor):
    expected = table_of(screen)
    for options in (
        {"groups": GROUPS[::-1]},
        {"n_jobs": 3},
        {"n_jobs": -1, "groups": set(GROUPS)},
    ):
        pd.testing.assert_frame_equal(table_of(screen, **options), expected)
    alone = table_of(screen, groups=["drug_B"])
    rows = expected[expected["group"] == "drug_B"].reset_index(drop=True)
    pd.testing.assert_frame_equal(alone.drop(columns=["group", "gene"]), rows.drop(columns=["group", "gene"]))
    assert list(alone["gene"]) == list(rows["gene"])

    screen.obs["perturbation"] = screen.obs["perturbation"].cat.reorder_categories([*GROUPS[::-1], "control"])
    pd.testing.assert_frame_equal(table_of(screen), expected)
    seeded = table_of(screen, rng=1)
    assert not np.array_equal(seeded["noise"], expected["noise"])


def test_rng_takes_a_generator_and_keeps_the_seed(screen, predictor):
    first = table_of(screen, rng=np.random.default_rng(3))
    seed = screen.uns["cdn_targets"]["params"]["seed"]
    pd.testing.assert_frame_equal(table_of(screen, rng=seed), first)
    pd.testing.assert_frame_equal(table_of(screen, rng=np.random.default_rng(3)), first)


def test_the_global_seed_is_not_touched(screen, predictor):
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    table_of(screen)
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002


def test_several_control_labels(screen, predictor):
    predict_targets(screen, "perturbation", ["control", "drug_B"])
    result = screen.uns["cdn_targets"]
    assert list(result["table"]["group"].cat.categories) == ["A+B", "drug_A", "x/y"]
    assert result["params"]["control"] == ["control", "drug_B"]
    assert {len(call["control"]) for call in predictor.calls} == {60}


def test_labels_of_any_type_missing_ones_and_unused_categories(screen, predictor):
    expected = table_of(screen)
    screen.obs["perturbation"] = screen.obs["perturbation"].cat.add_categories(["unused"])
    pd.testing.assert_frame_equal(table_of(screen), expected)
    screen.obs["perturbation"] = screen.obs["perturbation"].astype(str)
    pd.testing.assert_frame_equal(table_of(screen), expected)
    assert not isinstance(screen.obs["perturbation"].dtype, pd.CategoricalDtype)

    numbers = screen.obs["perturbation"].map({name: i for i, name in enumerate(["control", *GROUPS])})
    screen.obs["dose"] = numbers.where(numbers < 4).astype(float)
    predict_targets(screen, "dose", 0, groups=[1, 2.0])
    assert list(screen.uns["cdn_targets"]["table"]["group"].cat.categories) == ["1.0", "2.0"]
    assert screen.uns["cdn_targets"]["params"]["control"] == "0"
    predict_targets(screen, "dose", 0.0)
    assert list(screen.uns["cdn_targets"]["table"]["group"].cat.categories) == ["1.0", "2.0", "3.0"]


def test_candidates_vary_in_an_arm_and_are_the_most_changed(screen, predictor):
    values = screen.X.toarray()
    values[:, 9] = 0.5  # constant in both arms: no score
    values[screen.obs["perturbation"] == "drug_A", 8] = 0  # silent in one arm: a candidate
    screen.X = values
    table = table_of(screen, groups=["drug_A"])
    assert "gene9" not in set(table["gene"])
    assert {"gene1", "gene8"} <= set(table["gene"])
    table = table_of(screen, groups=["drug_A"], n_genes=2)
    assert set(table["gene"]) == {"gene1", "gene8"}
    assert predictor.calls[-1]["control"].shape == (40, 2)


def test_candidates_follow_welchs_t(screen, predictor):
    from scipy.stats import ttest_ind

    values, labels = screen.X.toarray(), screen.obs["perturbation"]
    t = ttest_ind(values[labels == "x/y"], values[labels == "control"], equal_var=False).statistic
    expected = {f"gene{i}" for i in np.argsort(-np.abs(t))[:5]}
    assert set(table_of(screen, groups=["x/y"], n_genes=5)["gene"]) == expected


@pytest.mark.parametrize("as_column", [True, False])
def test_mask_var_replaces_the_choice(screen, predictor, as_column):
    mask = np.isin(np.arange(12), [2, 3, 5])
    screen.var["mine"] = mask
    table = table_of(screen, mask_var="mine" if as_column else mask)
    assert set(table["gene"]) == {"gene2", "gene3", "gene5"}
    assert screen.uns["cdn_targets"]["params"]["mask_var"] == ("mine" if as_column else "array")


def test_the_model_gets_one_control_array_while_the_candidates_stay(screen, predictor):
    table_of(screen)
    assert len({id(call["control"]) for call in predictor.calls}) == 1


def test_groups_that_cannot_be_scored_are_skipped_with_one_warning(screen, predictor):
    labels = screen.obs["perturbation"].astype(str)
    labels[labels[labels == "x/y"].index[:15]] = np.nan
    screen.obs["perturbation"] = labels
    with pytest.warns(UserWarning, match=r"1 of 4 groups .*'x/y' \(5 cells, min_cells=10\)") as caught:
        table = table_of(screen)
    assert len(caught) == 1
    assert list(table["group"].cat.categories) == GROUPS[:3]
    skipped = screen.uns["cdn_targets"]["skipped"]
    assert skipped.to_dict("list") == {"group": ["x/y"], "reason": ["5 cells, min_cells=10"]}


def test_a_view_gets_the_result_and_its_parent_does_not(screen, predictor):
    view = screen[screen.obs["perturbation"] != "x/y"]
    with pytest.warns(ad.ImplicitModificationWarning):
        predict_targets(view, "perturbation", "control")
    assert list(view.uns["cdn_targets"]["table"]["group"].cat.categories) == GROUPS[:3]
    assert not screen.uns


def test_only_one_comparison_is_dense_at_a_time(screen, predictor, monkeypatch):
    shapes = []
    for kind in (sparse.csr_matrix, sparse.csc_matrix):

        def toarray(self, *arguments, whole=kind.toarray, **options):
            shapes.append(self.shape)
            return whole(self, *arguments, **options)

        monkeypatch.setattr(kind, "toarray", toarray)
    table_of(screen, n_genes=3)
    assert shapes
    assert set(shapes) <= {(40, 3), (20, 3)}


def test_negative_values_are_welcome_and_scaled_ones_warn(screen, predictor):
    screen.X = screen.X.toarray() - 5
    table = table_of(screen, groups=["drug_A"])
    row = table.set_index("gene").loc["gene1"]
    values, drug = screen.X[:, 1], screen.obs["perturbation"] == "drug_A"
    control = screen.obs["perturbation"] == "control"
    assert row["logfoldchange"] == pytest.approx(values[drug].mean() - values[control].mean(), rel=1e-5)
    sc.pp.scale(screen)
    with pytest.warns(UserWarning, match="scaled or centred") as caught:
        predict_targets(screen, "perturbation", "control")
    assert len(caught) == 1
    assert caught[0].filename == __file__


def test_values_without_logarithm_warn(screen, predictor):
    screen.X = screen.X * 100
    with pytest.warns(UserWarning, match="do not look logarithmic"):
        table = table_of(screen)
    assert np.isfinite(table["logfoldchange"]).all()


def test_counts_are_taken_if_asked(screen, predictor):
    screen.X = np.round(np.expm1(screen.X.toarray()) * 2).astype(np.int64)
    assert len(table_of(screen, allow_counts=True)) == 48


def test_log_lines_and_progress(screen, predictor, monkeypatch, caplog, capsys):
    monkeypatch.setattr(cdn_sc.settings, "_verbosity", "info")
    with caplog.at_level("INFO", logger="cdn_sc"):
        table_of(screen)
    assert "4 groups" in caplog.messages[0]
    assert "model fake 1.2 on cpu" in caplog.messages[0]
    assert "adata.uns['cdn_targets']" in caplog.messages[-1]
    assert "predict targets: 100%" in capsys.readouterr().err
    table_of(screen, progress=False)
    assert "predict targets" not in capsys.readouterr().err


def test_out_of_device_memory_is_tried_again_then_explained(screen, predictor, monkeypatch):
    import torch

    predict, failures = predictor.predict, [True]

    def fails_once(*arguments, **options):
        if failures:
            failures.pop()
            raise torch.cuda.OutOfMemoryError("no room")
        return predict(*arguments, **options)

    monkeypatch.setattr(predictor, "predict", fails_once)
    assert len(table_of(screen)) == 48
    assert not failures

    def fails_always(*arguments, **options):
        raise torch.cuda.OutOfMemoryError("no room")

    monkeypatch.setattr(predictor, "predict", fails_always)
    with pytest.raises(cdn_sc.errors.DeviceMemoryError, match="lower n_genes"):
        table_of(screen, key_added="other")
    assert "other" not in screen.uns


@pytest.mark.filterwarnings("ignore:.*differences of means:UserWarning")
@pytest.mark.parametrize("as_sparse", [True, False])
@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        (np.float32, 1e20),
        (np.float32, -1e38),
        (np.float64, 1e300),
        (np.float64, -1e300),
        (np.float64, 1.7e308),
    ],
)
def test_group_with_a_value_too_large_is_skipped(screen, predictor, dtype, value, as_sparse):
    expected = table_of(screen.copy(), groups=["A+B", "drug_A", "drug_B"])
    values = screen.X.toarray().astype(dtype)
    values[np.flatnonzero(screen.obs["perturbation"] == "x/y")[0], 4] = value
    screen.X = sparse.csr_matrix(values) if as_sparse else values
    with pytest.warns(UserWarning, match=r"'x/y' \(values too large to compute with: up to 1") as caught:
        table = table_of(screen)
    assert len([each for each in caught if "differences of means" not in str(each.message)]) == 1
    pd.testing.assert_frame_equal(table, expected, rtol=1e-5)


@pytest.mark.filterwarnings("ignore:.*differences of means:UserWarning")
def test_control_with_a_value_too_large(screen, predictor):
    screen.X = screen.X.toarray()
    screen.X[np.flatnonzero(screen.obs["perturbation"] == "control")[0], 4] = 1e20
    with pytest.raises(ValueError, match=r"adata\.X: the control has values too large to compute with"):
        table_of(screen)


def test_group_without_finite_scores_is_skipped(screen, predictor, monkeypatch):
    predict = predictor.predict

    def overflows(control, perturbed, **options):
        prediction = predict(control, perturbed, **options)
        if not perturbed[:, 1].any():
            prediction.logits[3] = np.nan
        return prediction

    monkeypatch.setattr(predictor, "predict", overflows)
    with pytest.warns(UserWarning, match=r"1 of 4 .*'drug_A' \(the model gives scores that are not finite"):
        table = table_of(screen)
    assert list(table["group"].cat.categories) == ["A+B", "drug_B", "x/y"]


def test_group_with_fewer_genes_than_the_model_needs_is_skipped(screen, predictor):
    predictor.min_genes, predictor.max_genes = (
        2,
        1000,
    )  # as the published networks, which choose for each group
    values = np.full(screen.shape, 0.5, np.float32)
    values[:, 1] = screen.X[:, [1]].toarray()[:, 0]
    values[screen.obs["perturbation"] == "drug_A", 5] = np.arange(20)
    screen.X = values
    with pytest.warns(UserWarning, match=r"'A.B' \(1 candidate gene, and the model needs 2\)"):
        table = table_of(screen)
    assert list(table["group"].cat.categories) == ["drug_A"]


def test_log_fold_change_does_not_depend_on_other_groups(screen, predictor):
    expected = table_of(screen)["logfoldchange"].to_numpy()
    screen.X = screen.X.toarray()
    screen.X[np.flatnonzero(screen.obs["perturbation"] == "x/y")[0], 4] = -0.5
    table = table_of(screen)
    others = (table["group"] != "x/y").to_numpy()
    np.testing.assert_array_equal(table["logfoldchange"][others], expected[others])
    row = table[table["group"] == "x/y"].set_index("gene").loc["gene3"]
    control = screen.X[screen.obs["perturbation"] == "control", 3]
    assert row["logfoldchange"] == pytest.approx(-control.mean(), rel=1e-5)


def test_scores_are_kept_where_warnings_are_errors(screen, predictor):
    screen.obs["perturbation"] = screen.obs["perturbation"].astype(str)
    screen.obs.loc[screen.obs_names[0], "perturbation"] = "rare"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match=r"'rare' \(1 cell"):
            predict_targets(screen, "perturbation", "control")
    assert list(screen.uns["cdn_targets"]["table"]["group"].cat.categories) == GROUPS


def test_options_without_effect_warn_and_are_not_recorded(screen, predictor):
    recorded = ("kind", "n_subsets", "estimator", "test")
    predictor.uses_graphs = False
    table_of(screen, kind="knockout")
    params = screen.uns["cdn_targets"]["params"]
    assert [params[name] for name in recorded] == ["knockout", -1, "", ""]
    in_vain = {"n_subsets": 7, "estimator": "causal-learn", "test": "kci"}
    match = "n_subsets=7, estimator='causal-learn', test='kci' without effect: the model fake uses no"
    with pytest.warns(UserWarning, match=match) as caught:
        predict_targets(screen, "perturbation", "control", **in_vain)
    assert len(caught) == 1
    assert caught[0].filename == __file__

    predictor.uses_graphs, predictor.takes_kind = True, False
    with pytest.warns(UserWarning, match="^kind='knockout' without effect: the model fake cannot be told"):
        table_of(screen, kind="knockout")
    params = screen.uns["cdn_targets"]["params"]
    assert [params[name] for name in recorded] == ["", 50, "fci", "fisherz"]


def test_only_results_are_written_over(screen, predictor):
    table_of(screen)
    table_of(screen, n_genes=3)
    assert screen.uns["cdn_targets"]["params"]["n_genes"] == 3
    for key, value in (("log1p", {"base": None}), ("rank_genes_groups", {"params": {}}), ("notes", "mine")):
        screen.uns[key] = value
        with pytest.raises(ValueError, match=f"adata.uns\\['{key}'\\] is there already"):
            predict_targets(screen, "perturbation", "control", key_added=key)
        assert screen.uns[key] is value or dict(screen.uns[key]) == value


def test_example_of_the_docstring():
    runner = doctest.DocTestRunner()
    (example,) = doctest.DocTestFinder(recurse=False).find(predict_targets, "predict_targets", globs={})
    assert len(example.examples) == 9
    assert runner.run(example).failed == 0
