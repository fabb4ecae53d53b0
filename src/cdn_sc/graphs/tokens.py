"""Tokens: the local graphs of all subsets as one table, subsets x gene pairs, that the network reads."""

import numpy as np
from numpy.typing import NDArray

NOT_IN_SUBSET, NO_EDGE = 0, 1
# Marks (at i, at j) of the pair (i, j) and their token.
_TOKENS = {(0, 0): NO_EDGE, (-1, 1): 2, (1, -1): 3, (1, 1): 4, (1, 2): 5, (2, 1): 6, (2, 2): 7}
_LOOKUP = np.zeros((4, 4), dtype=np.int8)
for _marks, _token in _TOKENS.items():
    _LOOKUP[_marks[0] + 1, _marks[1] + 1] = _token

EDGES = ("", "", "-->", "<--", "<->", "<-o", "o->", "o-o")
"""How the edge of each token is written, first gene left; empty where there is none."""


def tokens_of_marks(at_first: NDArray[np.integer], at_second: NDArray[np.integer]) -> NDArray[np.int8]:
    """Return the token of each pair of endpoint marks; 0 where there is none for it."""
    return _LOOKUP[at_first + 1, at_second + 1]


def edge_tokens(
    genes: NDArray[np.integer], graphs: NDArray[np.integer], succeeded: NDArray[np.bool_]
) -> tuple[NDArray[np.int8], NDArray[np.int64]]:
    """Write the endpoint graphs of gene subsets as one table of edge tokens.

    Token of the ordered pair (i, j), from the marks at i and at j: 0 pair not in this subset, 1 no edge,
    2 i -> j, 3 i <- j, 4 i <-> j, 5 i <-o j, 6 i o-> j, 7 i o-o j.

    Parameters
    ----------
    genes
        Genes of each subset, shape (T, k).
    graphs
        Endpoint marks of each subset, shape (T, k, k): 0 none, -1 tail, 1 arrow, 2 circle.
    succeeded
        Which graphs count, shape (T,); the other subsets, and pairs only they hold, are left out.

    Returns
    -------
    tokens
        Shape (T', K): T' subsets that succeeded, K ordered pairs that occur in any of them.
    pairs
        The pairs, 1-based, sorted, shape (K, 2).

    Raises
    ------
    ValueError
        If a graph holds marks that have no token (a tail facing a tail or a circle).
    """
    genes, graphs = np.asarray(genes)[succeeded].astype(np.int64), np.asarray(graphs)[succeeded]
    n_subsets, k = genes.shape
    row, column = np.nonzero(~np.eye(k, dtype=bool))
    tokens = tokens_of_marks(graphs[:, row, column], graphs[:, column, row])
    if not tokens.all():
        raise ValueError("a graph holds endpoint marks that have no token (a tail facing a tail or a circle)")
    n_genes = genes.max(initial=0) + 1
    code, place = np.unique(genes[:, row] * n_genes + genes[:, column], return_inverse=True)
    table = np.zeros((n_subsets, len(code)), dtype=np.int8)
    table[np.arange(n_subsets)[:, None], place.reshape(tokens.shape)] = tokens
    return table, np.stack([code // n_genes, code % n_genes], axis=1) + 1
