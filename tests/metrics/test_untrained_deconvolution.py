import numpy as np
import pytest

from cdn_sc.features import FEATURES, gene_inputs, summarize_control
from cdn_sc.metrics import rivals


@pytest.fixture(scope="module")
def arms():
    """60 genes in groups of ten that follow the first of them; in the third, all but that one fell."""
    rng = np.random.default_rng(0)

    def cells(n):
        values = 0.4 * rng.standard_normal((n, 60))
        leaders = values[:, ::10].copy()
        values += 0.5 * leaders.repeat(10, axis=1)
        return np.exp(values).astype(np.float32)

    control, perturbed = cells(600), cells(80)
    perturbed[:, 21:30] *= 0.8
    control[:, 59] = perturbed[:, 59] = 0.1  # silent
    return control, perturbed


def test_nearly_the_networks_input(arms):
    """Which starts from moderated t and, of few cells, less of the rank sums."""
    control, perturbed = arms
    inputs = gene_inputs(summarize_control(control), perturbed).features[0].numpy()
    deconvolved = np.expm1(np.abs(inputs[:, FEATURES.index("deconvolved")]))
    scores = rivals(control, perturbed)["deconvolution"]
    assert scores[59] == -np.inf
    assert np.count_nonzero(scores[:59]) > 3
    assert np.corrcoef(scores[:59], deconvolved[:59])[0, 1] > 0.999
    np.testing.assert_allclose(scores[:59], deconvolved[:59], atol=0.1)


def test_the_leader_of_what_fell_comes_first(arms):
    scores = rivals(*arms)["deconvolution"]
    assert np.argmax(scores) == 20
    assert scores[20] > 2 * np.delete(scores, np.arange(20, 30)).max()


@pytest.mark.parametrize("n_genes", [1, 2, 3])
def test_very_few_genes(arms, n_genes):
    scores = rivals(*(arm[:, :n_genes] for arm in arms))["deconvolution"]
    assert np.isfinite(scores).all()
