"""Reading rows of files, and of matrices that are damaged."""

from types import SimpleNamespace

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import cdn_sc
from cdn_sc.errors import InputError
from cdn_sc.tl._expression import _rows_of_file


@pytest.mark.parametrize(
    "index",
    [
        np.arange(5000),
        np.arange(900, 1200),
        np.array([3, 4, 1023, 1024, 4999]),
        np.arange(0, 5000, 7),
        np.array([], np.int64),
    ],
)
def test_rows_of_a_dense_file(tmp_path, index):
    values = np.random.default_rng(0).normal(size=(5000, 3)).astype(np.float32)
    with h5py.File(tmp_path / "values.h5", "w") as file:
        np.testing.assert_array_equal(
            _rows_of_file(file.create_dataset("x", data=values), index), values[index]
        )


DAMAGES = {
    "beyond the genes": lambda matrix: matrix.indices.__setitem__(5, 10**6),
    "far beyond": lambda matrix: matrix.indices.__setitem__(5, 2**31 - 1),
    "below 0": lambda matrix: matrix.indices.__setitem__(5, -3),
    "rows that go back": lambda matrix: matrix.indptr.__setitem__(3, 2**31 - 1),
    "rows beyond the end": lambda matrix: matrix.indptr.__setitem__(slice(8, None), 10**8),
}


@pytest.mark.parametrize("where", ["in memory", "in a file", "in a file by columns"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_sparse_matrices_are_refused(tmp_path, damage, where):
    """Before any compiled code: it would read, and write, outside of its arrays."""
    rng = np.random.default_rng(0)
    matrix = sparse.random(40, 12, 0.5, format="csr", dtype=np.float32, random_state=rng)
    if "columns" in where:
        matrix = matrix.tocsc()
    adata = ad.AnnData(
        matrix, obs=pd.DataFrame({"label": ["control"] * 20 + ["a"] * 20}, index=[f"c{i}" for i in range(40)])
    )
    if where == "in memory":
        DAMAGES[damage](adata.X)
    else:
        adata.write_h5ad(tmp_path / "x.h5ad")
        with h5py.File(tmp_path / "x.h5ad", "r+") as file:
            damaged = SimpleNamespace(
                indices=file["X"]["indices"][:].astype(np.int64),
                indptr=file["X"]["indptr"][:].astype(np.int64),
            )
            DAMAGES[damage](damaged)
            for name, values in vars(damaged).items():
                file["X"][name][:] = values
        adata = ad.read_h5ad(tmp_path / "x.h5ad", backed="r")
    with pytest.raises(InputError, match="is a damaged sparse matrix"):
        cdn_sc.tl.predict_targets(adata, "label", "control", progress=False, allow_counts=True)
    assert "cdn_targets" not in adata.uns
