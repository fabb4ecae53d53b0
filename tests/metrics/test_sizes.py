"""Suites of a size that no machine could simulate are refused at once."""

import pytest

from cdn_sc.metrics import suite


@pytest.mark.parametrize("name", ["screens", "screens_large"])
def test_too_many_genes(name: str) -> None:
    with pytest.raises(ValueError, match="at most 20,000 genes"):
        next(suite(name, genes=1_000_000_000))
