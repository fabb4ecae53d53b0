"""Write the golden values anew, on purpose: after inputs or weights were changed and checked otherwise.

    python tests/golden/regenerate.py             # inputs and logits
    python tests/golden/regenerate.py logits      # those of the models alone, after new weights

Prints how far each array moved from what was kept.
"""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

import chain


def write(path, arrays):
    """Write arrays and tell how far they moved."""
    if path.is_file():
        with np.load(path) as kept:
            for name, array in arrays.items():
                same = name in kept and kept[name].shape == array.shape
                moved = f"{np.abs(array - kept[name]).max(initial=0):.2g}" if same else "new"
                print(f"{moved:>8} {name}")
    np.savez_compressed(path, **arrays)


if __name__ == "__main__":
    chosen = sys.argv[1:] or ["inputs", "logits"]
    if wrong := set(chosen) - {"inputs", "logits"}:
        sys.exit(f"'inputs' and 'logits' can be written, not {sorted(wrong)}")
    if "inputs" in chosen:
        write(chain.INPUTS, chain.compute_inputs())
    if "logits" in chosen:
        logits = {}
        for model in chain.BUNDLED:
            logits |= chain.compute_logits(model)
        write(chain.LOGITS, logits)
