from pathlib import Path

import numpy as np
import pytest
from scipy.stats import norm

from cdn_sc.graphs.fci import fci_graphs

KINDS = ["linear", "tanh", "log counts", "duplicated genes", "unexpressed genes"]
CASES = ["case_0_n6", "case_1_n10", "case_2_n20", "case_3_n50", "case_4_n120"]
NAN = np.nan


@pytest.fixture(scope="module")
def oracle(shared_dir: Path) -> dict[str, np.ndarray]:
    with np.load(shared_dir / "parity" / "fci_oracle.npz") as file:
        return dict(file)


@pytest.mark.parametrize("kind", range(5), ids=KINDS)
def test_oracle(oracle, kind):
    chosen = oracle["kind"] == kind
    assert chosen.sum() == 4000
    graphs, succeeded = fci_graphs(oracle["corr"][chosen], oracle["n_samples"][chosen])
    np.testing.assert_array_equal(succeeded, oracle["succeeded"][chosen])
    np.testing.assert_array_equal(graphs[succeeded], oracle["graph"][chosen][succeeded])
    assert not graphs[~succeeded].any()


@pytest.mark.parametrize("arm", ["obs", "int"])
@pytest.mark.parametrize("case", CASES)
def test_published_subsets(shared_dir, case, arm):
    with np.load(shared_dir / "parity" / f"{case}.npz") as file:
        graphs, succeeded = fci_graphs(file[f"subset_corr_{arm}"], file[f"subset_n_{arm}"])
        np.testing.assert_array_equal(succeeded, file[f"subset_ok_{arm}"])
        np.testing.assert_array_equal(graphs, file[f"subset_graph_{arm}"])


def correlation_of(weights: np.ndarray) -> np.ndarray:
    """Correlation of the linear model x = weights^T x + noise of unit variance."""
    mixing = np.linalg.inv(np.eye(len(weights)) - weights)
    covariance = mixing.T @ mixing
    return covariance / np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)))


def test_collider():
    weights = np.zeros((3, 3))
    weights[0, 2] = weights[1, 2] = 1  # 0 -> 2 <- 1
    graphs, succeeded = fci_graphs(correlation_of(weights)[None], 500)
    assert succeeded.all()
    np.testing.assert_array_equal(graphs[0], [[0, 0, 2], [0, 0, 2], [1, 1, 0]])  # 0 o-> 2 <-o 1


def test_orientation_behind_a_collider():
    weights = np.zeros((4, 4))
    weights[0, 2] = weights[1, 2] = weights[2, 3] = 1  # 0 -> 2 <- 1, 2 -> 3
    graphs, _ = fci_graphs(correlation_of(weights)[None], 500)
    assert (graphs[0, 2, 3], graphs[0, 3, 2]) == (-1, 1)
    assert not graphs[0, :2, 3].any()


def test_chain_has_no_direction():
    weights = np.diag([1.0, 1.0], 1)  # 0 -> 1 -> 2
    graphs, _ = fci_graphs(correlation_of(weights)[None], 500)
    np.testing.assert_array_equal(graphs[0], [[0, 2, 0], [2, 0, 2], [0, 2, 0]])


@pytest.mark.parametrize("alpha", [0.001, 0.05, 0.3])
def test_level_of_the_test(alpha):
    n = 103
    threshold = np.tanh(norm.isf(alpha / 2) / np.sqrt(n - 3))
    matrices = np.array([[[1, r], [r, 1]] for r in (0.999 * threshold, 1.001 * threshold)])
    graphs, succeeded = fci_graphs(matrices, [n, n], alpha)
    assert succeeded.all()
    np.testing.assert_array_equal(graphs[:, 0, 1], [0, 2])


def test_too_few_cells():
    matrix = np.array([[[1, 0.9], [0.9, 1]]])
    graphs, succeeded = fci_graphs(matrix.repeat(3, axis=0), [2, 3, 50])
    np.testing.assert_array_equal(succeeded, [False, True, True])
    np.testing.assert_array_equal(graphs[:, 0, 1], [0, 0, 2])  # three cells leave no degree of freedom


def test_undefined_correlations():
    defined = correlation_of(np.diag([1.0, 1.0], 1))
    matrix = np.full((5, 5), NAN)
    kept = [0, 2, 3]
    matrix[np.ix_(kept, kept)] = defined
    silent = [1, 4]
    dependent, succeeded = fci_graphs(matrix[None], 200)
    assert succeeded.all()
    assert all(dependent[0, i, j] for i in silent for j in range(5) if j != i)
    independent, succeeded = fci_graphs(matrix[None], 200, undefined="independent")
    assert succeeded.all()
    assert not independent[0, silent].any()
    assert not independent[0, :, silent].any()
    alone, _ = fci_graphs(defined[None], 200)
    np.testing.assert_array_equal(independent[0][np.ix_(kept, kept)], alone[0])


def test_undefined_is_independent_means_fci_on_the_others(oracle):
    silent = np.isnan(oracle["corr"]).any(axis=(1, 2))
    matrices, counts = oracle["corr"][silent], oracle["n_samples"][silent]
    graphs, succeeded = fci_graphs(matrices, counts, undefined="independent")
    for matrix, n, graph, done in zip(matrices, counts, graphs, succeeded, strict=True):
        kept = np.flatnonzero(~np.isnan(np.diag(matrix)))
        expected = np.zeros((5, 5), np.int8)
        if len(kept) > 1:
            alone, alone_done = fci_graphs(matrix[np.ix_(kept, kept)][None], n)
            expected[np.ix_(kept, kept)] = alone[0]
            assert done == alone_done[0]
        np.testing.assert_array_equal(graph, expected)


def test_any_layout_and_type_gives_the_same(oracle):
    matrices, counts = oracle["corr"][:200], oracle["n_samples"][:200]
    expected, _ = fci_graphs(matrices, counts)
    for variant in (np.asfortranarray(matrices), matrices.tolist(), matrices[::-1][::-1]):
        np.testing.assert_array_equal(fci_graphs(variant, counts.astype(np.uint16))[0], expected)
    read_only = matrices.copy()
    read_only.flags.writeable = False
    np.testing.assert_array_equal(fci_graphs(read_only, counts)[0], expected)


def test_no_graphs():
    graphs, succeeded = fci_graphs(np.empty((0, 5, 5)), np.empty(0, int))
    assert graphs.shape == (0, 5, 5)
    assert succeeded.shape == (0,)


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((5, 5), {}, "shape"),
        ((1, 5, 4), {}, "shape"),
        ((1, 6, 6), {}, "2 to 5 variables"),
        ((1, 1, 1), {}, "2 to 5 variables"),
        ((1, 5, 5), {"alpha": 0}, "alpha"),
        ((1, 5, 5), {"undefined": "drop"}, "undefined"),
    ],
)
def test_bad_arguments(shape, options, message):
    with pytest.raises(ValueError, match=message):
        fci_graphs(np.ones(shape), 100, **options)
