"""The gene transformer on small random weights: order of genes, padding, kinds, gradients."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from plain_gene_transformer import Plain
from scipy import sparse
from torch.utils._python_dispatch import TorchDispatchMode

from cdn_sc.features import EDGE_FEATURES, FEATURES, N_OWN_FEATURES
from cdn_sc.nn import GeneTransformer, GeneTransformerConfig, collate_genes
from cdn_sc.nn import gene_transformer as module
from cdn_sc.nn.gene_transformer import KIND_NAMES, batch_of_screen

SMALL = {
    "features": 6, "edges": 3, "channels": 16, "heads": 4, "layers": 2, "points": 5, "message_channels": 8,
    "message_heads": 4, "own_features": 2, "known_channels": 4,
}  # fmt: skip


def small_network(**changes):
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        network = GeneTransformer(GeneTransformerConfig(**(SMALL | changes)))
    for parameter in network.parameters():
        parameter.data = parameter.data + 0.2 * torch.randn(parameter.shape, generator=generator)
    return network.eval().double()


def random_inputs(rng, n_genes, n_groups=1, n_features=6, n_edges=3):
    """A screen of some groups, which share their neighbours."""
    k = min(5, n_genes - 1)
    neighbours = [rng.permutation(np.delete(np.arange(n_genes), gene))[:k] for gene in range(n_genes)]
    return SimpleNamespace(
        features=torch.from_numpy(rng.standard_normal((n_groups, n_genes, n_features))),
        neighbours=torch.from_numpy(np.array(neighbours, dtype=np.int64).reshape(n_genes, k)),
        edges=torch.from_numpy(rng.standard_normal((n_groups, n_genes, k, n_edges))),
        known=None,
    )


def with_relations(rng, inputs):
    """The same with a table of relations, one gene without any."""
    n_genes = len(inputs.neighbours)
    weights = rng.standard_normal((n_genes, n_genes)) * (rng.random((n_genes, n_genes)) < 0.4)
    weights[0] = weights[:, 0] = 0.0
    known = SimpleNamespace(of_sources=sparse.csr_array(weights.astype(np.float32)))
    return SimpleNamespace(**(vars(inputs) | {"known": known}))


def as_double(batch):
    """Inputs are single precision; these tests are not."""
    edges = None if batch.edges is None else batch.edges.double()
    return replace(batch, features=batch.features.double(), edges=edges)


def test_relations_are_read(rng):
    """By the genes at both ends; alone, beside other screens, and where groups share them."""
    network, plain = small_network(), random_inputs(rng, 9, 3)
    inputs = with_relations(rng, plain)
    without, told = score(network, [plain]), score(network, [inputs])
    assert (told - without).abs().max() > 1e-2
    beside = score(network, [random_inputs(rng, 12), inputs, random_inputs(rng, 4)])
    torch.testing.assert_close(beside[1:4, :9], told)
    with torch.no_grad():
        torch.testing.assert_close(network(as_double(batch_of_screen(inputs, [None] * 3))), told)
    layer = network.members[0].layers[0].known
    known = as_double(collate_genes([inputs], [None] * 3)).known
    x = torch.from_numpy(rng.standard_normal((3, 9, 16)))
    with torch.no_grad():
        before = layer(x, known)
        assert not before[:, 0].any()
        for gene in range(1, 9):
            changed = x.clone()
            changed[:, gene] += torch.from_numpy(rng.standard_normal(16))
            reads = (layer(changed, known) - before).abs().amax(dim=(0, 2)) > 1e-9
            weights = inputs.known.of_sources.toarray()
            related = (weights[:, gene] != 0) | (weights[gene] != 0)
            related[gene] = (weights[gene] != 0).any() or (weights[:, gene] != 0).any()
            assert reads.tolist() == related.tolist()


def test_without_relations_is_as_if_none_were_known(rng):
    sizes = {"features": len(FEATURES), "edges": len(EDGE_FEATURES), "own_features": N_OWN_FEATURES}
    network = small_network(**sizes)
    inputs = random_inputs(rng, 9, 2, len(FEATURES), len(EDGE_FEATURES))
    batch = as_double(batch_of_screen(with_relations(rng, inputs), [None, "activity"]))
    inputs.features[..., -16:] = 0.0
    inputs.edges[..., -2:] = 0.0
    with torch.no_grad():
        found = network(batch.without_relations())
        torch.testing.assert_close(found, network(as_double(batch_of_screen(inputs, [None, "activity"]))))
        assert (found - network(batch)).abs().max() > 1e-2
    assert batch.known is not None


@torch.no_grad()
def score(network, inputs, kinds=None):
    size = sum(len(x.features) for x in inputs)
    return network(as_double(collate_genes(inputs, kinds or [None] * size)))


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_genes_are_exchangeable(rng):
    network, inputs = small_network(), random_inputs(rng, 9, 2)
    order = torch.from_numpy(rng.permutation(9))
    shuffled = SimpleNamespace(
        features=inputs.features[:, order],
        neighbours=torch.argsort(order)[inputs.neighbours[order]],
        edges=inputs.edges[:, order],
        known=None,
    )
    expected = score(network, [inputs])
    assert expected.std(dim=1).min() > 1e-2
    torch.testing.assert_close(score(network, [shuffled]), expected[:, order])


def test_neighbours_are_exchangeable(rng):
    network, inputs = small_network(), random_inputs(rng, 9)
    order = rng.permutation(5)
    shuffled = SimpleNamespace(**vars(inputs))
    shuffled.neighbours, shuffled.edges = inputs.neighbours[:, order], inputs.edges[:, :, order]
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
        batch.neighbours[1, 4:] = 1
        torch.testing.assert_close(network(batch), expected, rtol=0, atol=0)


def test_kind_matters(rng):
    network, inputs = small_network(), random_inputs(rng, 6)
    scores = score(network, [inputs] * len(KIND_NAMES), list(KIND_NAMES))
    for a in range(len(KIND_NAMES)):
        for b in range(a):
            assert (scores[a] - scores[b]).abs().max() > 1e-3
    torch.testing.assert_close(score(network, [inputs], [None])[0], scores[0])


@pytest.mark.parametrize("part", ["features", "edges"])
def test_every_input_matters(rng, part):
    network, inputs = small_network(), random_inputs(rng, 6)
    changed = SimpleNamespace(**vars(inputs))
    setattr(changed, part, getattr(inputs, part) + 1)
    assert (score(network, [changed]) - score(network, [inputs])).abs().max() > 1e-3


def test_gradients_reach_all_parameters(rng):
    network = small_network(members=2)
    inputs = [with_relations(rng, random_inputs(rng, 9)), random_inputs(rng, 4), random_inputs(rng, 1)]
    batch = as_double(collate_genes(inputs, [*KIND_NAMES[:3]]))
    said = vars(network.outputs(batch)).values()
    sum(each.square().sum() for each in said).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 0, name


def test_members_are_averaged(rng):
    network, inputs = small_network(members=2), random_inputs(rng, 6)
    batch = as_double(collate_genes([inputs], [None]))
    with torch.no_grad():
        first, second = (vars(member(batch)) for member in network.members)
        for name, found in vars(network.outputs(batch)).items():
            torch.testing.assert_close(found, (first[name] + second[name]) / 2)
            assert (first[name] - second[name]).abs().max() > 1e-2
        torch.testing.assert_close(network(batch), network.outputs(batch).logits)


def test_batch_moves_whole(rng):
    batch = collate_genes([with_relations(rng, random_inputs(rng, 3))], [None]).to("meta")
    known = [vars(rows) for rows in vars(batch.known).values()]
    parts = [*vars(batch).values(), *(part for rows in known for part in rows.values())]
    tensors = [part for part in parts if isinstance(part, torch.Tensor)]
    assert len(tensors) == 10
    assert {tensor.device.type for tensor in tensors} == {"meta"}
    assert replace(batch, edges=None).to("meta").edges is None


def test_groups_of_a_screen_share_their_neighbours(rng):
    """As one by one, in whichever runs the network takes them."""
    network, inputs = small_network(), random_inputs(rng, 9, 5)
    inputs.neighbours[3, 2:] = -1
    kinds = [None, *KIND_NAMES[1:]]
    batch = as_double(batch_of_screen(inputs, kinds))
    assert batch.neighbours.shape == batch.edge_mask.shape == (1, 9, 5)
    with torch.no_grad():
        found = network(batch)
        runs = [network(batch.groups(slice(start, start + 2))) for start in range(0, 5, 2)]
    torch.testing.assert_close(found, score(network, [inputs], kinds))
    torch.testing.assert_close(torch.cat(runs), found)
    assert (found[0] - found[1]).abs().max() > 1e-2


def test_one_gene(rng):
    """It has no neighbours, alone or beside larger panels."""
    network, inputs = small_network(), random_inputs(rng, 1, 3)
    batch = as_double(batch_of_screen(inputs, [None] * 3))
    assert batch.edges.shape == (3, 1, 0, 3)
    with torch.no_grad():
        torch.testing.assert_close(network(batch), score(network, [inputs, random_inputs(rng, 4)])[:3, :1])
        torch.testing.assert_close(network(replace(batch, edges=None)), network(batch))


def test_messages_come_from_neighbours_alone(rng):
    """In the neighbours' part of a layer; a gene without any gets none."""
    network = small_network()
    part = network.members[0].layers[0].neighbours
    inputs = random_inputs(rng, 9)
    inputs.neighbours[4] = -1
    inputs.neighbours[1, 2:] = -1
    batch = as_double(collate_genes([inputs], [None]))
    x = torch.from_numpy(rng.standard_normal((1, 9, 16)))
    with torch.no_grad():
        before = part(x, batch)
        assert not before[0, 4].any()
        for gene in range(9):
            changed = x.clone()
            changed[0, gene] += torch.from_numpy(rng.standard_normal(16))
            reads = (part(changed, batch) - before).abs().amax(dim=-1)[0] > 1e-9
            near = (inputs.neighbours == gene).any(dim=1)
            near[gene] = gene != 4  # it gates what it reads
            assert torch.equal(reads, near)


def test_own_logits_come_from_the_first_features_of_each_gene(rng):
    network, inputs = small_network(), random_inputs(rng, 9, 2)
    with torch.no_grad():

        def own():
            return network.outputs(as_double(batch_of_screen(inputs, [None, "activity"]))).own

        before = own()
        inputs.features[..., 2:] += 1.0
        inputs.edges += 1.0
        torch.testing.assert_close(own(), before)
        inputs.features[:, 3, 1] += 1.0
        changed = (own() - before).abs() > 1e-6
    assert changed[:, 3].all()
    assert changed.sum() == 2


class Sizes(TorchDispatchMode):
    """Numbers of values that operations give, in turn."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        result = function(*arguments, **(options or {}))
        several = result if isinstance(result, tuple | list) else [result]
        self.found += [(str(function), x.numel()) for x in several if isinstance(x, torch.Tensor)]
        return result


def test_cost_is_linear_in_genes(rng):
    """Twice the genes give nothing that is more than twice as large: no table of genes and genes."""
    network = small_network()

    def sizes(n_genes):
        batch = as_double(batch_of_screen(random_inputs(rng, n_genes, 2), [None, None]))
        with torch.no_grad(), Sizes() as seen:
            network(batch)
        return seen.found

    small, large = sizes(60), sizes(120)
    assert [name for name, _ in small] == [name for name, _ in large]
    for (name, before), (_, after) in zip(small, large, strict=True):
        assert after <= 2 * before, name
    # a table of 120 x 120 for each of two groups would be larger than all there is but pairs of neighbours
    assert max(size for _, size in large) <= 2 * 120 * 5 * 16


def test_attention_of_points_is_as_sharp_among_many_genes(rng, monkeypatch):
    """By the log of each panel's own genes, padding not among them; 200 are the measure."""
    queries = []
    attend = module.F.scaled_dot_product_attention

    def spy(query, *arguments, **options):
        queries.append(query)
        return attend(query, *arguments, **options)

    monkeypatch.setattr(module.F, "scaled_dot_product_attention", spy)
    network, sizes = small_network(layers=1), (200, 14, 2, 1)
    score(network, [random_inputs(rng, n) for n in sizes])
    points = network.members[0].layers[0].attention.points.view(5, 4, 4).transpose(0, 1)
    for found, n_genes in zip(queries[0], sizes, strict=True):
        torch.testing.assert_close(found, points * np.log(max(n_genes, 2)) / np.log(200))
    assert len(queries) == 2


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
        ({"message_channels": 6}, r"message_heads \(4\) must divide message_channels \(6\)"),
        ({"own_features": 7}, r"own_features \(7\) are some of the features \(6\)"),
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
    if kind is not None:
        inputs = with_relations(rng, inputs)
    number = KIND_NAMES.index(kind or "unknown")
    # as collated, in single precision
    group = SimpleNamespace(
        features=inputs.features[0].float().double().numpy(),
        neighbours=inputs.neighbours.numpy(),
        edges=inputs.edges[0].float().double().numpy(),
        known=None if inputs.known is None else inputs.known.of_sources.toarray().astype(float),
    )
    expected = [
        Plain({name: value.numpy() for name, value in member.state_dict().items()}, SMALL["heads"]).outputs(
            group, number
        )
        for member in network.members
    ]
    with torch.no_grad():
        found = network.outputs(as_double(collate_genes([inputs, random_inputs(rng, 9)], [kind, None])))
    for name, of_both in vars(found).items():
        values = [each[name] for each in expected]
        assert np.ptp(values[0]) > 0.1
        # relations are read in single precision
        np.testing.assert_allclose(
            of_both[0, : len(values[0])].numpy(), np.mean(values, axis=0), rtol=1e-4, atol=1e-5, err_msg=name
        )


def test_default_sizes_are_those_of_the_inputs():
    config = GeneTransformerConfig()
    assert (config.features, config.edges) == (len(FEATURES), len(EDGE_FEATURES))
    assert config.own_features == N_OWN_FEATURES
