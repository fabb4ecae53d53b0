"""Fixtures shared by all tests."""

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """Folder with parity numbers and real cells; tests that want it skip on machines without it."""
    if not SHARED.is_dir():
        pytest.skip("needs the folder `shared` beside the repository (parity numbers, real cells)")
    return SHARED
