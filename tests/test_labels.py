"""The one rule for labels: how they are found, told from missing ones, and shown."""

import datetime as dt

import numpy as np
import pandas as pd
import pytest

from cdn_sc._labels import (
    LabelIndex,
    as_genes,
    check_can_be_written,
    has_missing_part,
    is_missing,
    label_name,
    names_of_labels,
    printable,
)
from cdn_sc.errors import InputError


@pytest.mark.parametrize(
    ("names", "labels", "found"),
    [
        (["1.0", "2.0"], [1, 1.0, "1", "1.0", np.int8(1), np.float32(1), True], "1.0"),
        (["1", "2"], [1, 1.0, "1", "1.0", np.int64(1), np.float64(1), np.True_], "1"),
        (["0.1"], [0.1, np.float32(0.1), "0.1"], "0.1"),
        (["True", "False"], [True, np.True_, "True", 1, 1.0], "True"),
        (["-3"], [-3, -3.0, "-3.0"], "-3"),
        (["2020-01-02 00:00:00"], [pd.Timestamp("2020-01-02"), np.datetime64("2020-01-02")], None),
        (["1 days 00:00:00"], [pd.Timedelta(days=1), np.timedelta64(1, "D")], None),
        (["2020-01-02 00:00:00"], [dt.datetime(2020, 1, 2)], None),
        (["(0, 1]"], [pd.Interval(0, 1), "(0, 1]"], None),
        (["1", "1.0"], ["1", 1], "1"),
        (["1", "1.0"], ["1.0", 1.0], "1.0"),
        (["b'x'"], [b"x"], None),
    ],
)
def test_labels_are_found_by_value_or_by_string(names, labels, found):
    index = LabelIndex(names, "here")
    assert {index.find(label) for label in labels} == {found or names[0]}


@pytest.mark.parametrize("label", ["A", "a ", "2", 2, False, None, 1.5, "01"])
def test_labels_that_are_not_there(label):
    assert LabelIndex(["a", "1"], "here").find(label) is None


def test_a_label_that_stands_for_several():
    with pytest.raises(InputError, match=r"1 stands for several labels of here: '1\.0', '1\.00'"):
        LabelIndex(["1.0", "1.00"], "here").find(1)
    with pytest.raises(InputError, match=r"1 and '1' both stand for the label '1\.0' of here"):
        LabelIndex(["1.0"], "here").by_name({1: "x", "1": "y"})
    with pytest.raises(InputError, match="here has labels that differ only by type, such as 1 and '1'"):
        names_of_labels(["a", 1, "1"], "here")


def test_mappings_by_name():
    for given in ({1: "x", "zz": "y"}, pd.Series({1: "x", "zz": "y"})):
        assert LabelIndex(["1.0", "b"], "here").by_name(given) == ({"1.0": "x"}, {"zz": "y"})


@pytest.mark.parametrize(
    "name", ["nan", "NaN", "None", "<NA>", "NaT", "NA", "N/A", "", " ", "\t", " nan ", "nan nan", "nan_None"]
)
def test_strings_that_stand_for_a_missing_label(name):
    assert is_missing(name)


def test_strings_that_pandas_prints_for_missing_labels():
    printed = pd.Series([None, np.nan, pd.NA, pd.NaT], dtype=object).map(label_name)
    assert printed.map(is_missing).all()


@pytest.mark.parametrize("name", ["NANS", "gene nan", "nanog", "+", "-", "0", "none such", "NA1", "drug nan"])
def test_other_strings_are_labels(name):
    assert not is_missing(name)


def test_labels_with_a_missing_part():
    assert [has_missing_part(name) for name in ("nan 10.0", "drug nan", "a_<NA>", "nanog 1", "NA 1")] == [
        True,
        True,
        True,
        False,
        False,
    ]


def test_printable():
    assert printable("A+B ü 基因") == "A+B ü 基因"
    assert printable("a\nb\tc") == "a b c"
    assert printable("x\x1b[31m\u202e\0") == r"x\x1b[31m\u202e\x00"


@pytest.mark.parametrize("name", ["a\0b", "a\ud800"])
def test_names_that_no_file_can_hold(name):
    with pytest.raises(InputError, match=r"the label .* holds a character that h5ad files cannot"):
        check_can_be_written(["ü", name], "the label")


def test_genes_of_a_group():
    assert as_genes("a", ["x", None, np.nan, np.float32("nan"), "", pd.NA, "y", "x"]) == ["x", "y"]
    assert as_genes("a", None) == as_genes("a", float("nan")) == as_genes("a", "") == []
    with pytest.raises(InputError, match="truth of group 'a' holds 3, and names of genes are wanted"):
        as_genes("a", [3])
