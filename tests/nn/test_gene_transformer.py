"""The gene transformer on small random weights: order of genes, padding, kinds, gradients."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from plain_gene_transformer import Plain

from cdn_sc.nn import GeneTransformer, GeneTransformerConfig, collate_genes
from cdn_sc.nn.gene_transformer import KIND_NAMES

SMALL = {
    "features": 6, "edges": 3, "mixing": 2, "channels": 16, "heads": 4, "layers": 2, "edge_channels": 8,
    "mixing_channels": 4,
}  # fmt: skip


def small_network(**changes):
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        network = GeneTransformer(GeneTransformerConfig(**(SMALL | changes)))
    for parameter in network.parameters():
        parameter.data = parameter.data + 0.2 * torch.randn(parameter.shape, generator=generator)
    return network.eval().double()


def random_inputs(rng, n_genes):
    k = min(5, n_genes - 1)
    neighbours = [rng.permutation(np.delete(np.arange(n_genes), gene))[:k] for gene in range(n_genes)]
    return SimpleNamespace(
        features=rng.standard_normal((n_genes, 6)).astype(np.float32),
        neighbours=np.array(neighbours, dtype=np.int64).reshape(n_genes, k),
        edges=rng.standard_normal((n_genes, k, 3)).astype(np.float32),
        mixing=rng.standard_normal((2, n_genes, n_genes)).astype(np.float32),
    )


def as_double(batch):
    return replace(
        batch, features=batch.features.double(), edges=batch.edges.double(), mixing=batch.mixing.double()
    )


@torch.no_grad()
def score(network, inputs, kinds=None):
    return network(as_double(collate_genes(inputs, kinds or [None] * len(inputs))))


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_genes_are_exchangeable(rng):
    network, inputs = small_network(), random_inputs(rng, 9)
    order = rng.permutation(9)
    shuffled = SimpleNamespace(
        features=inputs.features[order],
        neighbours=np.argsort(order)[inputs.neighbours[order]],
        edges=inputs.edges[order],
        mixing=inputs.mixing[:, order][:, :, order],
    )
    expected = score(network, [inputs])[0]
    assert expected.std() > 1e-2
    torch.testing.assert_close(score(network, [shuffled])[0], expected[torch.from_numpy(order)])


def test_neighbours_are_exchangeable(rng):
    network, inputs = small_network(), random_inputs(rng, 9)
    order = rng.permutation(5)
    shuffled = SimpleNamespace(**vars(inputs))
    shuffled.neighbours, shuffled.edges = inputs.neighbours[:, order], inputs.edges[:, order]
    torch.testing.assert_close(score(network, [shuffled]), score(network, [inputs]))


@pytest.mark.parametrize("sizes", [(9, 7), (12, 4, 2), (3, 1), (6, 6)])
def test_comparison_does_not_depend_on_its_batch(rng, sizes):
    """Also where a small panel has fewer neighbours a gene than the largest of the batch."""
    network, inputs = small_network(), [random_inputs(rng, n) for n in sizes]
    kinds = [None, "activity", "knockdown"][: len(sizes)]
    together = score(network, inputs, kinds)
    for b, n_genes in enumerate(sizes):
        alone = score(network, [inputs[b]], [kinds[b]])[0]
        torch.testing.assert_close(together[b, :n_genes], alone)
        assert (together[b, n_genes:] == 0).all()


def test_padding_is_never_read(rng):
    network = small_network()
    batch = as_double(collate_genes([random_inputs(rng, 9), random_inputs(rng, 4)], [None, None]))
    with torch.no_grad():
        expected = network(batch)
        batch.features[1, 4:] = 1e3
        batch.edges[1, 4:] = 1e3
        batch.edges[1, :, 3:] = 1e3  # a panel of 4 has 3 neighbours a gene
        batch.neighbours[1, :4, 3:] = 8
        torch.testing.assert_close(network(batch), expected, rtol=0, atol=0)


def test_kind_matters(rng):
    network, inputs = small_network(), random_inputs(rng, 6)
    scores = score(network, [inputs] * len(KIND_NAMES), list(KIND_NAMES))
    for a in range(len(KIND_NAMES)):
        for b in range(a):
            assert (scores[a] - scores[b]).abs().max() > 1e-3
    torch.testing.assert_close(score(network, [inputs], [None])[0], scores[0])


@pytest.mark.parametrize("part", ["features", "edges", "mixing"])
def test_every_input_matters(rng, part):
    network, inputs = small_network(), random_inputs(rng, 6)
    changed = SimpleNamespace(**vars(inputs))
    setattr(changed, part, getattr(inputs, part) + 1)
    assert (score(network, [changed]) - score(network, [inputs])).abs().max() > 1e-3


def test_gradients_reach_all_parameters(rng):
    network = small_network(members=2)
    batch = as_double(collate_genes([random_inputs(rng, n) for n in (9, 4, 1)], [*KIND_NAMES[:3]]))
    network(batch).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 0, name


def test_members_are_averaged(rng):
    network, inputs = small_network(members=2), random_inputs(rng, 6)
    batch = as_double(collate_genes([inputs], [None]))
    with torch.no_grad():
        first, second = (member(batch) for member in network.members)
        torch.testing.assert_close(network(batch), (first + second) / 2)
    assert (first - second).abs().max() > 1e-2


def test_batch_moves_whole(rng):
    batch = collate_genes([random_inputs(rng, 3)], [None]).to("meta")
    assert {tensor.device.type for tensor in vars(batch).values()} == {"meta"}


def test_unusable_input(rng):
    inputs = random_inputs(rng, 3)
    with pytest.raises(ValueError, match="unknown kind of perturbation 'overexpression'"):
        collate_genes([inputs], ["overexpression"])
    with pytest.raises(ValueError, match="one kind for each"):
        collate_genes([inputs], [])
    with pytest.raises(ValueError, match="0 comparisons"):
        collate_genes([], [])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channels": 18}, r"heads \(4\) must divide channels \(18\)"),
        ({"layers": 0}, "layers must be a positive integer"),
        ({"members": 1.5}, "members must be a positive integer"),
        ({"dropout": 1.0}, "dropout must lie in"),
    ],
)
def test_impossible_configurations(changes, message):
    with pytest.raises(ValueError, match=message):
        GeneTransformerConfig(**(SMALL | changes))


@pytest.mark.parametrize("kind", [None, "activity"])
def test_network_is_the_one_described(rng, kind):
    """Two members against plain numpy; genes with fewer neighbours, or none, among them."""
    network, inputs = small_network(members=2), random_inputs(rng, 7)
    inputs.neighbours[1, 2:] = inputs.neighbours[4] = -1
    number = KIND_NAMES.index(kind or "unknown")
    expected = [
        Plain({name: value.numpy() for name, value in member.state_dict().items()}, SMALL["heads"]).logits(
            inputs, number
        )
        for member in network.members
    ]
    found = score(network, [inputs, random_inputs(rng, 9)], [kind, None])[0, :7].numpy()
    assert np.ptp(expected[0]) > 0.1
    np.testing.assert_allclose(found, np.mean(expected, axis=0), rtol=1e-6, atol=1e-8)
