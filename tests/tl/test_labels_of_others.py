"""Labels as other people have them: numbers, dates, missing ones as strings, foreign characters."""

import re
import warnings
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc

from cdn_sc import get, pl
from cdn_sc.errors import InputError
from cdn_sc.metrics import target_metrics
from cdn_sc.tl import fine_tune, predict_targets, to_rank_genes_groups
from cdn_sc.tl._known_targets import known_targets, validation_labels


def groups_of(adata, **options):
    predict_targets(adata, "perturbation", progress=False, **options)
    return list(adata.uns["cdn_targets"]["table"]["group"].cat.categories)


def relabelled(screen, labels, dtype=object):
    """The screen, its control and first two groups with these labels, other cells without one."""
    old = ["control", "A+B", "drug_A"]
    values = screen.obs["perturbation"].astype(object).map(dict(zip(old, labels, strict=True)))
    screen.obs["perturbation"] = pd.Series(list(values), index=screen.obs_names, dtype=dtype)
    return screen


@pytest.mark.parametrize(
    ("labels", "dtype", "names"),
    [
        ([0.0, 1.0, 2.0], float, ["1.0", "2.0"]),
        ([0, 1, 2], "Int64", ["1", "2"]),
        ([0, 1.5, "x"], object, ["1.5", "x"]),
        ([False, True, "x"], object, ["True", "x"]),
        (list(pd.to_datetime(["2020-01-01", "2020-01-02", "2020-01-03"])), object, None),
        (list(pd.interval_range(0.0, 3.0)), object, ["(1.0, 2.0]", "(2.0, 3.0]"]),
        (["c", "ü", "基"], "string", ["ü", "基"]),
        (["c", "1", "2"], "category", ["1", "2"]),
        ([0, 1, 2], "category", None),
    ],
)
def test_every_place_finds_the_same_labels(screen, predictor, labels, dtype, names, tmp_path):
    relabelled(screen, labels, dtype)
    control, first, second = labels
    found = groups_of(screen, control=control, groups=[second, first])
    assert names is None or found == names
    assert groups_of(screen, control=[control], groups="all") == found
    for adata in (screen, strings_only(screen)):
        for label, name in ((first, found[0]), (found[0], found[0]), (second, found[1])):
            expected = get.predicted_targets_df(adata, name)
            pd.testing.assert_frame_equal(get.predicted_targets_df(adata, label), expected)
        axis = pl.predicted_targets(adata, groups=[first], targets={first: "gene0"}, show=False)
        assert [tick.get_text() for tick in axis.get_yticklabels() if tick.get_fontweight() == "bold"] == [
            "gene0"
        ]
        to_rank_genes_groups(adata, groups=[second], key_added="converted")
        assert adata.uns["converted"]["names"].dtype.names == (found[1],)
    table = screen.uns["cdn_targets"]["table"]
    scored = target_metrics(table, {first: "gene0", second: ["gene1"]})
    assert list(scored["group"]) == found
    columns = get.graph_difference(screen, first, "gene0", n_subsets=2, n_shuffles=19).columns
    assert columns[0] == "neighbour"


def strings_only(adata):
    """The result alone, as in a file whose labels were lost."""
    return ad.AnnData(np.zeros((2, 3), np.float32), uns={"cdn_targets": adata.uns["cdn_targets"]})


def test_targets_and_validation_of_fine_tuning_are_found_by_the_same_rule():
    genes = pd.Index(["x", "y"])
    labels = ["0.0", "1.0", "2.0"]
    for given in (
        {1: "x", 2: "y"},
        {1.0: "x", "2": "y"},
        {np.int64(1): ["x"], "2.0": "y", 0: None, "nan": "x"},
    ):
        found = known_targets(given, ["1.0", "2.0"], genes, "obs", labels)
        assert {group: list(of_it) for group, of_it in found.items()} == {"1.0": [0], "2.0": [1]}
    assert validation_labels([1, "2"], labels) == ["1.0", "2.0"]
    with pytest.raises(InputError, match="validation names 7, which is none of the groups"):
        validation_labels([7], labels)
    with pytest.raises(KeyError, match="obs has no group 7 "):
        known_targets({7: "x"}, ["1.0"], genes, "obs", labels)


def test_fine_tuning_asks_for_labels_by_value(screen):
    relabelled(screen, [0.0, 1.0, 2.0], float)
    with pytest.raises(InputError, match="validation names 9, which is none of the groups"):
        fine_tune(screen, "perturbation", 0, targets={1: "gene0", 2.0: "gene1"}, validation=[9])


def test_plots_say_that_no_label_of_the_targets_is_there(screen, predictor):
    groups_of(screen, control="control")
    with pytest.warns(
        UserWarning, match="none of the labels in targets is a group .*'drug_a'. Did you mean 'drug_"
    ):
        pl.target_heatmap(screen, targets={"drug_a": "gene0"}, show=False)


@pytest.mark.parametrize("printed", ["nan", "NaN", "None", "<NA>", "", "  ", "nan nan", "NA"])
def test_missing_labels_as_strings_are_left_out(screen, predictor, printed):
    labels = screen.obs["perturbation"].astype(object)
    screen.obs["perturbation"] = labels.replace("x/y", printed)
    match = r"20 cells have a label that is how a missing one is printed \(.*name it in control= or groups="
    with pytest.warns(UserWarning, match=match):
        assert groups_of(screen, control="control") == ["A+B", "drug_A", "drug_B"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert groups_of(screen, control="control", groups=[printed, "drug_A"]) == sorted([printed, "drug_A"])
        assert groups_of(screen, control=printed, groups=["drug_A"]) == ["drug_A"]


def test_a_label_with_a_missing_part_is_scored_with_a_warning(screen, predictor):
    labels = screen.obs["perturbation"].astype(object)
    screen.obs["perturbation"] = labels.replace("x/y", "nan 10.0")
    with pytest.warns(UserWarning, match=r"1 groups have a label with a missing part \('nan 10.0'\)"):
        assert "nan 10.0" in groups_of(screen, control="control")


def test_the_recipe_for_doses_leaves_missing_labels_missing(screen, predictor, tmp_path):
    screen.obs["drug"] = screen.obs["perturbation"].astype(object).replace({"control": "DMSO", "x/y": np.nan})
    screen.obs["dose"] = np.where(screen.obs["drug"] == "drug_A", np.nan, 10.0)
    page = (Path(__file__).resolve().parents[2] / "docs" / "preparing_data.md").read_text(encoding="utf-8")
    (recipe,) = re.findall(r"^```python\n(condition = .*?)^```$", page, re.M | re.S)
    exec(recipe, {"adata": screen})
    screen.write_h5ad(tmp_path / "screen.h5ad")
    for adata in (screen, ad.read_h5ad(tmp_path / "screen.h5ad")):
        predict_targets(adata, "condition", "DMSO", progress=False)
        table = adata.uns["cdn_targets"]["table"]
        assert list(table["group"].cat.categories) == ["A+B 10.0", "drug_B 10.0"]


@pytest.mark.parametrize("bad", ["a\0b", "a\ud800"])
def test_labels_and_genes_that_no_file_can_hold_are_found_before_the_work(screen, predictor, bad):
    genes = screen.var_names
    screen.var_names = [bad, *genes[1:]]
    with pytest.raises(InputError, match=r"adata.var_names: the name .* h5ad files cannot"):
        groups_of(screen, control="control")
    screen.var_names = genes
    screen.obs["perturbation"] = screen.obs["perturbation"].astype(object).replace("x/y", bad)
    with pytest.raises(InputError, match=r"perturbation'\]: the label .* h5ad files cannot"):
        groups_of(screen, control="control")
    assert not predictor.calls
    assert groups_of(screen, control="control", groups=["drug_A"]) == ["drug_A"]


def test_labels_that_cannot_be_labels(screen, predictor):
    screen.obs["perturbation"] = pd.Series([["a"]] * screen.n_obs, index=screen.obs_names)
    with pytest.raises(InputError, match="holds values that cannot be labels"):
        groups_of(screen, control="control")


def test_an_empty_label_does_not_break_the_converted_result(screen, predictor):
    screen.obs["perturbation"] = screen.obs["perturbation"].astype(object).replace("x/y", "")
    groups_of(screen, control="control", groups=["", "drug_A"])
    with pytest.warns(UserWarning, match="a group with an empty label is left out"):
        to_rank_genes_groups(screen)
    assert len(sc.get.rank_genes_groups_df(screen, "drug_A")) == 12
    with pytest.raises(InputError, match="the only group has an empty label"):
        to_rank_genes_groups(screen, groups=[""])


def test_control_characters_are_not_sent_to_the_terminal(screen, predictor, capsys):
    screen.obs["perturbation"] = screen.obs["perturbation"].astype(object).replace("x/y", "x\x1b[31my")
    predictor.most_at_once = 1
    predict_targets(screen, "perturbation", "control", progress=True)
    assert "\x1b[31m" not in capsys.readouterr().err
    with pytest.warns(UserWarning, match="could not be scored") as caught:
        predict_targets(small(screen), "perturbation", "control", progress=False)
    assert "\x1b" not in str(caught[0].message)


def small(screen):
    """The screen with too few cells of the group that has the control character."""
    of_it = np.flatnonzero(screen.obs["perturbation"] == "x\x1b[31my")[3:]
    return screen[np.setdiff1d(np.arange(screen.n_obs), of_it)].copy()
