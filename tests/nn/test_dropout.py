"""Each place of a layer that is to drop values in training does, and none of them does otherwise."""

import pytest
import torch

from cdn_sc.nn.axial import FeedForward, TiedAttention


@pytest.mark.parametrize("training", [True, False])
def test_hidden_units(training: bool) -> None:
    layer = FeedForward(8, 512, 0.5).train(training)
    torch.nn.init.zeros_(layer.fc1.weight)
    torch.nn.init.ones_(layer.fc1.bias)
    torch.nn.init.ones_(layer.fc2.weight)
    torch.nn.init.zeros_(layer.fc2.bias)
    torch.manual_seed(0)
    out = layer(torch.zeros(200, 8))[:, 0]
    full = 512 * torch.nn.functional.gelu(torch.tensor(1.0))
    # half of the units, twice as large: right on average, and not the same each time
    torch.testing.assert_close(out.mean(), full, rtol=0.02, atol=0)
    assert (out.std() / full > 0.02) == training


@pytest.mark.parametrize("training", [True, False])
def test_attention_weights(training: bool) -> None:
    layer = TiedAttention(8, 2, 0.5).train(training)
    torch.manual_seed(0)
    weights = layer.weights(torch.randn(1, 3, 6, 8), None)
    assert bool((weights == 0).any()) == training
