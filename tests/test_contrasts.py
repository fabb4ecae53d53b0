"""Variation within conditions."""

import numpy as np
import pytest

from cdn_sc._contrasts import contrasts_of_screen, most_of_a_condition, within_conditions


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


@pytest.mark.parametrize(
    ("n_control", "sizes"),
    [
        (1000, [50] * 40),  # none has too many
        (1000, [600, 30, 30]),
        (100, [200] * 8),
        (5000, [150] * 30 + [4000, 2000]),
        (0, [100] * 25),
        (37, [3, 900]),
        (10, [500]),
    ],
)
def test_no_condition_has_more_than_its_share(n_control, sizes):
    most = most_of_a_condition(n_control, sizes)

    def fits(number):
        total = n_control + sum(min(size, number) for size in sizes)
        return min(number, max(sizes)) <= 0.05 * total

    assert fits(most)
    # and no more is given up than must be
    assert most == max(number for number in range(max(sizes) + 1) if fits(number))


def test_nobody_beside_the_control_cells():
    assert most_of_a_condition(100, []) == 0
    assert contrasts_of_screen(100, []) is None


def test_contrasts_of_a_screen_take_the_first_cells_of_each_condition():
    rng = np.random.default_rng(0)
    sizes = (40, 12, 1, 200)  # one cell does not vary
    conditions = [rng.normal(size=(size, 3)).astype(np.float32) for size in sizes]
    most = most_of_a_condition(500, sizes)
    assert 12 <= most < 40
    found = contrasts_of_screen(500, conditions)
    expected = within_conditions([conditions[0][:most], conditions[1], conditions[3][:most]])
    np.testing.assert_array_equal(found, expected)
    assert len(found) == most - 1 + 11 + most - 1


@pytest.mark.parametrize(("n_control", "sizes"), [(20, (200, 150)), (5000, (1, 1)), (5000, ())])
def test_where_little_would_be_left_there_are_no_contrasts(n_control, sizes):
    """Two conditions have 5% of few control cells alone; and of one cell nothing is left without its mean."""
    conditions = [np.ones((size, 3), dtype=np.float32) for size in sizes]
    assert contrasts_of_screen(n_control, conditions) is None
