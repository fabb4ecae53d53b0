"""Pairs that are there already, in place of simulated ones: how training goes through them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Protocol

import numpy as np

from cdn_sc.simulate.pair import Pair


class PairSet(Protocol):
    """Pairs to train on and to validate with, each read when it is asked for."""

    @property
    def training(self) -> Sequence[Pair]:
        """Pairs to learn from; what an index gives need not be kept."""

    @property
    def validation(self) -> Sequence[Pair]:
        """Pairs to validate with; may be empty."""

    @property
    def fingerprint(self) -> str:
        """Tells these pairs from others: a run goes on with the pairs that it began with alone."""


@dataclass(frozen=True)
class GivenPairs:
    """Pairs in memory.

    Parameters
    ----------
    training, validation
        See :class:`PairSet`.
    """

    training: Sequence[Pair]
    validation: Sequence[Pair] = ()

    @property
    def fingerprint(self) -> str:
        """SHA-256 of values and targets."""
        digest = sha256()
        for part in (self.training, self.validation):
            digest.update(b"part")
            for pair in part:
                targets = np.asarray(pair.targets, dtype=np.int64)
                others = np.zeros(0) if pair.contrasts is None else pair.contrasts
                for values in (pair.control, pair.perturbed, targets, others):
                    digest.update(f"{values.shape}".encode())
                    digest.update(np.ascontiguousarray(values).data)
        return digest.hexdigest()


def epoch_positions(n_pairs: int, batch_size: int, step: int, seed: int) -> np.ndarray:
    """Which pairs a step takes: every pair once an epoch, in an order that each epoch draws anew.

    Parameters
    ----------
    n_pairs
        Pairs in all, at least 1.
    batch_size
        Pairs a step; a batch may reach from one epoch into the next.
    step
        Number of the step, which with the seed decides everything: a run can go on anywhere.
    seed
        Of the run.

    Returns
    -------
    Positions of `batch_size` pairs; without repeats inside an epoch.
    """
    places = np.arange(step * batch_size, (step + 1) * batch_size)
    epochs, within = np.divmod(places, n_pairs)
    word = int.from_bytes(b"epoch", "big")
    orders = {
        int(epoch): np.random.default_rng(
            np.random.SeedSequence(word, spawn_key=(seed, int(epoch)))
        ).permutation(n_pairs)
        for epoch in np.unique(epochs)
    }
    return np.array([orders[int(e)][w] for e, w in zip(epochs, within, strict=True)])


def with_fewer_cells(pair: Pair, least: float, rng: np.random.Generator) -> Pair:
    """Keep a random part of the perturbed cells, as if fewer had been sequenced.

    Parameters
    ----------
    pair
        The pair.
    least
        Smallest share kept, in (0, 1]; the share is drawn evenly from there up to 1. Two cells stay always.
    rng
        Source of randomness.
    """
    n_cells = len(pair.perturbed)
    kept = min(n_cells, max(2, round(n_cells * float(rng.uniform(least, 1.0)))))
    if kept == n_cells:
        return pair
    chosen = np.sort(rng.choice(n_cells, kept, replace=False))
    return replace(pair, perturbed=np.ascontiguousarray(pair.perturbed[chosen]))
