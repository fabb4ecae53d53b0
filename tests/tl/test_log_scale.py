"""Whether values can be logarithms depends on the base of these."""

import numpy as np
import pytest

from cdn_sc.tl._checks import looks_logarithmic


@pytest.mark.parametrize(
    ("largest", "base", "expected"),
    [(40.0, 2.0, True), (44.0, 2.0, False), (29.0, np.e, True), (31.0, np.e, False), (14.0, 10.0, False)],
)
def test_the_largest_value_of_each_base(largest: float, base: float, expected: bool) -> None:
    assert looks_logarithmic(0.0, largest, float(np.log(base))) == expected
    assert not looks_logarithmic(-1.0, largest, float(np.log(base)))
