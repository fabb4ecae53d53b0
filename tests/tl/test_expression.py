"""Reading rows of files."""

import h5py
import numpy as np
import pytest

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
