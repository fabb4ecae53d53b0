"""Estimate: a local causal graph for each gene subset, by one of two estimators behind one interface."""

import contextlib
from collections.abc import Iterable, Iterator
from threading import Lock

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cdn_sc._logging import logger
from cdn_sc.graphs.fci import CIRCLE, TAIL, fci_graphs

ESTIMATORS = ("fci", "causal-learn")
# Tests of causal-learn that take nothing but data; older versions lack some of them.
TESTS = ("fisherz", "mv_fisherz", "kci", "rcit", "fastkci", "chisq", "gsq")

_one_at_a_time = Lock()


def estimate(
    subsets: Iterable[ArrayLike],
    *,
    correlations: ArrayLike | None = None,
    n_samples: ArrayLike | None = None,
    estimator: str = "fci",
    test: str = "fisherz",
    alpha: float = 0.05,
    rng: np.random.Generator | None = None,
) -> tuple[NDArray[np.int8], NDArray[np.bool_]]:
    """Estimate one causal graph per gene subset by fast causal inference (FCI).

    A gene that does not vary within a subset has no edges there, whatever the estimator.

    Parameters
    ----------
    subsets
        Values of each subset, T arrays of cells x k genes, finite. Not looked at by ``estimator="fci"``
        when `correlations` are given.
    correlations
        Correlations of each subset, shape (T, k, k), NaN for a gene that does not vary; computed from the
        values if None. Only for ``estimator="fci"``.
    n_samples
        Number of cells of each subset, shape (T,); needed with `correlations`.
    estimator
        ``"fci"``: compiled, Fisher's z test, 2 to 5 genes. ``"causal-learn"``: that package's ``fci``,
        thousands of times slower, with a choice of tests. Its versions from 0.1.4 on also assume that
        selection bias may be at work; see :func:`without_selection_bias`.
    test
        Independence test: ``"fisherz"``; with causal-learn also ``"kci"``, ``"rcit"``, ``"fastkci"``,
        ``"mv_fisherz"``, and for discrete data ``"chisq"`` and ``"gsq"``.
    alpha
        Level of the tests, between 0 and 1.
    rng
        Randomness for those tests of causal-learn that draw; a fixed stream if None.

    Returns
    -------
    graphs
        Endpoint marks, shape (T, k, k), as in :func:`cdn_sc.graphs.fci_graphs`.
    succeeded
        False where the estimate failed (singular correlations, too few cells), shape (T,).

    Raises
    ------
    ValueError
        On an unknown estimator or test, a test that the estimator does not have, or alpha outside (0, 1).
    """
    if estimator not in ESTIMATORS:
        raise ValueError(f"unknown estimator {estimator!r}, choose one of {', '.join(ESTIMATORS)}")
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must lie between 0 and 1, got {alpha}")
    if estimator == "causal-learn":
        return _estimate_causal_learn([np.asarray(values) for values in subsets], test, alpha, rng)
    if test != "fisherz":
        raise ValueError(f'estimator "fci" knows the test "fisherz" only; for {test!r} use "causal-learn"')
    if correlations is None:
        arrays = [np.asarray(values) for values in subsets]
        correlations = np.stack([pearson_correlation(values) for values in arrays])
        n_samples = np.array([len(values) for values in arrays])
    elif n_samples is None:
        raise ValueError("n_samples is needed with correlations")
    return fci_graphs(correlations, n_samples, alpha, undefined="independent")  # type: ignore[arg-type]


def pearson_correlation(values: ArrayLike) -> NDArray[np.float64]:
    """Pearson correlation of the columns, shape (k, k), NaN for a column whose values are all equal."""
    array = np.asarray(values, dtype=np.float64)
    constant = (array == array[:1]).all(axis=0)
    centred = array - array.mean(axis=0)
    norm = np.sqrt((centred**2).sum(axis=0))
    norm[constant] = np.nan
    correlation = np.clip((centred.T @ centred) / np.outer(norm, norm), -1, 1)
    np.fill_diagonal(correlation, np.where(constant, np.nan, 1))
    return correlation


def without_selection_bias(graph: ArrayLike) -> NDArray[np.int8]:
    """Replace the edges that only selection bias explains by edges of unknown direction.

    causal-learn from 0.1.4 on applies the rules R5 to R7 of Zhang (2008), which assume that the sampling of
    cells may itself depend on the genes. They turn o-o edges into tail-tail and tail-circle edges, for which
    the network has no token (the graphs it was trained on never hold them). Taking those rules' tails back
    gives o-o, which is what was known before them.

    Parameters
    ----------
    graph
        Endpoint marks, shape (..., k, k).
    """
    marks = np.array(graph, dtype=np.int8)
    opposite = np.swapaxes(marks, -1, -2)
    selection = ((marks == TAIL) & ((opposite == TAIL) | (opposite == CIRCLE))) | (
        (opposite == TAIL) & (marks == CIRCLE)
    )
    marks[selection] = CIRCLE
    return marks


def _estimate_causal_learn(
    subsets: list[NDArray], test: str, alpha: float, rng: np.random.Generator | None
) -> tuple[NDArray[np.int8], NDArray[np.bool_]]:
    from causallearn.utils import cit

    available = [name for name in TESTS if hasattr(cit, name)]
    if test not in available:
        raise ValueError(f"unknown test {test!r}, the installed causal-learn has {', '.join(available)}")
    k = subsets[0].shape[1] if subsets else 0
    graphs = np.zeros((len(subsets), k, k), dtype=np.int8)
    succeeded = np.zeros(len(subsets), dtype=bool)
    with _alone(rng):
        for t, values in enumerate(subsets):
            varies = np.flatnonzero((values != values[:1]).any(axis=0))
            try:
                if len(varies) > 1:
                    marks = _causal_learn_graph(values[:, varies], test, float(alpha))
                    graphs[t][np.ix_(varies, varies)] = marks
                succeeded[t] = True
            # A singular matrix, a logarithm or root out of range, or a separating set that is missing.
            except (ValueError, ArithmeticError, KeyError) as error:
                logger.debug("causal-learn failed on subset %d: %s", t, error)
    return graphs, succeeded


def _causal_learn_graph(values: NDArray, test: str, alpha: float) -> NDArray[np.int8]:
    from causallearn.search.ConstraintBased.FCI import fci

    graph, _ = fci(np.ascontiguousarray(values, dtype=np.float64), test, alpha, show_progress=False)
    return without_selection_bias(graph.graph)


@contextlib.contextmanager
def _alone(rng: np.random.Generator | None) -> Iterator[None]:
    """Let one thread at a time use causal-learn, without what it prints and with numbers of a seed.

    Its tests draw from numpy's global stream, which is seeded here and put back afterwards. It prints edges
    whatever it is told; only its own `print` is replaced, since `sys.stdout` is that of all threads.
    """
    from causallearn.search.ConstraintBased import FCI

    seed = 0 if rng is None else int(rng.integers(2**32))
    with _one_at_a_time, np.errstate(all="ignore"):
        state = np.random.get_state()  # noqa: NPY002
        np.random.seed(seed)  # noqa: NPY002
        FCI.print = lambda *_, **__: None
        try:
            yield
        finally:
            del FCI.print
            np.random.set_state(state)  # noqa: NPY002
