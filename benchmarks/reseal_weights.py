"""Write weights files again in the newest format: the same tensors, configuration and card, other checksums.

Usage: python benchmarks/reseal_weights.py src/cdn_sc/models/weights/*.safetensors
"""

import sys
from pathlib import Path

import torch

from cdn_sc.models.files import build, read_tensors, write_tensors
from cdn_sc.models.int8 import restored


def reseal(path: Path) -> None:
    """Replace a file of `cdn_sc.models.save` by one of the newest format."""
    config, before, card = read_tensors(path)
    del card["checksum"]
    build(config, restored(before, path), path)
    write_tensors(path, config, before, card)
    after, card_after = read_tensors(path)[1:]
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert card_after == card | {"checksum": "everything"}


if __name__ == "__main__":
    for name in sys.argv[1:]:
        reseal(Path(name))
        print(name, f"{Path(name).stat().st_size:,} bytes")
