import numpy as np
import pytest
from scipy import stats
from scipy.special import digamma, polygamma

from cdn_sc.metrics import rivals
from cdn_sc.metrics._moderated_t import fit_variance_prior, inverse_trigamma, moderated_t_statistic


@pytest.fixture
def arms():
    rng = np.random.default_rng(0)
    spread = np.sqrt(4 * 0.5 / rng.chisquare(4, 300))
    control, perturbed = (rng.standard_normal((n, 300)) * spread for n in (5, 3))
    return control.astype(np.float32), (perturbed + np.r_[3.0, np.zeros(299)]).astype(np.float32)


def test_inverse_trigamma_of_known_values():
    assert inverse_trigamma(np.pi**2 / 6) == pytest.approx(1)
    assert inverse_trigamma(np.pi**2 / 2) == pytest.approx(0.5)
    assert inverse_trigamma(np.pi**2 / 6 - 1) == pytest.approx(2)


@pytest.mark.parametrize("value", [1e-8, 1e-3, 1.0, 1e3, 1e8])
def test_inverse_trigamma_there_and_back(value):
    assert float(polygamma(1, inverse_trigamma(value))) == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize(("degrees", "variance"), [(3.0, 0.2), (8.0, 5.0), (40.0, 1.0)])
def test_the_prior_of_simulated_variances_is_found(degrees, variance):
    rng = np.random.default_rng(1)
    true = degrees * variance / rng.chisquare(degrees, 50_000)
    prior = fit_variance_prior(true * rng.chisquare(10, 50_000) / 10, 10)
    assert prior.degrees == pytest.approx(degrees, rel=0.1)
    assert prior.variance == pytest.approx(variance, rel=0.02)


def test_the_prior_has_the_moments_of_the_logarithms():
    variances = np.array([0.1, 0.5, 0.9, 2.0, 11.0])
    prior = fit_variance_prior(variances, 4)
    logs, half = np.log(variances), prior.degrees / 2
    assert logs.var(ddof=1) == pytest.approx(polygamma(1, 2) + polygamma(1, half))
    mean = np.log(prior.variance) + digamma(2) - np.log(2) - digamma(half) + np.log(half)
    assert logs.mean() == pytest.approx(mean)


def test_alike_variances_are_all_replaced_by_the_prior(arms):
    assert fit_variance_prior(np.full(20, 3.0), 4).degrees == np.inf
    # eight standardised values, in another order for every gene
    rng = np.random.default_rng(2)
    values = rng.permuted(np.tile(np.arange(8.0), (50, 1)), axis=1).T
    values /= np.sqrt(np.r_[values[:5] - values[:5].mean(0), values[5:] - values[5:].mean(0)].var(axis=0))
    t = moderated_t_statistic(values[:5], values[5:])
    difference = values[5:].mean(axis=0) - values[:5].mean(axis=0)
    np.testing.assert_allclose(t / difference, t[0] / difference[0])


def test_statistic_by_hand(arms):
    control, perturbed = (arm.astype(float) for arm in arms)
    degrees = 6
    pooled = (4 * control.var(axis=0, ddof=1) + 2 * perturbed.var(axis=0, ddof=1)) / degrees
    prior = fit_variance_prior(pooled, degrees)
    assert 2 < prior.degrees < 8
    posterior = (prior.degrees * prior.variance + degrees * pooled) / (prior.degrees + degrees)
    expected = (perturbed.mean(axis=0) - control.mean(axis=0)) / np.sqrt(posterior * (1 / 5 + 1 / 3))
    np.testing.assert_allclose(moderated_t_statistic(*arms), expected, rtol=1e-6)
    np.testing.assert_allclose(rivals(*arms)["moderated_t"], np.abs(expected), rtol=1e-6)


def test_a_single_gene_has_the_usual_statistic(arms):
    one = [arm[:, :1].astype(float) for arm in arms]
    usual = stats.ttest_ind(one[1], one[0]).statistic
    np.testing.assert_allclose(moderated_t_statistic(*one), usual)


def test_silent_genes_take_no_part(arms):
    silent = [np.hstack([arm, np.full((len(arm), 40), 0.1, dtype=np.float32)]) for arm in arms]
    np.testing.assert_array_equal(moderated_t_statistic(*silent)[:300], moderated_t_statistic(*arms))
    assert (rivals(*silent)["moderated_t"][300:] == -np.inf).all()


def test_a_gene_switched_off_for_good_gets_the_prior_variance(arms):
    control, perturbed = (arm.copy() for arm in arms)
    control[:, 7], perturbed[:, 7] = 90.0, 0.0
    t = moderated_t_statistic(control, perturbed)
    assert np.isfinite(t).all()
    assert np.argmin(t) == 7
