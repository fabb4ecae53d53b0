import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version

import numpy as np
import pytest
from causallearn.search.ConstraintBased import FCI
from causallearn.utils import cit

from cdn_sc.graphs import estimate as module
from cdn_sc.graphs.estimate import estimate, pearson_correlation, without_selection_bias


@pytest.fixture
def subsets() -> list[np.ndarray]:
    """Twelve subsets of 150 cells and 5 genes from sparse linear models."""
    rng = np.random.default_rng(3)
    made = []
    for _ in range(12):
        weights = np.triu(rng.normal(size=(5, 5)) * (rng.random((5, 5)) < 0.5), 1)
        made.append(rng.normal(size=(150, 5)) @ np.linalg.inv(np.eye(5) - weights))
    return made


def test_values_or_correlations(subsets):
    from_values = estimate(subsets)
    from_correlations = estimate(
        [], correlations=[pearson_correlation(values) for values in subsets], n_samples=[150] * len(subsets)
    )
    np.testing.assert_array_equal(from_values[0], from_correlations[0])
    assert from_values[1].all()
    assert from_values[0].any()


def test_correlation_against_numpy(subsets):
    values = subsets[0].copy()
    np.testing.assert_allclose(pearson_correlation(values), np.corrcoef(values.T), atol=1e-12)
    values[:, 2] = 0.1  # whose mean in floats is not exactly 0.1
    correlation = pearson_correlation(values)
    assert np.isnan(correlation[2]).all()
    assert np.isnan(correlation[:, 2]).all()
    others = [0, 1, 3, 4]
    assert not np.isnan(correlation[np.ix_(others, others)]).any()


@pytest.mark.parametrize("arm", ["obs", "int"])
@pytest.mark.parametrize("case", ["case_0_n6", "case_1_n10"])
def test_published_subset_values(shared_dir, case, arm):
    with np.load(shared_dir / "parity" / f"{case}.npz") as file:
        values, graphs = file[f"subset_data_{arm}"], file[f"subset_graph_{arm}"]
        for estimator in ("fci", "causal-learn"):
            estimated, succeeded = estimate(values, estimator=estimator)
            assert succeeded.all()
            np.testing.assert_array_equal(estimated != 0, graphs[: len(values)] != 0)
            if estimator == "fci" or version("causal-learn") < "0.1.4":
                np.testing.assert_array_equal(estimated, graphs[: len(values)])
        correlations = [pearson_correlation(v) for v in values]
        np.testing.assert_allclose(correlations, file[f"subset_corr_{arm}"][: len(values)], atol=1e-12)


def test_both_estimators(subsets, capsys):
    ours, _ = estimate(subsets)
    theirs, succeeded = estimate(subsets, estimator="causal-learn")
    assert succeeded.all()
    np.testing.assert_array_equal(theirs != 0, ours != 0)
    if version("causal-learn") < "0.1.4":
        np.testing.assert_array_equal(theirs, ours)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("estimator", "test"), [("fci", "fisherz"), ("causal-learn", "fisherz"), ("causal-learn", "kci")]
)
def test_genes_that_do_not_vary_have_no_edges(estimator, test):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(60, 5))
    values[:, 1] = values[:, 0] + 0.1 * values[:, 1]
    values[:, [2, 4]] = [0.0, 0.1]
    silent = np.ones((60, 5))
    graphs, succeeded = estimate([values, silent], estimator=estimator, test=test)
    assert succeeded.all()
    assert graphs[0, 0, 1]
    assert not graphs[0, [2, 4]].any()
    assert not graphs[0, :, [2, 4]].any()
    assert not graphs[1].any()


@pytest.mark.parametrize("estimator", ["fci", "causal-learn"])
def test_duplicated_genes_fail(estimator, subsets):
    duplicated = subsets[0].copy()
    duplicated[:, 1] = duplicated[:, 0]
    graphs, succeeded = estimate([duplicated, subsets[1]], estimator=estimator)
    np.testing.assert_array_equal(succeeded, [False, True])
    assert not graphs[0].any()


@pytest.mark.parametrize("estimator", ["fci", "causal-learn"])
def test_too_few_cells_fail(estimator):
    values = np.array([[0.0, 1, 0], [1, 0, 0], [0, 0, 1]])[:2]
    assert not estimate([values], estimator=estimator)[1].any()


def test_kernel_test_sees_what_correlation_does_not():
    rng = np.random.default_rng(1)
    x = rng.normal(size=80)
    values = np.stack([x, x**2 + 0.1 * rng.normal(size=80), rng.normal(size=80)], axis=1)
    values[:, 1] -= values[:, 1].mean() + x * (values[:, 1] @ x) / (x @ x)
    assert not estimate([values])[0][0, 0, 1]
    graphs, succeeded = estimate([values], estimator="causal-learn", test="kci")
    assert succeeded.all()
    assert graphs[0, 0, 1]
    assert not graphs[0, 2].any()


def test_discrete_test():
    rng = np.random.default_rng(2)
    x = rng.integers(0, 2, size=200)
    values = np.stack([x, x ^ (rng.random(200) < 0.1), rng.integers(0, 2, size=200)], axis=1)
    graphs, succeeded = estimate([values], estimator="causal-learn", test="gsq")
    assert succeeded.all()
    assert graphs[0, 0, 1]


def test_drawing_tests_are_reproducible_and_leave_the_global_stream():
    values = np.random.default_rng(4).normal(size=(80, 3))
    values[:, 2] += values[:, 0]
    test = "rcit" if hasattr(cit, "rcit") else "kci"
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    results = [
        estimate([values], estimator="causal-learn", test=test, rng=np.random.default_rng(9))[0]
        for _ in range(2)
    ]
    np.testing.assert_array_equal(*results)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_threads_leave_the_process_alone_and_change_no_graph(monkeypatch):
    """Nor does an error: the streams, filters and numbers of the process are those of other threads too."""
    values = np.random.default_rng(4).normal(size=(40, 3))
    values[:, 2] += values[:, 0]
    test = "rcit" if hasattr(cit, "rcit") else "kci"

    def estimated(seed):
        rng = np.random.default_rng(seed)
        return estimate([values] * 2, estimator="causal-learn", test=test, rng=rng)[0]

    def process():
        return sys.stdout, sys.stderr, list(warnings.filters), np.random.get_state()[1].tolist()  # noqa: NPY002

    expected, before, during = [estimated(seed) for seed in range(6)], process(), []
    graph = module._causal_learn_graph

    def watched(*arguments):
        during.append(process()[:3] == before[:3])
        return graph(*arguments)

    monkeypatch.setattr(module, "_causal_learn_graph", watched)
    with ThreadPoolExecutor(3) as executor:
        found = list(executor.map(estimated, range(6)))
    np.testing.assert_array_equal(found, expected)
    assert during == [True] * 12
    assert process() == before

    def fails(*_):
        raise RuntimeError("a bug")

    monkeypatch.setattr(module, "_causal_learn_graph", fails)
    with pytest.raises(RuntimeError, match="a bug"):
        estimated(0)
    assert process() == before
    assert not hasattr(FCI, "print")


def test_without_selection_bias():
    marks = np.zeros((4, 4), np.int8)
    marks[0, 1] = marks[1, 0] = -1  # 0 --- 1
    marks[1, 2], marks[2, 1] = -1, 2  # 1 --o 2
    marks[2, 3], marks[3, 2] = -1, 1  # 2 --> 3
    marks[0, 3], marks[3, 0] = 2, 1  # 0 o-> 3
    mapped = without_selection_bias(marks)
    assert mapped[0, 1] == mapped[1, 0] == mapped[1, 2] == mapped[2, 1] == 2
    assert (mapped[2, 3], mapped[3, 2], mapped[0, 3], mapped[3, 0]) == (-1, 1, 2, 1)
    assert marks[0, 1] == -1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"estimator": "pc"}, "unknown estimator"),
        ({"test": "kci"}, "causal-learn"),
        ({"estimator": "causal-learn", "test": "mc_fisherz"}, "unknown test"),
        ({"alpha": 1.0}, "alpha"),
        ({"correlations": np.eye(5)[None]}, "n_samples"),
    ],
)
def test_bad_arguments(subsets, options, message):
    with pytest.raises(ValueError, match=message):
        estimate(subsets, **options)
