"""The split of groups: similar effects and shared targets stay on one side."""

import anndata as ad
import numpy as np
import pytest
import scanpy as sc

import cdn_sc
from cdn_sc.errors import InputError
from cdn_sc.tl._effect_split import choose_validation, effect_clusters


def random_effects(n_groups, seed=0, n_genes=60):
    return np.random.default_rng(seed).normal(size=(n_groups, n_genes))


def own_targets(n_groups):
    return [[number] for number in range(n_groups)]


def test_duplicated_effects_share_a_cluster():
    effects = random_effects(12)
    noise = np.random.default_rng(1).normal(0, 0.5, (12, 60))
    clusters = effect_clusters(np.concatenate([effects, 3 * effects + noise]), own_targets(24))
    np.testing.assert_array_equal(clusters[:12], clusters[12:])
    np.testing.assert_array_equal(clusters[:12], np.arange(12))


def test_opposite_effects_are_apart():
    effects = random_effects(2)
    clusters = effect_clusters(np.concatenate([effects, -effects]), own_targets(4))
    assert len(set(clusters)) == 4


def test_shared_targets_share_a_cluster():
    clusters = effect_clusters(random_effects(5), [[0], [1, 7], [2], [7], [3]])
    np.testing.assert_array_equal(clusters, [0, 1, 2, 1, 3])


def test_effects_that_are_nearly_all_alike_are_still_told_apart():
    shared = random_effects(1)
    effects = shared + random_effects(10, seed=1) * 0.4  # every two correlate around 0.86
    clusters = effect_clusters(effects, own_targets(10), 0.3)
    assert 10 - np.bincount(clusters).max() >= 3


def test_groups_without_an_effect():
    effects = random_effects(4)
    effects[1:3] = 0
    assert len(set(effect_clusters(effects, own_targets(4)))) == 4
    np.testing.assert_array_equal(effect_clusters(effects[:1], [[0]]), [0])


@pytest.mark.parametrize("share", [0.1, 0.2, 0.5, 0.9])
def test_validation_takes_whole_clusters(share):
    clusters = np.array([0, 0, 1, 1, 1, 2, 3, 4, 4, 5, 6, 6, 6, 7, 8, 8, 9, 9, 9, 9])
    chosen = [choose_validation(clusters, share, np.random.default_rng(seed)) for seed in range(10)]
    for held in chosen:
        assert set(clusters[held]).isdisjoint(clusters[~held])
        assert 0 < held.sum() <= max(1, round(share * 20))
        assert not held.all()
    assert len({held.tobytes() for held in chosen}) > 1
    again = choose_validation(clusters, share, np.random.default_rng(0))
    np.testing.assert_array_equal(chosen[0], again)


def test_the_smallest_cluster_where_none_fits():
    clusters = np.array([0, 0, 0, 1, 1])
    for seed in range(5):
        held = choose_validation(clusters, 0.2, np.random.default_rng(seed))
        np.testing.assert_array_equal(held, clusters == 1)


def test_one_cluster_cannot_be_split():
    with pytest.raises(InputError, match=r"the 3 group\(s\) .* cannot be split .* validation=0"):
        choose_validation(np.zeros(3, dtype=int), 0.5, np.random.default_rng(0))


def test_a_screen_with_every_perturbation_twice():
    """Cells of each group are dealt out to two groups: their effects are the same but for noise."""
    adata = cdn_sc.simulate.screen(60, {"knockdown": 16}, n_control=400, n_perturbed=300, seed=4)
    sc.pp.normalize_total(adata)
    sc.pp.log1p(adata)
    labels = adata.obs["perturbation"].astype(str).to_numpy()
    values = ad.AnnData(adata.X).to_df().to_numpy()
    control = values[labels == "control"].mean(axis=0)
    groups = sorted(set(labels) - {"control"})
    halves = [values[labels == group][half::2].mean(axis=0) - control for half in (0, 1) for group in groups]
    # targets are not told: the effects alone must do
    clusters = effect_clusters(np.stack(halves), own_targets(32), 0.25)
    strong = np.array([np.corrcoef(halves[i], halves[i + 16])[0, 1] > 0.5 for i in range(16)])
    assert strong.sum() > 10
    np.testing.assert_array_equal(clusters[:16][strong], clusters[16:][strong])
    for seed in range(20):
        held = choose_validation(clusters, 0.25, np.random.default_rng(seed))
        np.testing.assert_array_equal(held[:16][strong], held[16:][strong])
