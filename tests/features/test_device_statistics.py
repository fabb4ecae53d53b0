"""The tensors of an accelerator say what the compiled code of the processor says."""

import numpy as np
import pytest

from cdn_sc.features import group_statistics, summarize_control
from cdn_sc.features._device_statistics import statistics_on_device
from cdn_sc.simulate import screen_pairs

CHANGES = {
    "counts": lambda values: values,
    "negative": lambda values: values - 0.7,
    "ties": np.round,
    "two cells": lambda values: values[:2],
    "constant": lambda values: np.zeros_like(values),
}


@pytest.mark.parametrize("change", CHANGES)
def test_equal_to_the_compiled_statistics(change: str) -> None:
    pair, *_ = screen_pairs(
        np.random.default_rng(3), n_genes=60, n_groups=1, n_control=300, n_perturbed=(40, 41)
    )
    control = pair.control.copy()
    control[:, 3], control[:, 5] = 0.0, 1.5
    summary = summarize_control(control)
    values = np.ascontiguousarray(CHANGES[change](pair.perturbed), dtype=np.float32)
    expected = group_statistics(summary, values)
    found = statistics_on_device(summary, values)
    assert len(found) + 1 == len(vars(expected))
    for name, array in found.items():
        np.testing.assert_allclose(array, getattr(expected, name), rtol=2e-5, atol=2e-5, err_msg=name)
