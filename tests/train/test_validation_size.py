"""Validation draws batches of half the genes that training does."""

from dataclasses import replace

from runs import tiny_config

from cdn_sc.train import data


def test_half_the_genes_of_a_batch(monkeypatch) -> None:
    budgets = []
    draw = data._draw

    def noted(source, budget, most, rng):
        budgets.append(budget)
        return draw(source, budget, most, rng)

    monkeypatch.setattr(data, "_draw", noted)
    config = replace(tiny_config(), genes_per_batch=40)
    data.validation_pairs(config)
    assert set(budgets) == {20}
    data.draw_batch(config, 0)
    assert budgets[-1] == 40
