import pytest

from cdn_sc.metrics import _other_packages


@pytest.fixture(autouse=True)
def few_searches(monkeypatch):
    """PermScore takes seconds of 30 genes, where it is installed; here it gets panels of a few."""
    monkeypatch.setattr(_other_packages, "MOST_GENES_OF_SEARCH", 6)
