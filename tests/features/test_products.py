"""Symmetric products and inverses, whichever library computes them."""

import numpy as np
import pytest
import torch

from cdn_sc.features._products import add_products, complete, inverse


@pytest.fixture(params=[1, 2])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("n_genes", [1, 7, 600])
def test_products(threads, n_genes):
    parts = [torch.randn(30, n_genes), torch.randn(11, n_genes)]
    found = None
    for part in parts:
        found = add_products(found, part)
    complete(found)
    everything = torch.cat(parts).double()
    torch.testing.assert_close(found.double(), everything.T @ everything, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(found, found.T, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("n_genes", [1, 7, 600])
def test_inverse(threads, n_genes, dtype):
    cells = torch.randn(2 * n_genes, n_genes, dtype=torch.float64)
    matrix = (cells.T @ cells / len(cells) + 0.2 * torch.eye(n_genes, dtype=torch.float64)).to(dtype)
    expected = np.linalg.inv(matrix.double().numpy())
    found = inverse(matrix)
    assert found.data_ptr() == matrix.data_ptr()
    tolerance = 2e-4 if dtype == torch.float32 else 1e-9
    np.testing.assert_allclose(found.double().numpy(), expected, atol=tolerance)


def test_no_inverse(threads):
    with pytest.raises(torch.linalg.LinAlgError):
        inverse(-torch.eye(3))
