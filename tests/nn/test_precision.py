"""Lower precision: what it casts, what it leaves alone, and that no setting stays changed."""

import numpy as np
import pytest
import torch
from nn_arms import random_arm, small_config, small_network
from torch import nn

from cdn_sc.nn import CDN, GeneTransformer, GeneTransformerConfig, collate, collate_genes
from cdn_sc.nn.comparison import compare_codes
from cdn_sc.nn.precision import in_bfloat16, matrix_products


def cdn_batch(config, number=2):
    rng = np.random.default_rng(0)
    pairs = [(random_arm(rng, 9, 6), random_arm(rng, 9, 6)) for _ in range(number)]
    return collate(pairs, rng=rng, num_vars=config.num_vars)


def gene_network():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return GeneTransformer(GeneTransformerConfig(channels=8, heads=2, layers=1)).eval()


def gene_batch(config):
    from types import SimpleNamespace

    rng = np.random.default_rng(0)
    comparisons = [
        SimpleNamespace(
            features=torch.from_numpy(rng.normal(size=(1, n, config.features))),
            neighbours=torch.from_numpy(rng.integers(0, n, (n, 4))),
            edges=torch.from_numpy(rng.normal(size=(1, n, 4, config.edges))),
            known=None,
        )
        for n in (7, 9)
    ]
    return collate_genes(comparisons, [None, "knockout"])


def test_cast_weights_are_those_of_values_and_feed_forward():
    network = small_network(CDN, small_config())
    before = {name: value.clone() for name, value in network.state_dict().items()}
    cast = in_bfloat16(network)
    low = {name for name, value in cast.named_parameters() if value.dtype == torch.bfloat16}
    parts = ("v_proj", "out_proj", "fc1", "fc2")
    assert low == {
        name
        for name in before
        if any(f".{part}." in name for part in parts) and ("feat_layer." in name or "axial_N_N_d2." in name)
    }
    assert len(low) == (2 + 1) * (2 * 2 + 2) * 2
    for name, value in network.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, before[name])


@pytest.mark.parametrize("form", ["concat", "difference"])
def test_bfloat16_is_near_float32(form):
    config = small_config(form)
    network, batch = small_network(CDN, config), cdn_batch(config)
    cast = in_bfloat16(network)
    with torch.inference_mode(), matrix_products("bfloat16", "cpu"):
        expected, found = network(batch), cast(batch)
    assert found.dtype == torch.float32
    error = (found - expected).abs().mean() / expected.std()
    assert 0 < error < 0.05


def test_gene_transformer_in_bfloat16():
    network = gene_network()
    cast, batch = in_bfloat16(network), gene_batch(network.config)
    with torch.inference_mode():
        expected, found = network(batch), cast(batch)
    assert found.dtype == torch.float32
    assert 0 < (found - expected).abs().max() < 0.1 * expected.std()
    cast_kinds = {type(module) for module in cast.modules() if isinstance(module, nn.Linear)}
    assert cast_kinds == {nn.Linear}
    assert cast.members[0].layers[0].attention.of_genes.weight.dtype == torch.bfloat16
    assert cast.members[0].head[1].weight.dtype == torch.float32


def test_tf32_is_restored():
    """By whoever leaves last, also where an error ends it."""
    matmul = torch.backends.cuda.matmul
    before = matmul.fp32_precision
    first, second = (matrix_products("tf32", "cuda") for _ in range(2))
    first.__enter__()
    assert matmul.fp32_precision == "tf32"
    second.__enter__()
    first.__exit__(None, None, None)
    assert matmul.fp32_precision == "tf32"
    second.__exit__(None, None, None)
    assert matmul.fp32_precision == before
    with pytest.raises(ZeroDivisionError, match="is tf32"), matrix_products("bfloat16", "cuda:1"):
        raise ZeroDivisionError(f"is {matmul.fp32_precision}")
    assert matmul.fp32_precision == before


@pytest.mark.parametrize(("precision", "device"), [("tf32", "cpu"), ("bfloat16", "cpu"), ("float32", "cuda")])
def test_nothing_is_set_where_it_has_no_effect(precision, device):
    before = torch.backends.cuda.matmul.fp32_precision
    with matrix_products(precision, device):
        assert torch.backends.cuda.matmul.fp32_precision == before


@pytest.mark.parametrize("cast", [False, True])
@pytest.mark.parametrize("name", ["concat", "difference", "gene_transformer"])
def test_no_call_waits_for_the_device(name, cast):
    """On the meta device there are no values: whatever would look at one fails."""
    if name == "gene_transformer":
        network = gene_network()
        batch = gene_batch(network.config)
    else:
        network = small_network(CDN, small_config(name))
        batch = cdn_batch(network.config)
    network = in_bfloat16(network) if cast and name != "gene_transformer" else network
    with torch.inference_mode():
        logits = network.to("meta")(batch.to("meta"))
    assert logits.shape == (2, 9)
    with pytest.raises(RuntimeError):
        logits.sum().item()


def test_mask_without_unchanged_genes_changes_nothing():
    """So it can be given always where the host does not know whether there are any."""
    config = small_config("difference")
    layer = small_network(CDN, config).axial_N_N_d2
    generator = torch.Generator().manual_seed(0)
    codes = torch.randn(2, 9, 9, config.channels, generator=generator)
    statistics = torch.randn(2, 9, config.channels, generator=generator)
    with torch.inference_mode():
        expected = compare_codes(codes, statistics, layer)
        none = compare_codes(codes, statistics, layer, unchanged=torch.zeros(2, 9, dtype=torch.bool))
        one = compare_codes(codes, statistics, layer, unchanged=torch.arange(9).expand(2, 9) == 0)
    torch.testing.assert_close(none, expected)
    assert (one - expected).abs().max() > 1e-3
