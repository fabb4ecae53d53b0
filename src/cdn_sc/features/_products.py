"""Symmetric matrices of genes x genes: half of the work where one thread of the processor does it.

LAPACK's routines for symmetric matrices compute one triangle; torch's products compute both, but share the
work among threads, and run on any device.
"""

import torch
from scipy.linalg import blas, lapack
from torch import Tensor

# So few genes are not worth sharing, whatever the number of threads
MOST_GENES_OF_ONE_THREAD = 512
_ROWS_AT_ONCE = 512


def add_products(products: Tensor | None, cells: Tensor) -> Tensor:
    """Add the sums of products of all pairs of genes over some cells: at least the lower triangle.

    Parameters
    ----------
    products
        Genes x genes, float32, added to in place; None for zeros.
    cells
        Cells x genes, float32, contiguous.
    """
    if products is None:
        products = cells.new_zeros(cells.shape[1], cells.shape[1])
    if _in_one_thread(cells):
        # column by column, as LAPACK reads it, the lower triangle is the upper one
        blas.ssyrk(1.0, cells.numpy().T, beta=1.0, c=products.numpy().T, overwrite_c=1, lower=0)
    else:
        products.addmm_(cells.T, cells)
    return products


def complete(products: Tensor) -> None:
    """Make a matrix symmetric by its lower triangle, in place."""
    n = len(products)
    for start in range(0, n, _ROWS_AT_ONCE):
        stop = min(start + _ROWS_AT_ONCE, n)
        products[start:stop, stop:] = products[stop:, start:stop].T
        block = products[start:stop, start:stop].tril()
        products[start:stop, start:stop] = block + block.tril(-1).T


def inverse(matrix: Tensor) -> Tensor:
    """Inverse of a symmetric positive definite matrix, in its place."""
    if not _in_one_thread(matrix):
        torch.linalg.cholesky(matrix, out=matrix)
        return torch.cholesky_inverse(matrix, out=matrix)
    factor, invert = (
        (lapack.spotrf, lapack.spotri) if matrix.dtype == torch.float32 else (lapack.dpotrf, lapack.dpotri)
    )
    transposed = matrix.numpy().T
    failed = factor(transposed, lower=0, clean=0, overwrite_a=1)[1] or invert(transposed, overwrite_c=1)[1]
    if failed:
        raise torch.linalg.LinAlgError(f"the matrix is not positive definite ({failed})")
    complete(matrix)
    return matrix


def _in_one_thread(values: Tensor) -> bool:
    if values.device.type != "cpu":
        return False
    return torch.get_num_threads() == 1 or values.shape[1] <= MOST_GENES_OF_ONE_THREAD
