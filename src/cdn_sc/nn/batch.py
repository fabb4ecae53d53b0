"""Padded batches of what the network reads.

Samples of a batch may differ in genes (N), subsets (T) and pairs (K): shorter ones are padded, and the
network masks the padding by `n_genes`, `n_subsets`, `n_pairs` and token 0.

A token matrix (T x K) is nearly empty, for a subset of 5 genes holds 20 pairs. A batch keeps the filled
entries only: of each subset its tokens and the columns they stand in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol, Self

import numpy as np
import torch
from torch import Tensor

from cdn_sc.nn.distinct_rows import DistinctRows

PERMUTATIONS_PER_ARM = 3


class ArmLike(Protocol):
    """What an arm must carry (see `cdn_sc.graphs.arm.ArmInputs`)."""

    @property
    def tokens(self) -> np.ndarray:
        """Edge tokens, (T, K), 0 where a subset does not hold the pair."""

    @property
    def pairs(self) -> np.ndarray:
        """Ordered gene pairs, (K, 2), counted from 1."""

    @property
    def correlation(self) -> np.ndarray:
        """Pearson correlation, (N, N)."""

    @property
    def mean_variance(self) -> np.ndarray:
        """Mean and variance of each gene, (N, 2)."""


@dataclass(frozen=True)
class ArmBatch:
    """One arm of B samples, padded to the largest N, T, K and number of tokens a subset (P).

    Attributes
    ----------
    tokens
        Edge tokens of each subset, (B, T, P), 0 for padding.
    columns
        The pair (row of `pairs`) that each token belongs to, (B, T, P).
    pairs
        Ordered gene pairs, (B, K, 2), counted from 1.
    first_pair_subsets
        Subsets that hold the first pair, (B, S), -1 for padding.
    correlation
        (B, N, N).
    mean_variance
        (B, N, 2).
    permutations
        Three permutations of 0 .. num_vars a sample, (B, 3, num_vars + 1): the random identities of pair
        members, of rows and of columns.
    n_genes, n_subsets, n_pairs
        Sizes of each sample, (B,).
    rows
        Which rows of each sample's pair stream differ.
    padded
        Whether the samples differ in N.
    """

    tokens: Tensor
    columns: Tensor
    pairs: Tensor
    first_pair_subsets: Tensor
    correlation: Tensor
    mean_variance: Tensor
    permutations: Tensor
    n_genes: Tensor
    n_subsets: Tensor
    n_pairs: Tensor
    rows: tuple[DistinctRows, ...]
    padded: bool

    def to(self, device: torch.device | str) -> Self:
        """Copy to a device; to CUDA without waiting for it."""
        rows = tuple(replace(sample, **_moved(sample, device)) for sample in self.rows)
        return replace(self, rows=rows, **_moved(self, device))

    @property
    def genes(self) -> Tensor | None:
        """Which genes are real, (B, N); None where all are."""
        return gene_mask(self.n_genes, self.correlation.shape[1]) if self.padded else None


@dataclass(frozen=True)
class CDNBatch:
    """B pairs of a control arm and a perturbed arm over the same genes.

    Attributes
    ----------
    control, perturbed
        The two arms.
    """

    control: ArmBatch
    perturbed: ArmBatch

    def __len__(self) -> int:
        return len(self.control.n_genes)

    @property
    def n_genes(self) -> Tensor:
        """Genes of each sample, (B,)."""
        return self.control.n_genes

    @property
    def genes(self) -> Tensor | None:
        """Which genes are real, (B, N); None where all are."""
        return self.control.genes

    def to(self, device: torch.device | str) -> Self:
        """Copy to a device."""
        return type(self)(self.control.to(device), self.perturbed.to(device))


def to_device(tensor: Tensor, device: torch.device | str) -> Tensor:
    """Copy a tensor to a device; from the host to CUDA through pinned memory, without waiting for it."""
    if torch.device(device).type == "cuda" and tensor.device.type == "cpu":
        # torch keeps pinned memory from further use until the copy has been made
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def _moved(holder: Any, device: torch.device | str) -> dict[str, Any]:
    """Tensors of a dataclass, copied to a device."""
    values = {field.name: getattr(holder, field.name) for field in fields(holder)}
    return {name: to_device(value, device) for name, value in values.items() if isinstance(value, Tensor)}


def gene_mask(n_genes: Tensor, length: int) -> Tensor:
    """Which of `length` positions are real genes.

    Parameters
    ----------
    n_genes
        Genes of each sample, (B,).
    length
        Number of positions.

    Returns
    -------
    bool, (B, length).
    """
    return torch.arange(length, device=n_genes.device) < n_genes[:, None]


def draw_permutations(
    rng: np.random.Generator, num_vars: int = 1000, count: int = 2 * PERMUTATIONS_PER_ARM
) -> np.ndarray:
    """Draw the random identities of one sample.

    Parameters
    ----------
    rng
        Source of randomness.
    num_vars
        `num_vars` of the network.
    count
        6 for a pair of arms (control first), 3 for one arm.

    Returns
    -------
    int64, (count, num_vars + 1), each row a permutation of 0 .. num_vars.
    """
    return rng.permuted(np.tile(np.arange(num_vars + 1), (count, 1)), axis=1)


def collate(
    pairs: Sequence[tuple[ArmLike, ArmLike]],
    *,
    permutations: Sequence[np.ndarray] | np.ndarray | None = None,
    rng: np.random.Generator | None = None,
    num_vars: int = 1000,
) -> CDNBatch:
    """Make a batch of (control, perturbed) arms.

    Parameters
    ----------
    pairs
        The arms of each sample, control first.
    permutations
        (B, 6, num_vars + 1): for each sample the three of the control arm, then those of the perturbed arm.
    rng
        Draws the permutations, sample by sample, where they are not given.
    num_vars
        `num_vars` of the network, for the drawing.

    Raises
    ------
    ValueError
        If there is no sample, if the two arms of a sample differ in genes, or if neither or both of
        `permutations` and `rng` are given.
    """
    for control, perturbed in pairs:
        n_control, n_perturbed = len(control.correlation), len(perturbed.correlation)
        if n_control != n_perturbed:
            raise ValueError(f"the control arm has {n_control} genes, the perturbed arm {n_perturbed}")
    if (permutations is None) == (rng is None):
        raise ValueError("give either `permutations` or `rng`")
    if rng is not None:
        permutations = [draw_permutations(rng, num_vars) for _ in pairs]
    drawn = np.asarray(permutations)
    half = PERMUTATIONS_PER_ARM
    if drawn.ndim != 3 or drawn.shape[:2] != (len(pairs), 2 * half):
        raise ValueError(f"permutations must have shape ({len(pairs)}, 6, num_vars + 1), got {drawn.shape}")
    return CDNBatch(
        collate_arms([control for control, _ in pairs], drawn[:, :half]),
        collate_arms([perturbed for _, perturbed in pairs], drawn[:, half:]),
    )


def collate_arms(arms: Sequence[ArmLike], permutations: Sequence[np.ndarray] | np.ndarray) -> ArmBatch:
    """Make a batch of single arms.

    Parameters
    ----------
    arms
        At least one arm.
    permutations
        (B, 3, num_vars + 1).

    Raises
    ------
    ValueError
        If there is no arm or shapes do not fit.
    """
    if not len(arms):
        raise ValueError("a batch needs at least one sample")
    drawn = np.asarray(permutations)
    if drawn.ndim != 3 or drawn.shape[:2] != (len(arms), PERMUTATIONS_PER_ARM):
        raise ValueError(f"permutations must have shape ({len(arms)}, 3, num_vars + 1), got {drawn.shape}")
    filled = [_filled_entries(np.asarray(arm.tokens)) for arm in arms]
    sizes = [len(arm.correlation) for arm in arms]
    return ArmBatch(
        tokens=_pad([tokens for tokens, _ in filled], np.int64),
        columns=_pad([columns for _, columns in filled], np.int64),
        pairs=_pad([np.asarray(arm.pairs).reshape(-1, 2) for arm in arms], np.int64),
        first_pair_subsets=_pad([_first_pair_subsets(*entries) for entries in filled], np.int64, fill=-1),
        correlation=_pad([np.asarray(arm.correlation) for arm in arms], np.float32),
        mean_variance=_pad([np.asarray(arm.mean_variance) for arm in arms], np.float32),
        permutations=torch.from_numpy(drawn.astype(np.int64)),
        n_genes=torch.from_numpy(np.array(sizes, np.int64)),
        n_subsets=torch.from_numpy(np.array([len(tokens) for tokens, _ in filled], np.int64)),
        n_pairs=torch.from_numpy(np.array([len(arm.pairs) for arm in arms], np.int64)),
        rows=tuple(DistinctRows.of(*kept, len(arm.pairs)) for kept, arm in zip(filled, arms, strict=True)),
        padded=len(set(sizes)) > 1,
    )


def _filled_entries(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Tokens other than 0 and their columns, row by row: two (T, P) arrays, padded with 0."""
    subsets, columns = np.nonzero(matrix)
    counts = np.bincount(subsets, minlength=len(matrix))
    places = np.arange(len(subsets)) - np.repeat(np.cumsum(counts) - counts, counts)
    shape = (len(matrix), int(counts.max(initial=0)))
    kept_tokens, kept_columns = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    kept_tokens[subsets, places] = matrix[subsets, columns]
    kept_columns[subsets, places] = columns
    return kept_tokens, kept_columns


def _first_pair_subsets(tokens: np.ndarray, columns: np.ndarray) -> np.ndarray:
    return np.flatnonzero(((columns == 0) & (tokens != 0)).any(axis=1))


def _pad(arrays: Sequence[np.ndarray], dtype: type, fill: int = 0) -> Tensor:
    """Stack arrays of unequal shapes; no dimension of the stack is empty."""
    shape = [max(1, *(array.shape[axis] for array in arrays)) for axis in range(arrays[0].ndim)]
    stack = np.full((len(arrays), *shape), fill, dtype)
    for target, array in zip(stack, arrays, strict=True):
        target[tuple(slice(length) for length in array.shape)] = array
    return torch.from_numpy(stack)
