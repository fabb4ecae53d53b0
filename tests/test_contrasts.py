"""Variation within conditions."""

import numpy as np

from cdn_sc._contrasts import within_conditions


def test_products_are_those_of_the_deviations():
    rng = np.random.default_rng(0)
    parts = [
        rng.normal(shift, 1.0, (size, 4)).astype(np.float32) for size, shift in ((30, 5), (2, -3), (7, 0))
    ]
    found = within_conditions(parts)
    assert found.shape == (29 + 1 + 6, 4)
    assert found.dtype == np.float32
    deviations = np.concatenate([part - part.mean(axis=0) for part in parts])
    np.testing.assert_allclose(found.T @ found, deviations.T @ deviations, rtol=1e-4, atol=1e-4)


def test_rows_count_degrees_of_freedom():
    rng = np.random.default_rng(1)
    found = within_conditions(rng.normal(size=(2000, 2, 20)).astype(np.float32))
    correlation = np.corrcoef(found.T)[np.triu_indices(20, 1)]
    # of independent genes, a correlation varies by 1 / sqrt(number)
    assert abs(correlation.std() * np.sqrt(len(found)) - 1.0) < 0.15


def test_a_cell_by_itself_does_not_vary():
    assert within_conditions([np.ones((1, 3), dtype=np.float32)]).shape == (0, 3)
