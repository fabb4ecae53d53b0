import logging
from importlib.metadata import PackageNotFoundError

import numpy as np
import pytest
from scipy import stats

from cdn_sc.metrics import RIVALS, _other_packages, evaluate, rivals
from cdn_sc.metrics._other_packages import installed, say_what_is_left_out
from cdn_sc.metrics.baselines import correlations, welch_statistic
from cdn_sc.simulate import Pair

REASON = "of the extra 'rivals'"


@pytest.fixture(scope="module")
def arms():
    """Log1p values of 25 genes; gene 0 stays where it is, nine others that correlate with it fell."""
    rng = np.random.default_rng(0)

    def cells(n, fall):
        values = rng.standard_normal((n, 25))
        values[:, 1:10] += values[:, :1]
        values[:, 1:10] -= fall
        return np.log1p(np.exp(1 + 0.5 * values)).astype(np.float32)

    return cells(800, 0), cells(100, 0.7)


@pytest.fixture
def forget():
    for function in (installed, say_what_is_left_out):
        function.cache_clear()
    yield
    for function in (installed, say_what_is_left_out):
        function.cache_clear()


def test_ulm_is_a_regression_on_the_correlates(arms):
    pytest.importorskip("decoupler", reason=REASON)
    scores = rivals(*arms)["ulm_50"]
    assert np.argmax(scores) == 0
    weights, t = correlations(arms[0]), welch_statistic(*arms)
    for gene in (0, 3, 20):
        found = stats.linregress(weights[gene], t)
        assert scores[gene] == pytest.approx(abs(found.slope / found.stderr), rel=1e-6)


def test_ulm_takes_the_strongest_correlates_alone(arms, monkeypatch):
    pytest.importorskip("decoupler", reason=REASON)
    monkeypatch.setattr(_other_packages, "MOST_CORRELATES", 3)
    weights, t = correlations(arms[0])[0], welch_statistic(*arms)
    weights[np.abs(weights) < np.sort(np.abs(weights))[-3]] = 0
    found = stats.linregress(weights, t)
    assert rivals(*arms)["ulm_50"][0] == pytest.approx(abs(found.slope / found.stderr), rel=1e-6)


def test_ulm_of_silent_genes_and_genes_switched_off(arms):
    pytest.importorskip("decoupler", reason=REASON)
    control, perturbed = (arm.copy() for arm in arms)
    control[:, 20] = perturbed[:, 20] = 0  # silent: it has no score
    control[:, 21], perturbed[:, 21] = 2, 0  # infinite t, and no correlations
    scores = rivals(control, perturbed)["ulm_50"]
    assert (scores[20:22] == -np.inf).all()
    assert np.isfinite(np.delete(scores, [20, 21])).all()
    assert np.argmax(scores) < 10


def test_cipher_scores_a_pair(arms):
    pytest.importorskip("cipher", reason=REASON)
    control, perturbed = (arm.copy() for arm in arms)
    perturbed[:, 15] *= 0.3
    scores = rivals(control, perturbed)["cipher"]
    assert np.argmax(scores) == 15
    assert scores.sum() == pytest.approx(1)
    with_silent = [np.hstack([arm, np.zeros((len(arm), 1), arm.dtype)]) for arm in (control, perturbed)]
    assert rivals(*with_silent)["cipher"][-1] == -np.inf


def test_cipher_is_left_out_where_values_are_no_logarithms(arms):
    assert "cipher" not in rivals(*(arm - 3 for arm in arms))
    assert "cipher" not in rivals(*(arm + 40 for arm in arms))


def test_permscore_orders_genes_by_margin():
    pytest.importorskip("permscore", reason=REASON)
    rng = np.random.default_rng(3)
    control, perturbed = rng.standard_normal((500, 6)), rng.standard_normal((200, 6))
    perturbed[:, 2] += 3
    perturbed[:, 4] += 0.6
    scores = rivals(control, perturbed)["permscore"]
    assert np.argsort(-scores)[:2].tolist() == [2, 4]
    assert scores[2] > scores[4] > 0
    assert (np.delete(scores, [2, 4]) == 0).all()


@pytest.mark.parametrize(
    ("limit", "left_out"),
    [("MOST_GENES", {"ulm_50", "cipher"}), ("MOST_GENES_OF_SEARCH", {"permscore"})],
)
def test_large_panels_are_left_out(arms, monkeypatch, limit, left_out):
    arms = [arm[:, :5] for arm in arms]
    there = set(rivals(*arms)) & left_out
    assert there == {name for name in left_out if _other_packages.PACKAGES[name] in installed()}
    monkeypatch.setattr(_other_packages, limit, 4)
    assert not left_out & set(rivals(*arms))


@pytest.mark.parametrize("n_genes", [1, 2, 3])
def test_very_few_genes(arms, n_genes):
    for name, scores in rivals(*(arm[:, :n_genes] for arm in arms)).items():
        assert np.isfinite(scores).all(), name


def test_arms_without_a_difference(arms):
    twice = (arms[0], arms[0])
    for name, scores in rivals(*twice).items():
        assert np.isfinite(scores).all(), name


def test_what_is_not_installed_is_left_out_and_said_once(arms, forget, monkeypatch, caplog):
    def no_version(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(_other_packages, "version", no_version)
    with caplog.at_level(logging.INFO, logger="cdn_sc"):
        results = [evaluate([Pair(*arms, np.array([0]))], progress=False, n_bootstrap=5) for _ in range(2)]
    for result in results:
        assert set(result.settings["methods"]) == set(RIVALS)
        assert result.settings["rival_packages"] == {}
    (said,) = caplog.messages
    assert "ulm_50 (decoupler), cipher (cipher-perturb), permscore (permscore)" in said
