"""Values as other people have them: types, places, masks, bases of logarithms, broken files."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from scipy import sparse

from cdn_sc import get
from cdn_sc.errors import CdnScError, CountsError, InputError
from cdn_sc.tl import predict_targets
from cdn_sc.tl._expression import Expression


def scored(adata, **options):
    predict_targets(adata, "perturbation", "control", progress=False, **options)
    return adata.uns["cdn_targets"]["table"]


CONTAINERS = {
    "dense": np.asarray,
    "fortran": np.asfortranarray,
    "matrix": lambda values: np.asarray(values).view(np.matrix),
    "masked array without a mask": np.ma.array,
    **{
        kind: getattr(sparse, kind)
        for form in ("csr", "csc", "coo", "bsr", "dia", "lil", "dok")
        for kind in (f"{form}_matrix", f"{form}_array")
    },
}


class Holder:
    """What `Expression` reads of an AnnData; it takes containers that not every version of anndata takes."""

    uns, layers, raw = {}, {}, None

    def __init__(self, values):
        self.X, self.var = values, pd.DataFrame(index=[f"gene{i}" for i in range(values.shape[1])])
        self.var_names = self.var.index
        self.obs_names = pd.RangeIndex(values.shape[0]).astype(str)


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize(
    "dtype",
    [
        "float32",
        "float64",
        "float16",
        "longdouble",
        ">f4",
        ">f8",
        "bool",
        "int8",
        "uint16",
        "int32",
        "uint64",
    ],
)
def test_every_type_is_read_as_floats(dtype, container):
    values = np.random.default_rng(0).poisson(1.0, (30, 8)).astype(dtype)
    try:
        held = CONTAINERS[container](values)
    except ValueError:  # types that scipy has no sparse matrices of
        assert dtype in ("float16", ">f4", ">f8")
        return
    expression = Expression(Holder(held))
    index = np.arange(1, 30, 2)
    rows = expression.rows(index)
    assert rows.dtype in (np.float32, np.float64)
    assert rows.dtype.isnative
    as_array = rows.toarray() if sparse.issparse(rows) else rows
    np.testing.assert_array_equal(as_array, values[index].astype(float))
    some = expression.only(np.arange(8) % 3 == 0)
    assert some.shape == (30, 3)
    assert list(some.var_names) == ["gene0", "gene3", "gene6"]
    rows = some.rows(index)
    as_array = rows.toarray() if sparse.issparse(rows) else rows
    np.testing.assert_array_equal(as_array, values[index][:, [0, 3, 6]].astype(float))


@pytest.mark.parametrize("dtype", [">f4", ">f8", "float16"])
def test_sparse_matrices_of_types_that_scipy_cannot_compute_with(dtype):
    """As files and other packages make them: from their three arrays."""
    kept = sparse.csr_matrix(np.eye(4, dtype=np.float32))
    odd = kept.copy()
    odd.data = kept.data.astype(dtype)
    np.testing.assert_array_equal(Expression(Holder(odd)).rows(np.arange(4)).toarray(), np.eye(4))


def test_entries_that_are_stored_twice_are_added():
    twice = sparse.csr_matrix((np.ones(3, np.float32), [0, 0, 1], [0, 2, 3]), shape=(2, 2))
    rows = Expression(Holder(twice)).rows(np.arange(2))
    assert list(rows.data) == [2, 1]
    assert twice.nnz == 3


@pytest.mark.parametrize("dtype", ["float64", "float16", ">f4", "longdouble", "bool", "uint64"])
@pytest.mark.parametrize("as_sparse", [True, False])
def test_results_are_those_of_float32(screen, predictor, dtype, as_sparse):
    values = np.round(screen.X.toarray() * 2).clip(0, 1 if dtype == "bool" else 9)
    screen.X = values.astype(np.float32)
    expected = scored(screen, allow_counts=True)
    try:
        odd = sparse.csr_matrix(values.astype(dtype)) if as_sparse else values.astype(dtype)
    except ValueError:
        assert dtype in ("float16", ">f4")
        return
    other = ad.AnnData(odd, obs=screen.obs, var=screen.var)
    pd.testing.assert_frame_equal(scored(other, allow_counts=True), expected)


@pytest.mark.parametrize(
    "values", [np.ones((30, 3), complex), np.full((30, 3), "1"), np.ones((30, 3), object)]
)
def test_types_that_are_no_numbers_are_refused(values, predictor):
    from cdn_sc.tl._checks import check_type

    with pytest.raises(InputError, match=r"adata.X = adata.X.astype\('float32'\)"):
        check_type(Expression(Holder(values)), allow_counts=True)


def test_masked_values_are_refused():
    masked = np.ma.masked_greater(np.arange(6.0).reshape(3, 2), 4)
    with pytest.raises(InputError, match=r"(?s)values that are masked.*adata.X = adata.X.filled\(0\)"):
        Expression(Holder(masked))


def test_dask_arrays_are_refused_with_what_to_do():
    dask_array = pytest.importorskip("dask.array")
    with pytest.raises(InputError, match=r"dask.array.*cannot be read.*call adata.to_memory\(\) first"):
        Expression(Holder(dask_array.ones((3, 2))))


def test_lazily_read_objects_need_one_column_of_obs(screen, predictor, tmp_path):
    pytest.importorskip("xarray")
    if not hasattr(ad.experimental, "read_lazy"):
        pytest.skip("this anndata cannot read lazily")
    expected = scored(screen.copy())
    screen.var["chosen"] = np.arange(12) < 6
    screen.write_zarr(tmp_path / "screen.zarr")
    lazy = ad.experimental.read_lazy(tmp_path / "screen.zarr")
    with pytest.raises(InputError, match=r"call adata.to_memory\(\) first"):
        scored(lazy)
    lazy.X = lazy.X.compute()
    pd.testing.assert_frame_equal(scored(lazy), expected)
    assert scored(lazy, mask_var="chosen")["gene"].nunique() == 6
    with pytest.raises(KeyError, match=r"no column 'perturbatio'.*Did you mean 'perturbation'"):
        predict_targets(lazy, "perturbatio", "control")
    with pytest.raises(KeyError, match=r"no column 'chose'.*Did you mean 'chosen'"):
        scored(lazy, mask_var="chose")


def run_the_lines(message, adata):
    """Do what a message says: the lines of Python in it."""
    first, *rest = message.splitlines()
    lines = [first.rpartition(" with ")[2], *(line.split(", or pass")[0].removesuffix(".") for line in rest)]
    code = [line.removesuffix(".") for line in lines if line.startswith(("sc.pp.", "raw", "adata."))]
    code = [line for line in code if not line.startswith("adata.") or "=" in line or "(" in line.split()[0]]
    assert code
    exec("\n".join(code), {"adata": adata, "sc": sc})


@pytest.mark.parametrize("where", [{}, {"layer": "counts"}, {"use_raw": True}])
@pytest.mark.parametrize("dtype", ["float32", "int64"])
def test_the_remedy_for_counts_is_for_what_was_read(screen, predictor, where, dtype):
    counts = np.round(np.expm1(screen.X.toarray()) * 2)
    screen.layers["counts"] = counts.astype(dtype)
    screen.raw = ad.AnnData(counts.astype(dtype), obs=screen.obs, var=screen.var)
    if not where:
        screen.X = counts.astype(dtype)
    before = screen.X.copy()
    with pytest.raises(CountsError) as caught:
        scored(screen, **where)
    run_the_lines(str(caught.value), screen)
    assert len(scored(screen, **where)) == 48
    if where:
        assert (abs(screen.X - before)).max() == 0


@pytest.mark.filterwarnings("ignore:Variable names are not unique:UserWarning")  # anndata's, of to_adata
@pytest.mark.parametrize("where", [{}, {"layer": "twin"}, {"use_raw": True}])
def test_the_remedy_for_names_that_repeat_is_for_what_was_read(screen, predictor, where):
    screen.layers["twin"] = screen.X.copy()
    repeated = screen.copy()
    repeated.var.index = ["same", "same", *screen.var_names[2:]]
    if where.get("use_raw"):
        screen.raw = repeated
    else:
        screen.var.index = repeated.var.index
    with pytest.raises(InputError, match="has names that repeat") as caught:
        scored(screen, **where)
    run_the_lines(str(caught.value).replace("for example with ", "\n"), screen)
    assert len(scored(screen, **where)) == 48


@pytest.mark.parametrize("where", [{"layer": "odd"}, {"use_raw": True}])
def test_the_remedy_for_types_is_for_what_was_read(screen, predictor, where):
    screen.layers["odd"] = screen.X.toarray().astype(object)
    screen.raw = ad.AnnData(screen.X.toarray().astype(object), obs=screen.obs, var=screen.var)
    with pytest.raises(InputError, match="of type object") as caught:
        scored(screen, **where)
    run_the_lines(str(caught.value).replace("convert it with ", "\n"), screen)
    assert len(scored(screen, **where)) == 48


def test_layers_of_anndata_013_are_named_without_x(screen, predictor):
    screen.layers["lognormal"] = screen.X.copy()
    with pytest.raises(KeyError, match=r"adata.layers has no 'zzz'. There are: 'lognormal'.$"):
        scored(screen, layer="zzz")


@pytest.mark.parametrize("bad", [np.nan, -5.0, 1e30])
@pytest.mark.parametrize("as_sparse", [True, False])
def test_only_genes_of_the_mask_are_judged(screen, predictor, bad, as_sparse):
    mask = np.arange(12) != 7
    expected = scored(screen.copy(), mask_var=mask)
    values = screen.X.toarray()
    values[:, 7] = bad
    screen.X = sparse.csr_matrix(values) if as_sparse else values
    pd.testing.assert_frame_equal(scored(screen, mask_var=mask), expected)
    assert set(expected["gene"]) == set(screen.var_names[mask])


def test_counts_in_the_mask_are_found_beside_other_values(screen, predictor):
    values = screen.X.toarray()
    values[:, :6] = np.round(np.expm1(values[:, :6]) * 2)
    screen.X = values
    with pytest.raises(CountsError, match="holds whole numbers only"):
        scored(screen, mask_var=np.arange(12) < 6)
    assert len(scored(screen, mask_var=np.arange(12) >= 6))


@pytest.mark.parametrize("base", [None, 2, 10, np.float64(2)])
@pytest.mark.parametrize("where", [{}, {"layer": "same"}, {"use_raw": True}])
def test_log_fold_changes_follow_the_base_as_scanpy_does(screen, predictor, base, where):
    screen.X = np.expm1(screen.X.toarray())
    sc.pp.log1p(screen, base=base)
    screen.layers["same"] = screen.X.copy()
    screen.raw = screen.copy()
    ours = scored(screen, **where).set_index(["group", "gene"])["logfoldchange"]
    sc.tl.rank_genes_groups(screen, "perturbation", reference="control", **({"use_raw": False} | where))
    for group in ("drug_A", "x/y"):
        theirs = sc.get.rank_genes_groups_df(screen, group).set_index("names")["logfoldchanges"]
        found = ours[group]
        known = theirs.loc[found.index.astype(str)].to_numpy()
        finite = np.abs(known) < 20  # a gene that is silent in the group has what the 1e-9 makes of it
        assert finite.sum() >= 11
        np.testing.assert_allclose(found[finite], known[finite], rtol=1e-5, atol=1e-5)


def test_a_base_that_is_none_is_left_alone(screen, predictor):
    expected = scored(screen.copy())["logfoldchange"]
    for noted in ({"base": "ten"}, {"base": -2.0}, {}, {"base": 1}, "log"):
        screen.uns["log1p"] = noted
        pd.testing.assert_series_equal(scored(screen)["logfoldchange"], expected)


def fails_to_read(monkeypatch, adata, groups, error):
    """Let reading of the cells of these groups fail."""
    bad = np.flatnonzero(adata.obs["perturbation"].isin(groups))
    rows = Expression.rows

    def failing(self, index):
        if np.isin(index, bad).any():
            raise error
        return rows(self, index)

    monkeypatch.setattr(Expression, "rows", failing)


@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("max_genes", [None, 1000])
def test_a_group_whose_cells_cannot_be_read_is_skipped(screen, predictor, monkeypatch, n_jobs, max_genes):
    predictor.max_genes = max_genes  # a limit of its own: genes are chosen for each group
    expected = scored(screen.copy(), groups=["A+B", "drug_A", "x/y"])
    fails_to_read(monkeypatch, screen, ["drug_B"], OSError(5, "Input/output error"))
    monkeypatch.setattr("cdn_sc.tl._checks._ROWS_AT_ONCE", 1)
    with pytest.warns(
        UserWarning, match=r"1 of 4 groups .*'drug_B' \(OSError: \[Errno 5\] Input/output error\)"
    ):
        table = scored(screen, n_jobs=n_jobs)
    pd.testing.assert_frame_equal(table, expected)
    assert screen.uns["cdn_targets"]["skipped"].to_numpy().tolist() == [
        ["drug_B", "OSError: [Errno 5] Input/output error"]
    ]
    with pytest.raises(KeyError, match="'drug_B' was not scored: OSError"):
        get.predicted_targets_df(screen, "drug_B")


def test_a_group_that_cannot_be_computed_with_is_skipped(screen, predictor, monkeypatch):
    prepare, calls = predictor.prepare, []

    def fails_once(*arguments, **options):
        calls.append(1)
        if len(calls) == 2:
            raise np.linalg.LinAlgError("singular")
        return prepare(*arguments, **options)

    monkeypatch.setattr(predictor, "prepare", fails_once)
    with pytest.warns(UserWarning, match=r"'drug_A' \(LinAlgError: singular\)"):
        assert scored(screen)["group"].nunique() == 3


def test_the_first_error_is_raised_if_all_groups_fail(screen, predictor, monkeypatch):
    groups = ["A+B", "drug_A", "drug_B", "x/y"]
    fails_to_read(monkeypatch, screen, groups, OSError(5, "Input/output error"))
    monkeypatch.setattr("cdn_sc.tl._checks._ROWS_AT_ONCE", 1)
    with pytest.raises(OSError, match="Input/output error") as caught:
        scored(screen)
    assert caught.value.__notes__[0] == "in group 'A+B'"
    screen.obs["perturbation"] = screen.obs["perturbation"].astype(object).replace("drug_B", "drug_A")
    with pytest.raises(InputError, match=r"no group could be scored: 'A.B' .20 cells, min_cells=21") as mixed:
        scored(screen, min_cells=21)
    assert isinstance(mixed.value.__cause__, OSError)
    assert "cdn_targets" not in screen.uns


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_interrupts_and_lack_of_memory_end_the_call(screen, predictor, monkeypatch, error):
    def fails(*_, **__):
        raise error

    monkeypatch.setattr(predictor, "prepare", fails)
    with pytest.raises(error):
        scored(screen)
    assert "cdn_targets" not in screen.uns


def test_control_cells_that_cannot_be_read_end_the_call(screen, predictor, monkeypatch):
    fails_to_read(monkeypatch, screen, ["control"], OSError(5, "Input/output error"))
    with pytest.raises(OSError, match="Input/output error"):
        scored(screen)


def test_conditions_that_cannot_be_read_are_left_out_of_correlations(screen, monkeypatch):
    from cdn_sc.tl._groups import split_into_arms
    from cdn_sc.tl._screen_cells import draw_screen_cells

    conditions = split_into_arms(screen, "perturbation", "control", "all").conditions
    fails_to_read(monkeypatch, screen, ["drug_B"], OSError(5, "Input/output error"))
    # so many control cells that no condition is more than its share
    found = draw_screen_cells(Expression(screen), conditions, 400, 1000, 0)
    assert set(found.members) == {"A+B", "drug_A", "x/y"}
    assert found.rows.shape[0] == 60


def merged(parts, **options):
    return ad.concat(parts, index_unique="-", uns_merge="same", **options)


def test_what_joining_leaves_of_a_result_is_replaced(screen, predictor):
    scored(screen)
    both = merged([screen, screen])
    both.uns["cdn_targets"] = {"params": dict(both.uns["cdn_targets"]["params"])}
    for reads in (get.predicted_targets_df, lambda adata: get.graph_difference(adata, "drug_A", "gene0")):
        with pytest.raises(
            KeyError, match=r"only a part of a result: 'table' and 'skipped' is missing.*again"
        ):
            reads(both)
    assert len(scored(both)) == 48
    assert set(both.uns["cdn_targets"]) == {"params", "table", "groups", "skipped"}


@pytest.mark.parametrize(
    "foreign",
    [
        {},
        "text",
        3,
        {"params": None},
        {"params": {"n_neighbors": 5}},
        {"params": {"groupby": "x", "reference": "rest"}},
        {"params": {"min_cells": 3}, "names": 1},
    ],
)
def test_what_others_keep_under_the_key_is_left_alone(screen, predictor, foreign):
    screen.uns["cdn_targets"] = foreign
    with pytest.raises(InputError, match="is there already and holds no predicted targets"):
        scored(screen)
    assert screen.uns["cdn_targets"] is foreign or screen.uns["cdn_targets"] == foreign


def with_features(screen, names=None, types=None):
    if names is not None:
        screen.var_names = [*names, *screen.var_names[len(names) :]]
    if types is not None:
        screen.var["feature_types"] = types
    return screen


@pytest.mark.parametrize(
    ("names", "types", "number"),
    [
        (["sgGATA1-1", "GATA1_gRNA", "NTC_sgRNA_2"], None, 3),
        (["control"], None, 1),
        (["HTO1", "CD3_TotalSeqB"], None, 2),
        (None, ["Gene Expression"] * 9 + ["CRISPR Guide Capture"] * 2 + ["Antibody Capture"], 3),
        (["sgA-1"], ["CRISPR Guide Capture"] + ["Gene Expression"] * 11, 1),
    ],
)
def test_guides_among_the_genes_are_told_of(screen, predictor, names, types, number):
    with_features(screen, names, types)
    first = str(screen.var_names[0] if types is None or names else screen.var_names[9])
    match = f"{number} of the 12 features of adata.X seem to be guides.*{first!r}.*with mask_var="
    with pytest.warns(UserWarning, match=match):
        scored(screen)
    mask = np.arange(12) >= number if types is None or names else np.array(types) == "Gene Expression"
    assert scored(screen, mask_var=mask)["gene"].nunique() == 12 - number


def test_a_guide_beside_its_gene_that_is_a_label_too(screen, predictor):
    with_features(screen, ["GATA1", "GATA1_g2"])
    screen.obs["perturbation"] = screen.obs["perturbation"].astype(object).replace("x/y", "GATA1_g2")
    with pytest.warns(UserWarning, match="1 of the 12 features .*'GATA1_g2'"):
        scored(screen)


@pytest.mark.parametrize(
    "names", [["drug_A", "A+B"], ["Sgk1", "SGCA", "sgg", "GRN", "HTR1A", "NKX2-1", "T_c0_g1"]]
)
@pytest.mark.parametrize(
    "types", [None, ["Gene Expression"] * 12, ["Peaks"] * 12, ["Gene Expression", "Peaks"] * 6]
)
def test_ordinary_genes_are_no_guides(screen, predictor, names, types):
    """Among them genes that are the groups' labels, as targets usually are."""
    assert scored(with_features(screen, names, types))["gene"].nunique() == 12


@pytest.mark.filterwarnings("ignore:Writing zarr v2 data:UserWarning")
def test_the_result_comes_back_equal_from_files(screen, predictor, tmp_path):
    screen.obs["perturbation"] = screen.obs["perturbation"].astype(object)
    rare = np.flatnonzero(screen.obs["perturbation"] == "x/y")[5:]
    screen = screen[np.setdiff1d(np.arange(screen.n_obs), rare)].copy()
    for options in ({"groups": ["drug_A"]}, {}):
        if options:
            scored(screen, **options)
        else:
            with pytest.warns(UserWarning, match="could not be scored"):
                scored(screen)
        screen.write_h5ad(tmp_path / "cells.h5ad")
        screen.write_zarr(tmp_path / f"cells{len(options)}.zarr")
        for read in (
            ad.read_h5ad(tmp_path / "cells.h5ad"),
            ad.read_zarr(tmp_path / f"cells{len(options)}.zarr"),
        ):
            for part in ("table", "skipped"):
                pd.testing.assert_frame_equal(
                    read.uns["cdn_targets"][part], screen.uns["cdn_targets"][part], check_column_type=False
                )


def test_errors_are_of_one_family(screen, predictor):
    screen.X = screen.X > 0
    with pytest.raises(CdnScError, match="of type bool: these look like counts"):
        scored(screen)
