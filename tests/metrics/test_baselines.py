import anndata
import numpy as np
import pandas as pd
import pytest
import scanpy
from scipy import stats

from cdn_sc.metrics import RIVALS, rivals
from cdn_sc.metrics._other_packages import PACKAGES
from cdn_sc.metrics.baselines import differential_network, rank_statistics, welch_statistic


@pytest.fixture(scope="module")
def screen():
    """Log-normalised counts of 30 genes, a few of them changed in the perturbed cells."""
    rng = np.random.default_rng(0)
    means = 0.5 + rng.gamma(1.0, 1.5, 30)
    fold = np.ones(30)
    fold[:5] = (0.2, 2, 0.6, 1.5, 0.8)
    counts = np.vstack([rng.poisson(means, (200, 30)), rng.poisson(means * fold, (60, 30))])
    values = np.log1p(counts / counts.sum(axis=1, keepdims=True) * 50).astype(np.float32)
    return values[:200], values[200:]


def scanpy_scores(control, perturbed, method, **options):
    labels = pd.Categorical(["control"] * len(control) + ["hit"] * len(perturbed))
    obs = pd.DataFrame({"label": labels}, index=[f"cell{i}" for i in range(len(labels))])
    var = pd.DataFrame(index=[str(gene) for gene in range(control.shape[1])])
    adata = anndata.AnnData(np.vstack([control, perturbed]), obs, var)
    adata.uns["log1p"] = {"base": None}
    scanpy.tl.rank_genes_groups(adata, "label", groups=["hit"], reference="control", method=method, **options)
    frame = scanpy.get.rank_genes_groups_df(adata, "hit")
    frame.index = frame["names"].astype(int)
    return frame.sort_index()


def test_tests_equal_scanpy(screen):
    scores = rivals(*screen)
    t_test = scanpy_scores(*screen, "t-test")
    wilcoxon = scanpy_scores(*screen, "wilcoxon", tie_correct=True)
    np.testing.assert_allclose(scores["t_test"], t_test["scores"].abs(), rtol=1e-4)
    np.testing.assert_allclose(scores["wilcoxon"], wilcoxon["scores"].abs(), rtol=1e-4)
    np.testing.assert_allclose(scores["log_fold_change"], t_test["logfoldchanges"].abs(), rtol=1e-3)
    for name, reference in (("t_test", t_test), ("wilcoxon", wilcoxon)):
        np.testing.assert_array_equal(np.argsort(-scores[name]), np.argsort(-reference["scores"].abs()))


def test_other_statistics_equal_scipy(screen):
    control, perturbed = screen
    scores = rivals(control, perturbed)
    for gene in range(10):
        a, b = control[:, gene].astype(float), perturbed[:, gene].astype(float)
        assert scores["variance_ratio"][gene] == pytest.approx(stats.levene(a, b).statistic, rel=1e-4)
        assert scores["kolmogorov_smirnov"][gene] == pytest.approx(
            stats.ks_2samp(a, b, method="asymp").statistic
        )


def test_chunks_of_genes_change_nothing(screen, monkeypatch):
    whole = rank_statistics(*screen)
    monkeypatch.setattr("cdn_sc.metrics.baselines._MAX_CHUNK_VALUES", 600)
    np.testing.assert_array_equal(rank_statistics(*screen), whole)


def test_differential_network_finds_a_lost_edge():
    rng = np.random.default_rng(1)
    control = rng.standard_normal((2000, 6))
    control[:, 1] += 2 * control[:, 0]
    perturbed = rng.standard_normal((2000, 6))
    control[:, 5] = 0.1  # a constant that is not exact in binary
    by_hand = np.corrcoef(control[:, :5].T), np.corrcoef(perturbed[:, :5].T)
    scores = differential_network(control, perturbed)
    assert set(np.argsort(-scores)[:2]) == {0, 1}
    fisher = [np.arctanh(matrix - np.eye(5)) for matrix in by_hand]
    expected = np.abs(fisher[1] - fisher[0]).sum(axis=1)
    expected += np.abs(np.arctanh(np.corrcoef(perturbed.T)[5, :5]))
    np.testing.assert_allclose(scores[:5], expected)


def test_undefined_statistics_rank_last(screen):
    control, perturbed = (arm.copy() for arm in screen)
    control[:, 3] = perturbed[:, 3] = 0.7
    for name, score in rivals(control, perturbed).items():
        assert score[3] == -np.inf, name
        assert np.isfinite(np.delete(score, 3)).all(), name


def test_a_gene_switched_off_for_good_is_no_missing_value(screen):
    control, perturbed = (arm.copy() for arm in screen)
    control[:, 3], perturbed[:, 3] = 2.0, 0.0
    scores = rivals(control, perturbed)
    for name in ("log_fold_change", "t_test", "wilcoxon", "kolmogorov_smirnov"):
        assert np.argmax(scores[name]) == 3, name


def test_negative_values_are_compared_by_their_means():
    rng = np.random.default_rng(2)
    control, perturbed = rng.standard_normal((2, 100, 4))
    expected = np.abs(perturbed.mean(axis=0) - control.mean(axis=0))
    np.testing.assert_allclose(rivals(control, perturbed)["log_fold_change"], expected)


@pytest.mark.parametrize(("kind", "sign"), [("knockdown", -1), ("knockout", -1), ("activation", 1)])
def test_one_sided_follows_the_kind(screen, kind, sign):
    t = welch_statistic(*screen)
    assert t.min() < -3 < 3 < t.max()
    np.testing.assert_array_equal(rivals(*screen, kind=kind)["one_sided_t"], sign * t)


@pytest.mark.parametrize("kind", ["activity", "unknown"])
def test_one_sided_is_the_absolute_test_of_other_kinds(screen, kind):
    scores = rivals(*screen, kind=kind)
    np.testing.assert_array_equal(scores["one_sided_t"], scores["t_test"])


def test_one_sided_needs_a_kind_and_changes_nothing_else(screen):
    scores, told = rivals(*screen), rivals(*screen, kind="knockdown")
    assert set(told) - set(scores) == {"one_sided_t"}
    for name in scores:
        np.testing.assert_array_equal(scores[name], told[name])


def test_random_follows_the_seed(screen):
    first, second, other = (rivals(*screen, rng=seed)["random"] for seed in (1, 1, 2))
    assert tuple(name for name in rivals(*screen) if name not in PACKAGES) == RIVALS
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, other)


def test_bad_arms_are_refused(screen):
    control, perturbed = screen
    with pytest.raises(ValueError, match="the same genes"):
        rivals(control, perturbed[:, :5])
    with pytest.raises(ValueError, match="needs two cells"):
        rivals(control, perturbed[:1])
