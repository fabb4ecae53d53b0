"""Makes the helper modules of this folder importable, and their fixtures known."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from imitation_fixtures import archive, cache, impatient, published, server, with_splits

__all__ = ["archive", "cache", "impatient", "published", "server", "with_splits"]
