"""Moderated variances: what limma's estimates are known to do."""

import numpy as np
import pytest
import torch
from scipy import special, stats

from cdn_sc.features._moderated import moderate_variances


def drawn(prior, usual, degrees, n_genes=20_000, seed=0):
    """True variances and their estimates."""
    rng = np.random.default_rng(seed)
    true = usual * prior / rng.chisquare(prior, n_genes)
    return true, true * rng.chisquare(degrees, n_genes) / degrees


def moderated(variances, degrees, known=None):
    values = torch.tensor(np.atleast_2d(variances), dtype=torch.float32)
    known = torch.ones_like(values, dtype=torch.bool) if known is None else torch.tensor([known])
    return moderate_variances(values, torch.full((len(values), 1), float(degrees)), known).double().numpy()


@pytest.mark.parametrize(
    ("prior", "degrees"), [(3.0, 2), (3.0, 5), (3.0, 40), (8.0, 5), (8.0, 40), (30.0, 40)]
)
def test_the_prior_is_found(prior, degrees):
    """The weight of the usual variance is that of its degrees of freedom, and its value is right."""
    _, estimates = drawn(prior, 0.7, degrees)
    found = moderated(estimates, degrees)[0]
    slope, intercept = np.polyfit(estimates, found, 1)
    assert slope == pytest.approx(degrees / (degrees + prior), rel=0.1)
    assert intercept == pytest.approx(0.7 * prior / (degrees + prior), rel=0.1)


def test_moderated_variances_are_closer_to_the_truth():
    true, estimates = drawn(6.0, 1.0, 3)
    error = [np.mean(np.log(found / true) ** 2) for found in (estimates, moderated(estimates, 3)[0])]
    assert error[1] < 0.4 * error[0]


def test_the_moments_are_those_of_the_paper():
    """Smyth 2004, section 6.2, in double precision."""
    _, estimates = drawn(4.0, 2.0, 6, n_genes=50)
    logs = np.log(estimates) - special.digamma(3) + np.log(3)
    beyond = logs.var(ddof=1) - special.polygamma(1, 3)
    half = next(x for x in np.arange(0.01, 50, 1e-4) if special.polygamma(1, x) < beyond)
    usual = np.exp(logs.mean() + special.digamma(half) - np.log(half))
    expected = (2 * half * usual + 6 * estimates) / (2 * half + 6)
    np.testing.assert_allclose(moderated(estimates, 6)[0], expected, rtol=1e-3)


def test_genes_that_differ_no_more_than_by_chance_share_one_variance():
    rng = np.random.default_rng(0)
    estimates = rng.chisquare(4, 4000) / 4
    found = moderated(estimates, 4)[0]
    assert np.ptp(found) < 0.1 * np.ptp(estimates)
    assert found.mean() == pytest.approx(1.0, abs=0.1)


def test_many_cells_need_no_help():
    _, estimates = drawn(3.0, 1.0, 5000, n_genes=300)
    np.testing.assert_allclose(moderated(estimates, 5000)[0], estimates, rtol=5e-3)


def test_silent_genes_take_no_part():
    _, estimates = drawn(5.0, 1.0, 4, n_genes=100)
    known = [True] * 100 + [False] * 40
    with_silent = moderated(np.concatenate([estimates, np.full(40, 1e-12)]), 4, known)[0]
    np.testing.assert_allclose(with_silent[:100], moderated(estimates, 4)[0], rtol=1e-5)
    np.testing.assert_allclose(with_silent[100:], 1e-12, rtol=1e-5)


def test_each_group_has_its_own_prior():
    rows = np.stack([drawn(4.0, 1.0, 5, 400, seed)[1] * scale for seed, scale in ((0, 1), (1, 100))])
    together = moderated(rows, 5)
    for row, found in zip(rows, together, strict=True):
        np.testing.assert_allclose(moderated(row, 5)[0], found, rtol=1e-4)


@pytest.mark.parametrize("n_genes", [1, 2])
def test_two_genes_say_nothing_of_what_is_usual(n_genes):
    values = np.array([0.5, 3.0])[:n_genes]
    np.testing.assert_allclose(moderated(values, 3)[0], values, rtol=1e-6)


def test_moderated_t_of_few_samples_finds_more():
    """Beside Welch's t: two wells against thirty."""
    rng = np.random.default_rng(3)
    hits = []
    for _ in range(20):
        deviation = np.sqrt(3.0 / rng.chisquare(3, 400))
        control, group = (rng.normal(0, deviation, (n, 400)) for n in (30, 2))
        group[:, 7] += 4 * deviation[7]
        welch = np.abs(stats.ttest_ind(group, control, equal_var=False).statistic)
        n0, n1 = 30, 2
        pooled = (control.var(0, ddof=1) * (n0 - 1) + group.var(0, ddof=1) * (n1 - 1)) / (n0 + n1 - 2)
        shift = np.abs(group.mean(0) - control.mean(0))
        t = shift / np.sqrt(moderated(pooled, n0 + n1 - 2)[0])
        hits.append([1 + (x > x[7]).sum() for x in (welch, t)])
    welch, t = np.mean(1 / np.array(hits, dtype=float), axis=0)
    assert t > welch + 0.3
