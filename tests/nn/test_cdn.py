"""The network on small random weights: equality with its description, batching, masks, gradients."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from nn_arms import empty_arm, random_arm, small_config, small_network

from cdn_sc.nn import CDN, SEA, CDNConfig, SEAConfig, axial, collate, collate_arms, draw_permutations
from straightforward_network import encode as reference_code
from straightforward_network import logits as reference_logits

FORMS = ("concat", "difference")
SIZES = ((4, 3, 7), (11, 9, 4), (8, 2, 12))  # genes, subsets of the control arm, of the perturbed arm


@pytest.fixture(params=FORMS)
def network(request):
    return small_network(CDN, small_config(request.param))


def samples_and_permutations(network, sizes=SIZES, seed=1):
    rng = np.random.default_rng(seed)
    pairs = [(random_arm(rng, n, t), random_arm(rng, n, u)) for n, t, u in sizes]
    return pairs, [draw_permutations(rng, network.config.num_vars) for _ in pairs]


@torch.no_grad()
def score(network, pairs, permutations):
    return network(collate(pairs, permutations=permutations))


def test_equals_its_description(network):
    """The savings (few keys, filled queries, merged U) are exact."""
    network = network.double()
    pairs, permutations = samples_and_permutations(network)
    for pair, drawn in zip(pairs, permutations, strict=True):
        expected = reference_logits(network.state_dict(), network.config, *pair, drawn)
        found = score(network, [pair], [drawn])[0]
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
        assert expected.std() > 1e-3  # no agreement of constants


@pytest.mark.parametrize("holders", [1, 2])
def test_rows_that_are_equal_are_held_once(network, holders):
    """Many genes, few pairs in common: subsets that share a row, unless two of them hold the first pair."""
    network = network.double()
    rng = np.random.default_rng(6)
    arms = []
    while len(arms) < 2:
        arm = random_arm(rng, 29, 9)
        if (arm.tokens[:, 0] != 0).sum() == holders:
            arms.append(arm)
    drawn = draw_permutations(rng, network.config.num_vars)
    for rows in collate_arms(arms, [drawn[:3]] * 2).rows:
        n_rows, n_lone = len(rows.row_subsets), len(rows.lone_columns)
        assert (n_rows < 8 and n_lone == 20 * (10 - n_rows)) if holders == 1 else (n_rows, n_lone) == (9, 0)
        assert rows.counts.sum() == 9
    expected = reference_logits(network.state_dict(), network.config, *arms, drawn)
    torch.testing.assert_close(score(network, [arms], [drawn])[0], expected, rtol=0, atol=1e-10)


def test_gene_silent_in_both_arms(network):
    """First and last genes silent: statistics that do not differ are masked in the difference form."""
    network = network.double()
    rng = np.random.default_rng(3)
    pair = tuple(random_arm(rng, 7, 6, silent=(0, 6)) for _ in range(2))
    drawn = draw_permutations(rng, network.config.num_vars)
    expected = reference_logits(network.state_dict(), network.config, *pair, drawn)
    torch.testing.assert_close(score(network, [pair], [drawn])[0], expected, rtol=0, atol=1e-10)
    larger = (random_arm(rng, 9, 4), random_arm(rng, 9, 5))
    both = score(network, [pair, larger], [drawn, draw_permutations(rng, network.config.num_vars)])
    torch.testing.assert_close(both[0, :7], expected, rtol=0, atol=1e-10)


def test_sample_does_not_depend_on_its_batch(network):
    pairs, permutations = samples_and_permutations(network)
    together = score(network, pairs, permutations)
    for row, pair, drawn in zip(together, pairs, permutations, strict=True):
        alone = score(network, [pair], [drawn])[0]
        torch.testing.assert_close(row[: len(alone)], alone, rtol=0, atol=1e-5)
        assert not row[len(alone) :].any()


def test_sample_does_not_depend_on_its_batch_where_genes_agree(network):
    """Equal N takes the path without gene masks; T and K differ."""
    pairs, permutations = samples_and_permutations(network, sizes=((9, 2, 8), (9, 7, 3)))
    assert not collate(pairs, permutations=permutations).control.padded
    together = score(network, pairs, permutations)
    for row, pair, drawn in zip(together, pairs, permutations, strict=True):
        torch.testing.assert_close(row, score(network, [pair], [drawn])[0], rtol=0, atol=1e-5)


def poison(arm):
    """Garbage wherever a size or a token of 0 says padding."""
    rng = np.random.default_rng(0)
    tokens, columns, pairs = arm.tokens.numpy(), arm.columns.numpy().copy(), arm.pairs.numpy().copy()
    columns[tokens == 0] = rng.integers(0, pairs.shape[1], (tokens == 0).sum())
    correlation, statistics = arm.correlation.numpy().copy(), arm.mean_variance.numpy().copy()
    for b, (n, k) in enumerate(zip(arm.n_genes, arm.n_pairs, strict=True)):
        pairs[b, k:] = rng.integers(1, correlation.shape[1] + 1, pairs[b, k:].shape)
        correlation[b, n:], correlation[b, :, n:], statistics[b, n:] = np.nan, np.inf, np.nan
    names = ("columns", "pairs", "correlation", "mean_variance")
    values = map(torch.from_numpy, (columns, pairs, correlation, statistics))
    return replace(arm, **dict(zip(names, values, strict=True)))


def test_values_of_padding_do_not_matter(network):
    pairs, permutations = samples_and_permutations(network)
    batch = collate(pairs, permutations=permutations)
    poisoned = replace(batch, control=poison(batch.control), perturbed=poison(batch.perturbed))
    assert poisoned.control.correlation.isnan().any()
    with torch.no_grad():
        assert torch.equal(network(poisoned), network(batch))


def test_arm_without_subsets_is_scored(network):
    pairs, permutations = samples_and_permutations(network)
    rng = np.random.default_rng(5)
    bare = (empty_arm(rng, 6), pairs[0][1])
    bare = (bare[0], random_arm(rng, 6, 3))
    alone = score(network, [bare], permutations[:1])[0]
    assert alone.isfinite().all()
    together = score(network, [pairs[1], bare], [permutations[1], permutations[0]])[1]
    torch.testing.assert_close(together[:6], alone, rtol=0, atol=1e-5)


def test_chunks_give_the_same(network, monkeypatch):
    pairs, permutations = samples_and_permutations(network)
    whole = score(network, pairs, permutations)
    monkeypatch.setattr(axial, "_CHUNK_ELEMENTS", 1)
    torch.testing.assert_close(score(network, pairs, permutations), whole, rtol=0, atol=1e-5)


def test_with_gradients_gives_the_same(network):
    pairs, permutations = samples_and_permutations(network)
    with_gradients = network(collate(pairs, permutations=permutations))
    torch.testing.assert_close(
        with_gradients.detach(), score(network, pairs, permutations), rtol=0, atol=1e-5
    )


def test_gradients_equal_those_of_the_description(network):
    network = network.double()
    pairs, permutations = samples_and_permutations(network, sizes=((7, 4, 5),))
    weights = {name: value.clone().requires_grad_() for name, value in network.state_dict().items()}
    reference_logits(weights, network.config, *pairs[0], permutations[0]).square().sum().backward()
    network(collate(pairs, permutations=permutations)).square().sum().backward()
    for name, parameter in network.named_parameters():
        expected = weights[name].grad
        if expected is None:
            assert name.startswith(("top_layer", "encoder.emb_layer_norm_after"))
            assert parameter.grad is None
        elif name in ("encoder.embed_edges.weight", "encoder.embed_nodes.weight"):
            # Row 0 is the padding row of the published embeddings: never trained.
            torch.testing.assert_close(parameter.grad[1:], expected[1:], rtol=1e-8, atol=1e-10)
            assert not parameter.grad[0].any()
        elif name in ("encoder.embed_tokens.weight", "encoder.embed_time.weight"):
            torch.testing.assert_close(parameter.grad[1:], expected[1:], rtol=1e-8, atol=1e-10)
        else:
            torch.testing.assert_close(parameter.grad, expected, rtol=1e-8, atol=1e-10)


def test_recomputing_gives_the_same_gradients(network):
    pairs, permutations = samples_and_permutations(network)
    batch = collate(pairs, permutations=permutations)
    network.train()
    gradients = []
    for recompute in (False, True):
        network.encoder.recompute = recompute
        network.zero_grad()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network(batch).square().sum().backward()
        gradients.append({k: p.grad for k, p in network.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient)


def test_training_drops_out_and_reaches_every_parameter(network):
    pairs, permutations = samples_and_permutations(network)
    batch = collate(pairs, permutations=permutations)
    network.train()
    with torch.random.fork_rng(devices=[]):
        first = network(batch)
        second = network(batch)
        graph = network.graph_logits(network.encode_arm(batch.control))
    assert not torch.allclose(first, second)
    n = 4
    (first.square().sum() + graph[:, :n, :n].square().sum()).backward()
    without = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    unused = {"encoder.emb_layer_norm_after.weight", "encoder.emb_layer_norm_after.bias"}
    if network.config.form == "difference":  # what is the same in both arms cancels, up to rounding
        unused |= {"encoder_1d.layer_norm.bias", "encoder_1d.linear2.bias"}
    assert set(without) <= unused
    for parameter in network.parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all()


def test_code_of_an_arm_is_computed_once(network):
    """encode_arm and compare together are forward."""
    pairs, permutations = samples_and_permutations(network)
    batch = collate(pairs, permutations=permutations)
    control_only = collate_arms([pair[0] for pair in pairs], [drawn[:3] for drawn in permutations])
    with torch.no_grad():
        found = network.compare(
            network.encode_arm(control_only),
            network.encode_arm(batch.perturbed),
            batch.control.mean_variance,
            batch.perturbed.mean_variance,
            batch.n_genes,
        )
        assert torch.equal(found, network(batch))


def test_code_is_not_overwritten_by_the_comparison(network):
    pairs, permutations = samples_and_permutations(network, sizes=((6, 3, 3),))
    batch = collate(pairs, permutations=permutations)
    with torch.no_grad():
        control, perturbed = network.encode_arm(batch.control), network.encode_arm(batch.perturbed)
        kept = control.clone(), perturbed.clone()
        network.compare(control, perturbed, batch.control.mean_variance, batch.perturbed.mean_variance)
    assert torch.equal(control, kept[0])
    assert torch.equal(perturbed, kept[1])


def test_sea_code_and_graph_head():
    config = SEAConfig(**{k: v for k, v in vars(small_config()).items() if k in vars(SEAConfig())})
    config = replace(config, architecture="sea")
    network = small_network(SEA, config).double()
    rng = np.random.default_rng(2)
    arm, drawn = random_arm(rng, 8, 6), draw_permutations(rng, config.num_vars, 3)
    batch = collate_arms([arm], [drawn])
    with torch.no_grad():
        code, graph = network.encode_arm(batch), network(batch)
        expected = reference_code(network.state_dict(), config, arm, drawn)
        torch.testing.assert_close(code[0], expected, rtol=0, atol=1e-10)
        assert graph.shape == (1, 8, 8, 3)
        one = network.top_layer(torch.cat([code[0, 2, 5], code[0, 5, 2]]))
        torch.testing.assert_close(graph[0, 2, 5], one)


def test_network_without_graph_head_says_so():
    network = small_network(CDN, small_config(graph_head=False))
    with pytest.raises(ValueError, match="no graph head"):
        network.graph_logits(torch.zeros(1, 3, 3, 16))


def test_more_genes_than_the_network_knows():
    network = small_network(CDN, small_config(num_vars=5))
    pairs, permutations = samples_and_permutations(network, sizes=((6, 2, 2),))
    with pytest.raises(ValueError, match="at most 5 genes, got 6"):
        score(network, pairs, permutations)


def test_permutations_of_another_length(network):
    pairs, _ = samples_and_permutations(network)
    with pytest.raises(ValueError, match=r"cover 0 \.\. 30, got 1001"):
        network(collate(pairs, rng=np.random.default_rng(0)))


@pytest.mark.parametrize(("form", "parameters"), [("concat", 705_544), ("difference", 573_448)])
def test_number_of_parameters(form, parameters):
    with torch.random.fork_rng(devices=[]):
        network = CDN(CDNConfig(form=form))
    assert sum(p.numel() for p in network.parameters()) == parameters


def test_autocast_without_gradients(network):
    pairs, permutations = samples_and_permutations(network, sizes=((11, 9, 4), (29, 9, 9)))
    expected = score(network, pairs, permutations)
    with torch.autocast("cpu", torch.bfloat16):
        found = score(network, pairs, permutations)
        with torch.enable_grad():
            with_gradients = network(collate(pairs, permutations=permutations)).detach()
    difference = (found.float() - expected).abs().max()
    assert 0 < difference < 2 * (with_gradients.float() - expected).abs().max() + 0.1
