"""The server that imitates figshare, from the tests of the data sets."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "datasets"))

from imitation_fixtures import cache, server

__all__ = ["cache", "server"]
