"""Losses against values worked out by hand."""

import numpy as np
import pytest
import torch

from cdn_sc.train.losses import graph_loss, kind_loss, target_loss


def test_target_loss():
    logits = torch.tensor([[2.0, -1.0, 0.5], [1.0, 0.0, 99.0]])
    labels = torch.tensor([[1.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    mask = torch.tensor([[True, True, True], [True, True, False]])

    def binary(z, y):
        return np.log1p(np.exp(-z if y else z))

    first = (binary(2, 1) + binary(-1, 0) + binary(0.5, 1)) / 2
    log_sum = np.log(np.exp(2) + np.exp(-1) + np.exp(0.5))
    first = 0.5 * first + log_sum - 0.5 * (2 + 0.5)
    second = 0.5 * (binary(1, 1) + binary(0, 0)) + np.log(np.exp(1) + 1) - 1
    assert float(target_loss(logits, labels, mask)) == pytest.approx((first + second) / 2, abs=1e-6)


def test_padding_gets_no_gradient():
    logits = torch.zeros(1, 4, requires_grad=True)
    labels, mask = torch.tensor([[1.0, 0, 0, 0]]), torch.tensor([[True, True, False, False]])
    target_loss(logits, labels, mask).backward()
    assert (logits.grad[0, 2:] == 0).all()
    assert (logits.grad[0, :2] != 0).all()
    assert logits.grad[0, 0] < 0 < logits.grad[0, 1]


def test_pair_without_targets_is_finite():
    loss = target_loss(torch.zeros(1, 2), torch.zeros(1, 2), torch.ones(1, 2, dtype=torch.bool))
    assert float(loss) == pytest.approx(np.log(2))


def test_graph_loss():
    logits = torch.randn(2, 3, 3, 3, generator=torch.Generator().manual_seed(0))
    graph = torch.zeros(2, 3, 3, dtype=torch.bool)
    graph[0, 0, 1] = True  # 0 -> 1
    graph[0, 2, 1] = True  # 2 -> 1
    graph[1, 0, 1] = graph[1, 1, 0] = True  # both ways: counts as 0 -> 1
    mask = torch.tensor([[True, True, True], [True, True, False]])
    log_p = torch.log_softmax(logits, dim=-1)
    expected = -(log_p[0, 0, 1, 1] + log_p[0, 0, 2, 0] + log_p[0, 1, 2, 2] + log_p[1, 0, 1, 1]) / 4
    torch.testing.assert_close(graph_loss(logits, graph, mask), expected)


def test_graph_loss_ignores_padding_and_the_lower_triangle():
    logits = torch.zeros(1, 3, 3, 3, requires_grad=True)
    graph_loss(logits, torch.zeros(1, 3, 3, dtype=torch.bool), torch.tensor([[True, True, False]])).backward()
    used = logits.grad[0].abs().sum(dim=-1) > 0
    assert used.nonzero().tolist() == [[0, 1]]


def test_kinds_that_were_told_teach_nothing():
    """Nor those of pairs that have none; the others count as before, in a mean over all."""
    logits = torch.tensor([[2.0, -1.0, 0.5, 0.0], [0.0, 3.0, 1.0, -2.0]], requires_grad=True)
    both = kind_loss(logits, torch.tensor([1, -1]))
    alone = kind_loss(logits[:1], torch.tensor([1]))
    assert both.item() == pytest.approx(alone.item() / 2)
    both.backward()
    assert logits.grad[0].abs().max() > 0.1
    assert not logits.grad[1].any()
    assert kind_loss(logits, torch.tensor([-1, -1])).item() == 0.0
