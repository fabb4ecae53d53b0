import numpy as np
import pytest

from cdn_sc.graphs.tokens import edge_tokens

CASES = ["case_0_n6", "case_1_n10", "case_2_n20", "case_3_n50", "case_4_n120"]


@pytest.mark.parametrize("arm", ["obs", "int"])
@pytest.mark.parametrize("case", CASES)
def test_published_tokens(shared_dir, case, arm):
    with np.load(shared_dir / "parity" / f"{case}.npz") as file:
        data = {key.removesuffix(f"_{arm}"): file[key] for key in file if key.endswith(f"_{arm}")}
    tokens, pairs = edge_tokens(data["subset_nodes"], data["subset_graph"], data["subset_ok"])
    np.testing.assert_array_equal(pairs, data["edge_nodes_1based"])
    expected = np.zeros((len(data["edge_tokens"]), len(pairs)), np.int8)
    np.put_along_axis(expected, data["edge_index"], data["edge_tokens"], axis=1)
    np.testing.assert_array_equal(tokens, expected)


def test_every_mark():
    codes = {1: (0, 0), 2: (-1, 1), 3: (1, -1), 4: (1, 1), 5: (1, 2), 6: (2, 1), 7: (2, 2)}
    reverse = {1: 1, 2: 3, 3: 2, 4: 4, 5: 6, 6: 5, 7: 7}
    graphs = np.zeros((7, 2, 2), np.int8)
    for token, (at_first, at_second) in codes.items():
        graphs[token - 1, 0, 1], graphs[token - 1, 1, 0] = at_first, at_second
    tokens, pairs = edge_tokens(np.tile([8, 3], (7, 1)), graphs, np.ones(7, bool))
    np.testing.assert_array_equal(pairs, [[4, 9], [9, 4]])
    np.testing.assert_array_equal(tokens[:, 1], list(codes))  # the pair (8, 3) comes second
    np.testing.assert_array_equal(tokens[:, 0], [reverse[token] for token in codes])


def test_failed_subsets_are_dropped():
    genes = np.array([[0, 1], [5, 6], [1, 0]])
    graphs = np.zeros((3, 2, 2), np.int8)
    graphs[2, 0, 1], graphs[2, 1, 0] = 2, 1  # 1 o-> 0
    tokens, pairs = edge_tokens(genes, graphs, np.array([True, False, True]))
    np.testing.assert_array_equal(pairs, [[1, 2], [2, 1]])
    np.testing.assert_array_equal(tokens, [[1, 1], [5, 6]])


def test_marks_without_a_token():
    graphs = np.array([[[0, -1], [2, 0]]])
    with pytest.raises(ValueError, match="no token"):
        edge_tokens(np.array([[0, 1]]), graphs, np.array([True]))
