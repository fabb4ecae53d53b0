"""`predict_targets` with real networks (untrained), and what must not change their results."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import cdn_sc
from cdn_sc.tl import predict_targets


@pytest.fixture(params=["cdn", "gene_transformer"])
def network(request):
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(0)
        if request.param == "cdn":
            from cdn_sc.nn.cdn import CDN
            from cdn_sc.nn.config import CDNConfig

            return CDN(CDNConfig(channels=16, heads=2, blocks=1)).eval()
        from cdn_sc.nn.gene_transformer import GeneTransformer, GeneTransformerConfig

        return GeneTransformer(GeneTransformerConfig()).eval()


def test_networks_score_every_candidate(screen, network):
    subsets = {"n_subsets": 6} if network.config.architecture == "cdn" else {}
    options = {"model": network, "device": "cpu", "progress": False} | subsets
    predict_targets(screen, "perturbation", "control", **options)
    table = cdn_sc.get.predicted_targets_df(screen)
    assert len(table) == 4 * 12
    assert table["score"].between(0, 1).all()
    assert table["score"].nunique() > 12
    assert np.isfinite(table["logfoldchange"]).all()

    predict_targets(screen, "perturbation", "control", groups=["x/y", "A+B"], n_jobs=2, **options)
    again = cdn_sc.get.predicted_targets_df(screen, ["A+B", "x/y"])
    before = table[table["group"].isin(["A+B", "x/y"])].reset_index(drop=True)
    pd.testing.assert_series_equal(again["gene"].astype(str), before["gene"].astype(str))
    np.testing.assert_allclose(again["score"], before["score"], atol=1e-6)


def test_statistics_of_each_gene(screen, network):
    """Those of the candidates that the model sees, beside the score that they belong to."""
    chosen = np.arange(12) % 2 == 1
    predict_targets(
        screen, "perturbation", "control", model=network, mask_var=chosen, device="cpu", progress=False
    )
    table = cdn_sc.get.predicted_targets_df(screen, "x/y").set_index("gene")
    elsewhere = ["score_elsewhere", "direction"] if network.config.architecture == "gene_transformer" else []
    assert list(table.columns[3:]) == ["t_statistic", "wilcoxon_statistic", *elsewhere]
    assert (table[table.columns[3:]].dtypes == np.float32).all()
    for gene, row in table.iterrows():
        control, perturbed = (
            screen[screen.obs["perturbation"] == label, gene].X.toarray()[:, 0].astype(float)
            for label in ("control", "x/y")
        )
        expected = stats.ttest_ind(perturbed, control, equal_var=False).statistic
        assert row["t_statistic"] == pytest.approx(expected, rel=1e-4)
        assert np.sign(row["wilcoxon_statistic"]) == np.sign(
            stats.mannwhitneyu(perturbed, control).statistic - perturbed.size * control.size / 2
        )
    assert table["wilcoxon_statistic"].idxmin() == "gene3"
    if elsewhere:
        assert table["score_elsewhere"].between(-1, 1).all()
        assert (table["score_elsewhere"] < table["score"]).all()
        assert table["score_elsewhere"].nunique() == 6


def test_unknown_kind(screen, network):
    with pytest.raises(ValueError, match="kind is one of 'knockdown'"):
        predict_targets(screen, "perturbation", "control", model=network, kind="knock-down", device="cpu")
    assert not screen.uns


def test_group_with_one_varying_gene(screen, network):
    """Graphs need two genes; the gene transformer scores one."""
    values = np.full(screen.shape, 0.5, np.float32)
    values[:, 1] = screen.X[:, [1]].toarray()[:, 0]
    values[screen.obs["perturbation"] == "drug_A", 5] = np.arange(20)
    screen.X = values
    options = {"model": network, "device": "cpu", "progress": False}
    if network.config.architecture == "gene_transformer":
        predict_targets(screen, "perturbation", "control", **options)
        assert screen.uns["cdn_targets"]["skipped"].empty
        predict_targets(screen[:, [1]].copy(), "perturbation", "control", **options)
        return
    with pytest.warns(UserWarning, match="3 of 4 groups .*1 candidate gene, and the model needs 2"):
        predict_targets(screen, "perturbation", "control", n_subsets=6, **options)
    assert list(screen.uns["cdn_targets"]["table"]["group"].cat.categories) == ["drug_A"]
    for adata, choice in (
        (screen, {"n_genes": 1}),
        (screen, {"mask_var": np.arange(12) == 5}),
        (screen[:, [1]].copy(), {}),
    ):
        with pytest.raises(ValueError, match=r"no group could be scored: .*needs 2"):
            predict_targets(adata, "perturbation", "control", n_subsets=6, **choice, **options)


def test_tests_of_causal_learn(screen):
    """What is no correlation shows in kernels alone, and so the scores differ."""
    import torch

    from cdn_sc.nn.cdn import CDN
    from cdn_sc.nn.config import CDNConfig

    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = CDN(CDNConfig(channels=16, heads=2, blocks=1)).eval()
    angle = np.random.default_rng(0).uniform(0, 2 * np.pi, screen.n_obs)
    values = screen.X.toarray()
    values[:, :2] = 2 + np.stack([np.cos(angle), np.sin(angle)], axis=1)
    screen.X = values
    tables = {}
    for test in ("fisherz", "kci"):
        predict_targets(
            screen,
            "perturbation",
            "control",
            groups=["drug_A"],
            model=network,
            n_subsets=2,
            mask_var=np.arange(12) < 5,
            estimator="causal-learn",
            test=test,
            device="cpu",
            progress=False,
        )
        assert screen.uns["cdn_targets"]["params"]["test"] == test
        tables[test] = (
            cdn_sc.get.predicted_targets_df(screen, "drug_A").set_index("gene")["score"].sort_index()
        )
    assert not np.array_equal(tables["fisherz"], tables["kci"])
