"""Every bad input of the contract: a clear error, and the object as it was."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from cdn_sc import errors, predictors
from cdn_sc.tl import predict_targets


def unchanged(before, after):
    """Compare all that `predict_targets` could have touched."""
    assert dict(after.uns) == {}
    pd.testing.assert_frame_equal(before.obs, after.obs)
    pd.testing.assert_frame_equal(before.var, after.var)
    assert list(after.layers) == list(before.layers)
    assert type(after.X) is type(before.X)
    if before.X is not None and before.X.dtype != object:
        as_array = [x.X.toarray() if sparse.issparse(x.X) else x.X for x in (before, after)]
        np.testing.assert_array_equal(*as_array)


def fails(adata, error, match, groupby="perturbation", control="control", **options):
    before = adata.copy()
    with pytest.raises(error, match=match) as caught:
        predict_targets(adata, groupby, control, **options)
    assert isinstance(caught.value, errors.CdnScError)
    unchanged(before, adata)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"groupby": "perturbations"}, KeyError, "no column 'perturbations'.*Did you mean 'perturbation'"),
        ({"control": "Control"}, KeyError, "no control 'Control'.*Did you mean 'control'"),
        ({"control": ["control", "contrl"]}, KeyError, "no control 'contrl'"),
        ({"control": "qqqqqqq"}, KeyError, "There are: 'A.B', 'control', 'drug_A'"),
        ({"control": []}, ValueError, "control is an empty list"),
        ({"groups": ["drug_a"]}, KeyError, "no group 'drug_a'.*Did you mean 'drug_A'"),
        ({"groups": "drug_A"}, ValueError, r"write groups=\['drug_A'\]"),
        ({"groups": []}, ValueError, "groups is an empty list"),
        ({"groups": ["drug_A", "control"]}, ValueError, "'control' is the control"),
        ({"layer": "logg"}, KeyError, "adata.layers has no 'logg'"),
        ({"use_raw": True}, ValueError, "adata.raw is not set"),
        ({"use_raw": True, "layer": "log"}, ValueError, "not both"),
        ({"mask_var": "hvg"}, KeyError, "no column 'hvg'"),
        ({"mask_var": np.ones(5, bool)}, ValueError, r"shape \(5,\).*12 genes"),
        ({"mask_var": np.ones(12)}, ValueError, "float64, and booleans"),
        ({"mask_var": np.zeros(12, bool)}, ValueError, "selects no gene"),
        ({"n_genes": 0}, ValueError, "n_genes .* at least 1, not 0"),
        ({"n_genes": 10.5}, ValueError, "n_genes"),
        ({"min_detection": -0.1}, ValueError, "min_detection is a share, from 0 to 1, not -0.1"),
        ({"min_detection": 1.5}, ValueError, "min_detection"),
        ({"min_detection": True}, ValueError, "min_detection"),
        ({"min_detection": "0.1"}, ValueError, "min_detection"),
        ({"min_detection": np.nan}, ValueError, "min_detection"),
        ({"n_subsets": 0}, ValueError, "n_subsets"),
        ({"min_cells": 1}, ValueError, "min_cells .* at least 2"),
        ({"min_cells": 41}, ValueError, "control.* has 40 cells, fewer than min_cells=41"),
        ({"min_cells": 30}, ValueError, "no group could be scored: 'A.B' .20 cells"),
        ({"estimator": "pc"}, ValueError, "'fci', 'causal-learn', not 'pc'"),
        ({"test": "kci"}, ValueError, "test='kci' needs estimator='causal-learn'"),
        ({"test": "chi", "estimator": "causal-learn"}, ValueError, "test is one of 'fisherz', .*not 'chi'"),
        ({"kind": "foo"}, ValueError, "kind is one of 'knockdown', .*not 'foo'"),
        ({"groupby": ["perturbation"]}, ValueError, "groupby is the name of one column"),
        ({"groups": [["drug_A"]]}, ValueError, r"groups holds \['drug_A'\], a list"),
        ({"control": [{"control"}]}, ValueError, "control holds .'control'., a set"),
        ({"key_added": "a/b"}, ValueError, "without '/'"),
        ({"n_jobs": 0}, ValueError, "n_jobs"),
        ({"rng": -1}, ValueError, "-1 is no seed"),
        ({"rng": "seed"}, ValueError, "numpy.random.Generator, not a str"),
        ({"device": "cuda"}, RuntimeError, "finds no CUDA device"),
        ({"device": "gpu"}, RuntimeError, "is no device"),
        ({"device": "xpu"}, RuntimeError, "'xpu' is no device"),
        ({"device": "meta"}, RuntimeError, "'meta' is no device"),
    ],
)
def test_bad_arguments(screen, predictor, monkeypatch, options, error, match):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    fails(screen, error, match, **options)


def test_mask_of_other_genes(screen, predictor):
    mask = pd.Series(True, index=screen.var_names[::-1])
    fails(screen, ValueError, "index other than the names of the genes", mask_var=mask)


def test_control_is_the_only_category(screen, predictor):
    fails(screen[screen.obs["perturbation"] == "control"].copy(), ValueError, "no group besides the control")


def test_no_labels_at_all(screen, predictor):
    screen.obs["perturbation"] = pd.Series([np.nan] * screen.n_obs, index=screen.obs_names)
    fails(screen, ValueError, "every value is missing")


def test_labels_that_differ_by_type_only(screen, predictor):
    screen.obs["perturbation"] = pd.Series([1, "1"] * 60, index=screen.obs_names, dtype=object)
    fails(screen, ValueError, "differ only by type", control="1")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("as_sparse", [True, False])
def test_values_that_are_not_finite(screen, predictor, bad, as_sparse):
    values = screen.X.toarray()
    values[5, 3] = bad
    screen.X = sparse.csr_matrix(values) if as_sparse else values
    fails(screen, ValueError, "NaN or infinite.*row 5, gene 'gene3'")


def test_values_outside_the_comparison_do_not_matter(screen, predictor):
    values = screen.X.toarray()
    values[np.flatnonzero(screen.obs["perturbation"] == "x/y")[0], 0] = np.nan
    screen.X = values
    predict_targets(screen, "perturbation", "control", groups=["drug_A"])
    assert "cdn_targets" in screen.uns


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.uint16])
@pytest.mark.parametrize("as_sparse", [True, False])
def test_counts(screen, predictor, dtype, as_sparse):
    counts = np.round(np.expm1(screen.X.toarray()) * 2).astype(dtype)
    screen.X = sparse.csr_matrix(counts) if as_sparse else counts
    fails(screen, ValueError, r"(?s)counts.*sc\.pp\.normalize_total\(adata\)\nsc\.pp\.log1p\(adata\)")


def test_objects(screen, predictor):
    screen.X = screen.X.toarray().astype(object)
    fails(screen, ValueError, "of type object, and floats are wanted", allow_counts=True)


def test_no_values(screen, predictor):
    fails(ad.AnnData(obs=screen.obs, var=screen.var), ValueError, "adata.X is empty")


@pytest.mark.parametrize("shape", [(0, 3), (3, 0)])
def test_empty(predictor, shape):
    adata = ad.AnnData(np.zeros(shape, np.float32))
    adata.obs["perturbation"] = pd.Categorical(["control"] * shape[0])
    fails(adata, ValueError, f"{shape[0]} cells and {shape[1]} genes")


@pytest.mark.parametrize(("axis", "match"), [("obs", "adata.obs_names"), ("var", "adata.var_names")])
def test_duplicated_names(screen, predictor, axis, match):
    frame = getattr(screen, axis)
    frame.index = ["same", "same", *frame.index[2:]]
    with pytest.raises(ValueError, match=rf"{match} has names that repeat .*'same'.*_make_unique"):
        predict_targets(screen, "perturbation", "control")
    assert not screen.uns


def test_no_gene_varies(screen, predictor):
    screen.X = np.full(screen.shape, 0.5, np.float32)
    fails(screen, ValueError, "no group could be scored.*no gene varies in its cells or in the control cells")


def test_more_genes_than_the_model_takes(screen, predictor):
    predictor.max_genes = 10
    fails(screen, ValueError, "fake takes 10 genes at most: pass n_genes=10", n_genes=11)
    fails(screen, ValueError, "mask_var selects 11 genes.*takes 10", mask_var=np.arange(12) < 11)
    for options in ({"n_genes": 10}, {}):
        predict_targets(screen, "perturbation", "control", **options)
        assert screen.uns["cdn_targets"]["params"]["n_genes"] == 10


def test_more_subsets_than_the_model_takes(screen, predictor):
    predictor.max_subsets = 500
    fails(screen, ValueError, "n_subsets=2000, but the model fake takes 500 at most", n_subsets=2000)


def test_kind_is_checked_before_the_model_is_loaded(screen, monkeypatch):
    monkeypatch.setattr(predictors, "load_predictor", lambda *_, **__: pytest.fail("was loaded"))
    fails(screen, ValueError, "kind is one of", kind="foo")


@pytest.mark.parametrize("model", [None, 3, b"default"])
def test_model_that_is_none(screen, model):
    fails(screen, ValueError, "model is the name of a model, the path", model=model)


def test_error_of_the_model_in_a_thread_comes_through(screen, predictor, monkeypatch):
    def breaks(*arguments, **options):
        raise errors.InputError("from the model")

    monkeypatch.setattr(predictor, "predict", breaks)
    fails(screen, ValueError, "from the model", n_jobs=2)


def test_unknown_model(screen):
    fails(screen, ValueError, "gene-transformr", model="gene-transformr")


def test_backed_views_and_copies(screen, predictor, tmp_path):
    screen.write_h5ad(tmp_path / "cells.h5ad")
    backed = ad.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    with pytest.raises(ValueError, match="view of a backed object"):
        predict_targets(backed[:100], "perturbation", "control")
    with pytest.raises(ValueError, match="copy=True cannot copy a backed"):
        predict_targets(backed, "perturbation", "control", copy=True)
    backed.file.close()


def test_not_an_anndata(predictor):
    with pytest.raises(ValueError, match="DataFrame, and an AnnData is wanted"):
        predict_targets(pd.DataFrame(), "perturbation", "control")
