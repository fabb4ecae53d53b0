"""Random choices that follow from the seed and names alone: a group's stream, the cells that are drawn."""

import hashlib

import numpy as np
import pandas as pd

from cdn_sc.errors import InputError


def resolve_seed(rng: int | np.random.Generator | None) -> int:
    """Return a seed: the integer itself, or one drawn from the generator, or a fresh one for `None`."""
    if isinstance(rng, int | np.integer) and not isinstance(rng, bool):
        if not 0 <= rng < 2**63:
            raise InputError(f"{rng} is no seed: take a whole number from 0 up to 2**63 - 1.")
        return int(rng)
    if rng is None or isinstance(rng, np.random.Generator):
        return int(np.random.default_rng(rng).integers(2**63, dtype=np.uint64))
    raise InputError(f"rng is a whole number or a numpy.random.Generator, not a {type(rng).__name__}.")


def generator_of_group(seed: int, group: str) -> np.random.Generator:
    """Return the group's own generator, which no other group, order or number of jobs can shift."""
    digest = hashlib.sha256(group.encode()).digest()
    key = tuple(int.from_bytes(digest[i : i + 4], "little") for i in range(0, 16, 4))
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


def draw_by_name(names: pd.Index, number: int, seed: int, purpose: str) -> np.ndarray:
    """Return positions, increasing, of so many cells drawn at random, wherever they stand among the others.

    Parameters
    ----------
    names
        Names of the cells, each once.
    number
        How many to draw; all where there are fewer.
    seed, purpose
        Decide, with the names, which.
    """
    if len(names) <= number:
        return np.arange(len(names))
    key = hashlib.sha256(f"{seed} {purpose}".encode()).hexdigest()[:16]
    lots = pd.util.hash_array(names.to_numpy(dtype=object), hash_key=key, categorize=False)
    return np.sort(np.argsort(lots, kind="stable")[:number])
