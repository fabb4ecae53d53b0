"""Comparisons on their way through a network: made ready on the host, scored together on the device.

`prepare_*` is all that needs no device; `launch_*` gives the device its work and does not wait for it; what
they return is fetched later. So the host makes the next comparisons ready while the device has the present
ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    from cdn_sc.features import ControlSummary, GroupStatistics
    from cdn_sc.features._known import KnownWeights
    from cdn_sc.graphs.arm import ArmInputs

# Elements of the grids of a call of the published architecture: on a CPU what stays in its caches (measured
# by benchmarks/batching.py), on an accelerator what fills it.
_ELEMENTS_ON_CPU, _ELEMENTS_ON_ACCELERATOR = 2_500_000, 2**27
# Groups of a block of the gene transformer, within bounds for its genes over all groups, and genes of a call
# of the network on a CPU
_GROUPS_OF_A_BLOCK, _GENES_OF_A_SMALL_BLOCK, _GENES_OF_A_BLOCK = 16, 2**13, 2**17
_GENES_OF_A_CALL = 2**11
_MOST_AT_ONCE = 256


@dataclass
class ArmToEncode:
    """One arm as the published architecture reads it.

    Parameters
    ----------
    inputs
        Local graphs and statistics.
    identities
        Permutations of the arm, (3, num_vars + 1).
    shared
        Whether other comparisons have this arm too: its code is then kept.
    """

    inputs: ArmInputs
    identities: np.ndarray
    shared: bool = False
    code: ArmCode | None = None
    lock: Lock = field(default_factory=Lock)


@dataclass(frozen=True)
class ArmCode:
    """An arm as the published architecture encodes it: (1, N, N, d), and mean and variance, (1, N, 2)."""

    code: Tensor
    mean_variance: Tensor


@dataclass(frozen=True)
class Comparison:
    """A comparison that only waits for the network.

    Parameters
    ----------
    n_genes
        Number of genes.
    inputs
        What the network reads: two arms (`ArmToEncode`, control first), or a :class:`GroupInScreen`.
    kind
        Kind of perturbation where known.
    columns
        Columns of the prediction that come from no network.
    """

    n_genes: int
    inputs: Any
    kind: str | None
    columns: dict[str, np.ndarray]


class Launched:
    """What the device may still be working on: (B, V, N) with V logits of each gene, and (B, kinds)."""

    def __init__(self, logits: Tensor, kinds: Tensor | None = None) -> None:
        import torch

        self._found = [each.float() for each in (logits, kinds) if each is not None]
        self._ready = None
        if logits.device.type == "cuda":
            on_host = [
                torch.empty(each.shape, dtype=torch.float32, device="cpu", pin_memory=True)
                for each in self._found
            ]
            self._found = [
                there.copy_(each, non_blocking=True) for there, each in zip(on_host, self._found, strict=True)
            ]
            self._ready = torch.cuda.Event()
            self._ready.record(torch.cuda.current_stream(logits.device))

    def fetch(self) -> tuple[np.ndarray, np.ndarray | None]:
        """Wait for both, float32; None for kinds that were not asked for."""
        if self._ready is not None:
            self._ready.synchronize()
        logits, *kinds = [each.cpu().numpy() for each in self._found]
        return logits, kinds[0] if kinds else None


@dataclass(frozen=True)
class GroupInScreen:
    """A group as the gene transformer reads it: its statistics beside the control arm that it shares.

    Parameters
    ----------
    control
        Summary of the control cells.
    statistics
        Of the group's cells.
    explained
        Whether all that the network says of a gene is wanted, or its logit alone.
    known
        Relations known beforehand, beside the control arm's correlations.
    """

    control: ControlSummary
    statistics: GroupStatistics
    explained: bool
    known: KnownWeights | None = None


def prepare_arm(
    values: np.ndarray, rng: np.random.Generator, num_vars: int, *, shared: bool, **graphs: Any
) -> ArmToEncode:
    """Sample an arm, estimate its local graphs and draw its identities, for the published architecture."""
    from cdn_sc.graphs import arm_inputs
    from cdn_sc.nn.batch import PERMUTATIONS_PER_ARM, draw_permutations

    inputs = arm_inputs(values, rng=rng, **graphs)
    return ArmToEncode(inputs, draw_permutations(rng, num_vars, PERMUTATIONS_PER_ARM), shared)


def prepare_both_arms(
    control: np.ndarray, perturbed: np.ndarray, rng: np.random.Generator, num_vars: int, **graphs: Any
) -> tuple[ArmToEncode, ArmToEncode]:
    """The same for a comparison that shares nothing: both samples are drawn before the identities."""
    from cdn_sc.graphs import arm_inputs
    from cdn_sc.nn.batch import PERMUTATIONS_PER_ARM, draw_permutations

    inputs = [arm_inputs(values, rng=rng, **graphs) for values in (control, perturbed)]
    identities = draw_permutations(rng, num_vars)
    return (
        ArmToEncode(inputs[0], identities[:PERMUTATIONS_PER_ARM]),
        ArmToEncode(inputs[1], identities[PERMUTATIONS_PER_ARM:]),
    )


def batch_size(config: Any, n_genes: int, n_subsets: int, device: str) -> int:
    """Return how many comparisons are best scored together: small ones share a call, large ones fill it.

    Parameters
    ----------
    config
        Of the network.
    n_genes
        Genes of each comparison.
    n_subsets
        Gene subsets of an arm (published architecture).
    device
        Where the network computes.
    """
    if config.architecture == "gene_transformer":
        # what is read of a block of groups, and the products with genes x genes matrices, which read these
        # once for all of them
        return max(
            1, min(_GENES_OF_A_BLOCK // n_genes, max(_GROUPS_OF_A_BLOCK, _GENES_OF_A_SMALL_BLOCK // n_genes))
        )
    pairs = min(20 * n_subsets, n_genes * (n_genes - 1))
    of_pairs = n_subsets * pairs * config.channels
    grid = max(of_pairs, n_genes * (n_genes + 1) * config.comparison_channels)
    most = _ELEMENTS_ON_CPU if device == "cpu" else _ELEMENTS_ON_ACCELERATOR
    return max(1, min(most // grid, _MOST_AT_ONCE))


def launch_genes(network: Any, comparisons: Sequence[Comparison], device: str) -> Launched:
    """Score comparisons of as many genes each with the gene transformer.

    Those in a row that share a control arm share the products with its matrices.
    """
    import torch

    from cdn_sc.features import inputs_of_groups
    from cdn_sc.nn.gene_transformer import batch_of_screen

    parts, kinds = [], []
    for _, run in groupby(comparisons, key=lambda each: id(each.inputs.control)):
        of_run = list(run)
        first = of_run[0].inputs
        statistics = [each.inputs.statistics for each in of_run]
        inputs = inputs_of_groups(first.control, statistics, first.known)
        batch = batch_of_screen(inputs, [each.kind for each in of_run])
        step = max(1, _GENES_OF_A_CALL // first.control.n_genes) if device == "cpu" else len(of_run)
        for start in range(0, len(of_run), step):
            some = batch.groups(slice(start, start + step))
            if not first.explained:
                parts.append(network(some)[:, None])
                continue
            found = network.outputs(some)
            said = [found.logits, found.own, found.direction]
            if first.known is not None:
                said.append(network(some.without_relations()))
            parts.append(torch.stack(said, dim=1))
            kinds.append(found.kind)
    return Launched(torch.cat(parts), torch.cat(kinds) if kinds else None)


def launch_graphs(network: Any, comparisons: Sequence[Comparison], device: str) -> Launched:
    """Score comparisons of as many genes each with the published architecture.

    Control arms that comparisons share are encoded once.
    """
    controls = _codes_of_controls(network, [each.inputs[0] for each in comparisons], device)
    perturbed = _encode(network, [each.inputs[1] for each in comparisons], device)
    logits = network.compare(controls.code, perturbed.code, controls.mean_variance, perturbed.mean_variance)
    return Launched(logits[:, None])


def _codes_of_controls(network: Any, arms: Sequence[ArmToEncode], device: str) -> ArmCode:
    import torch

    from cdn_sc.nn.batch import to_device

    first = arms[0]
    if all(arm is first for arm in arms):
        with first.lock:
            found = first.code or _encode(network, [first], device)
            first.code = found if first.shared else None
        both = found.code, found.mean_variance
        return ArmCode(*(values.expand(len(arms), *values.shape[1:]) for values in both))
    different = list({id(arm): arm for arm in arms}.values())
    codes = _encode(network, different, device)
    if len(different) == len(arms):
        return codes
    places = [next(i for i, arm in enumerate(different) if arm is each) for each in arms]
    index = to_device(torch.tensor(places, device="cpu"), device)
    return ArmCode(codes.code.index_select(0, index), codes.mean_variance.index_select(0, index))


def _encode(network: Any, arms: Sequence[ArmToEncode], device: str) -> ArmCode:
    from cdn_sc.nn.batch import collate_arms

    batch = collate_arms([arm.inputs for arm in arms], [arm.identities for arm in arms]).to(device)
    return ArmCode(network.encode_arm(batch), batch.mean_variance)
