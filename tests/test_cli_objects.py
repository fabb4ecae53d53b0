"""Annotated data on a disk that is too small: one error wherever it ends, and nothing on the terminal."""

import subprocess
import sys

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

pytest.importorskip("resource", reason="limits of file sizes are set with it")

# In a process of its own, since HDF5 crashes, where it does, when the process ends.
CODE = """
import resource, sys, warnings
from pathlib import Path
import anndata
from cdn_sc.cli._objects import add_result, write_object

warnings.simplefilter("ignore")
adata, part = anndata.read_h5ad(sys.argv[1]), Path(sys.argv[2])
for limit in range(20_000, 240_000, 10_000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        write_object(adata, part)
        add_result(part, "cdn_targets", {"table": adata.obs})
        said = "whole"
    except OSError as error:
        said = error.strerror
    print(said)
"""


def test_the_disk_may_end_anywhere(tmp_path):
    values = np.random.default_rng(0).poisson(0.5, (400, 100)).astype(np.float32)
    obs = pd.DataFrame({"p": pd.Categorical(["a", "b"] * 200)}, index=[f"cell {i}" for i in range(400)])
    adata = ad.AnnData(
        sparse.csr_matrix(values), obs=obs, var=pd.DataFrame(index=[f"gene {i}" for i in range(100)])
    )
    adata.write_h5ad(tmp_path / "in.h5ad")
    ended = subprocess.run(
        [sys.executable, "-c", CODE, tmp_path / "in.h5ad", tmp_path / "out.h5ad"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (ended.returncode, ended.stderr) == (0, "")
    said = ended.stdout.splitlines()
    assert set(said) == {"File too large", "whole"}
    whole = said.index("whole")
    assert 5 < whole < len(said)
    assert said[whole:] == ["whole"] * (len(said) - whole)
