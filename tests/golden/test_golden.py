"""The whole chain against kept values: inputs of fixed arms, and logits of every bundled model.

What these values should be is told by other tests; these notice that they changed. After a change on purpose
``python tests/golden/regenerate.py`` writes them anew.
"""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

import chain

# well above what other numbers of threads and other processors round differently
TOLERANCE = 5e-4


def kept(path):
    with np.load(path) as arrays:
        return dict(arrays)


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, array in found.items():
        np.testing.assert_allclose(array, expected[name], rtol=TOLERANCE, atol=TOLERANCE, err_msg=name)


def test_inputs_are_the_kept_ones():
    assert_same(chain.compute_inputs(), kept(chain.INPUTS))


@pytest.mark.parametrize("model", chain.BUNDLED)
def test_logits_are_the_kept_ones(model):
    expected = {name: array for name, array in kept(chain.LOGITS).items() if name.split("/")[0] == model}
    assert_same(chain.compute_logits(model), expected)


def test_kept_logits_are_of_the_bundled_models():
    assert {name.split("/")[0] for name in kept(chain.LOGITS)} == set(chain.BUNDLED)


def test_kept_values_tell_something():
    """No array is flat: a fault could not be seen in it."""
    for path in (chain.INPUTS, chain.LOGITS):
        for name, array in kept(path).items():
            assert np.isfinite(array).all(), name
            assert np.ptp(array) > 1e-3, name
