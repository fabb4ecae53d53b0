"""Memory that the process frees and soon needs again."""

import numpy as np

_BLOCK = 31 << 20


def keep_freed_memory() -> None:
    """Let the C library of Linux keep freed blocks of up to 31 MiB for the next call.

    At first it gives them back to the system at once and has them cleared anew for each result of a network's
    layers, which can take as long as the layer. Freeing one block tells it that blocks of that size come and
    go ("dynamic mmap threshold" in mallopt(3)): from then on, and for the rest of the process, it keeps twice
    as much in each of its arenas. The block itself is never touched. Elsewhere nothing happens.
    """
    np.empty(_BLOCK, np.uint8)
