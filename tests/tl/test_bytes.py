"""Bytes are one label, which is not there, and no list of numbers."""

import pytest

from cdn_sc import simulate, tl
from cdn_sc.errors import MissingNameError


def test_a_label_of_bytes() -> None:
    adata = simulate.screen(24, 1, n_control=20, n_perturbed=20)
    with pytest.raises(MissingNameError, match="has no control \"b'control'\""):
        tl.predict_targets(adata, "perturbation", b"control", allow_counts=True)  # type: ignore[arg-type]
