"""From pairs of arms to batches, for both architectures."""

import numpy as np
import pytest
import torch

from cdn_sc._known_relations import KnownRelations
from cdn_sc.features import gene_inputs, summarize_control
from cdn_sc.inputs import make_batch
from cdn_sc.models import build_network

CDN = {
    "architecture": "cdn", "num_vars": 12, "max_subsets": 60, "channels": 8, "heads": 2, "blocks": 1,
    "encoder_ffn": 4, "comparison_ffn": 8,
}  # fmt: skip


def network_of(configuration):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build_network(configuration).eval()


@pytest.fixture(scope="module")
def cdn():
    return network_of(CDN)


@pytest.fixture(scope="module")
def gene_transformer():
    return network_of({"architecture": "gene_transformer", "channels": 8, "heads": 2, "layers": 1})


@pytest.fixture
def arms():
    rng = np.random.default_rng(0)
    return [tuple(rng.gamma(1.0, 1.0, (n, 7)).astype(np.float32) for n in (40, 25)) for _ in range(3)]


def batch_of(network, arms, seed=0, **options):
    return make_batch(network, arms, rng=np.random.default_rng(seed), **options)


def test_one_control_array_is_summarised_once(gene_transformer, arms, record_summaries):
    control = arms[0][0]
    batch_of(gene_transformer, [(control, perturbed) for _, perturbed in arms])
    assert len(record_summaries) == 1
    batch_of(gene_transformer, arms)
    assert len(record_summaries) == 4


def test_contrasts_are_part_of_what_is_shared(gene_transformer, arms, record_summaries):
    control, others = arms[0][0], arms[1][0] - arms[1][0].mean(axis=0)
    pairs = [(control, perturbed) for _, perturbed in arms]
    batch = batch_of(gene_transformer, pairs, contrasts=[others, others, None])
    assert len(record_summaries) == 2
    for b, contrasts in enumerate([others, others, None]):
        expected = gene_inputs(summarize_control(control, contrasts), pairs[b][1])
        np.testing.assert_allclose(batch.features[b], expected.features[0], atol=1e-4)
    assert not torch.equal(batch.features[1], batch_of(gene_transformer, pairs).features[1])


def test_each_comparison_gets_its_own_control(gene_transformer, arms):
    mixed = [arms[0], (arms[0][0], arms[1][1]), arms[2], arms[0]]
    together = batch_of(gene_transformer, mixed)
    for b, pair in enumerate(mixed):
        alone = batch_of(gene_transformer, [pair])
        np.testing.assert_allclose(together.features[b], alone.features[0], atol=1e-4)
        np.testing.assert_allclose(together.edges[b], alone.edges[0], atol=1e-4)
        assert torch.equal(together.neighbours[b], alone.neighbours[0])
        assert torch.equal(together.edge_mask[b], alone.edge_mask[0])


def test_relations_are_part_of_what_is_shared(gene_transformer, arms, record_summaries):
    """Each comparison gets its own, also where they share their control cells with others."""
    control = arms[0][0]
    pairs = [(control, perturbed) for _, perturbed in arms]
    known = KnownRelations.of_entries(7, np.array([0, 1, 4]), np.array([3, 5, 0]), np.array([1.0, -1.0, 1.0]))
    batch = batch_of(gene_transformer, pairs, relations=[known, None, known])
    for b, relations in enumerate([known, None, known]):
        expected = gene_inputs(summarize_control(control), pairs[b][1], relations=relations)
        np.testing.assert_allclose(batch.features[b], expected.features[0], atol=1e-4)
    with torch.inference_mode():
        scores, without = gene_transformer(batch), gene_transformer(batch_of(gene_transformer, pairs))
        torch.testing.assert_close(gene_transformer(batch.without_relations()), without)
    torch.testing.assert_close(scores[1], without[1])
    assert (scores[0] - without[0]).abs().max() > 1e-4


def test_kinds(gene_transformer, arms):
    assert batch_of(gene_transformer, arms).kind.tolist() == [0, 0, 0]
    assert batch_of(gene_transformer, arms, kinds=[None, "knockdown", "activity"]).kind.tolist() == [0, 1, 4]
    with pytest.raises(ValueError, match="unknown kind"):
        batch_of(gene_transformer, arms[:1], kinds=["drug"])


def test_gene_transformer_draws_nothing(gene_transformer, arms):
    rng = np.random.default_rng(0)
    before = rng.bit_generator.state
    make_batch(gene_transformer, arms, rng=rng)
    assert rng.bit_generator.state == before


def test_graphs_batch(cdn, arms):
    batch = batch_of(cdn, arms, n_subsets=(6, 4))
    assert batch.control.n_subsets.max() <= 6
    assert batch.perturbed.n_subsets.max() <= 4
    # identities come from the network's own range, not from the published one
    assert batch.control.permutations.shape == (3, 3, 13)
    again = batch_of(cdn, arms, n_subsets=(6, 4))
    assert torch.equal(batch.control.tokens, again.control.tokens)
    assert torch.equal(batch.perturbed.permutations, again.perturbed.permutations)
    other = batch_of(cdn, arms, n_subsets=(6, 4), seed=1)
    assert not torch.equal(batch.perturbed.permutations, other.perturbed.permutations)
    with torch.inference_mode():
        assert cdn(batch).shape == (3, 7)


def test_estimator_is_passed_on(cdn, arms):
    with pytest.raises(ValueError, match="guess"):
        batch_of(cdn, arms[:1], estimator="guess")
    with pytest.raises(ValueError, match="coin"):
        batch_of(cdn, arms[:1], test="coin")


@pytest.mark.parametrize("name", ["cdn", "gene_transformer"])
def test_arms_of_different_genes(name, arms, request):
    control, perturbed = arms[0]
    with pytest.raises(ValueError, match="genes"):
        batch_of(request.getfixturevalue(name), [(control, perturbed[:, :6])], n_subsets=(2, 2))
