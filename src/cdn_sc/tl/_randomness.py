"""One stream of random numbers per group, from the seed and the group's name alone."""

import hashlib

import numpy as np

from cdn_sc.errors import InputError


def resolve_seed(rng: int | np.random.Generator | None) -> int:
    """Return a seed: the integer itself, or one drawn from the generator, or a fresh one for `None`."""
    if isinstance(rng, int | np.integer) and not isinstance(rng, bool):
        if not 0 <= rng < 2**63:
            raise InputError(f"rng={rng} is no seed: take a whole number from 0 up to 2**63 - 1.")
        return int(rng)
    if rng is None or isinstance(rng, np.random.Generator):
        return int(np.random.default_rng(rng).integers(2**63, dtype=np.uint64))
    raise InputError(f"rng is a whole number or a numpy.random.Generator, not a {type(rng).__name__}.")


def generator_of_group(seed: int, group: str) -> np.random.Generator:
    """Return the group's own generator, which no other group, order or number of jobs can shift."""
    digest = hashlib.sha256(group.encode()).digest()
    key = tuple(int.from_bytes(digest[i : i + 4], "little") for i in range(0, 16, 4))
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))
