"""Pairs of a screen with known targets, each made dense when it is asked for."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import overload

import numpy as np

from cdn_sc.simulate.pair import Pair
from cdn_sc.tl._candidates import ArmStatistics, SharedCandidates, arm_statistics, candidate_genes
from cdn_sc.tl._control_cells import ControlCells, too_large
from cdn_sc.tl._expression import Expression, dense, extremes


@dataclass(frozen=True)
class CandidateOptions:
    """How candidate genes are chosen, as `cdn_sc.tl.predict_targets` takes it, and which groups will do."""

    genes: str
    n_genes: int | None
    mask: np.ndarray | None
    min_cells: int
    min_genes: int


@dataclass(frozen=True)
class TrainingGroup:
    """A group to learn from: its label, rows of its cells, candidate genes, and which of them are targets."""

    label: str
    cells: np.ndarray
    genes: np.ndarray
    targets: np.ndarray
    effect: np.ndarray


class ScreenPairs(Sequence[Pair]):
    """Groups of a screen against its control cells, as pairs with known targets."""

    def __init__(
        self, expression: Expression, control: ControlCells, groups: Sequence[TrainingGroup], kind: str | None
    ) -> None:
        self._expression, self._control, self._groups, self._kind = expression, control, groups, kind

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self._groups)

    @overload
    def __getitem__(self, index: int) -> Pair: ...
    @overload
    def __getitem__(self, index: slice) -> "ScreenPairs": ...
    def __getitem__(self, index: int | slice) -> "Pair | ScreenPairs":
        """Make a pair; of a slice, the pairs that are still to be made."""
        if isinstance(index, slice):
            return ScreenPairs(self._expression, self._control, self._groups[index], self._kind)
        group = self._groups[index]
        attributes: dict[str, str | int | float] = {"group": group.label, "genes": len(group.genes)}
        if self._kind is not None:
            attributes["kind"] = self._kind
        perturbed = dense(self._expression.rows(group.cells), group.genes)
        targets = np.searchsorted(group.genes, group.targets)
        control = self._control.at(group.genes, group.label)
        return Pair(control.values, perturbed, targets, attributes, contrasts=control.contrasts)


@dataclass(frozen=True)
class ScreenPairSet:
    """Training and validation pairs of a screen; the fingerprint is of everything that decides them."""

    training: ScreenPairs
    validation: ScreenPairs
    fingerprint: str


def training_groups(
    expression: Expression,
    control: ArmStatistics,
    groups: dict[str, np.ndarray],
    targets: dict[str, np.ndarray],
    options: CandidateOptions,
) -> tuple[list[TrainingGroup], dict[str, str], str]:
    """Choose the candidate genes of every group with a known target.

    As in `predict_targets`, but a target is a candidate whenever it varies: of the genes that are chosen by
    t it takes the place of the weakest. A mask is kept to.

    Parameters
    ----------
    expression, control
        The values, and the statistics of the control cells.
    groups
        Rows of the cells of each group.
    targets
        Positions of the target genes of the groups to learn from.
    options
        See `CandidateOptions`.

    Returns
    -------
    The groups, the reasons why others cannot be used, and a digest of all that was read.
    """
    digest = sha256(control.mean.tobytes() + control.variance.tobytes())
    usable: dict[str, ArmStatistics] = {}
    skipped: dict[str, str] = {}
    shared = SharedCandidates(control)
    for label in targets:
        cells = groups[label]
        if len(cells) < options.min_cells:
            skipped[label] = f"{len(cells)} cells, fewer than min_cells={options.min_cells}"
            continue
        rows = expression.rows(cells)
        if reason := too_large(*extremes(rows)):
            skipped[label] = reason
            continue
        usable[label] = arm_statistics(rows)
        shared.add(usable[label])
    chosen = None
    if options.genes == "shared":
        always = np.unique(np.concatenate([targets[label] for label in usable])) if usable else ()
        chosen = shared.choose(n_genes=options.n_genes, mask=options.mask, always=always)
    found = []
    for label, statistics in usable.items():
        genes = chosen
        if genes is None:
            genes = candidate_genes(
                control, statistics, n_genes=options.n_genes, mask=options.mask, always=targets[label]
            )
        of_group = np.intersect1d(targets[label], genes)
        if not of_group.size:
            among = (
                "its cells or the control cells" if options.mask is None else "the cells, or not in mask_var"
            )
            skipped[label] = f"its target does not vary in {among}"
        elif len(genes) < max(options.min_genes, 2):
            skipped[label] = f"{len(genes)} candidate gene(s)"
        else:
            effect = statistics.mean - control.mean
            found.append(TrainingGroup(label, groups[label], genes, of_group, effect))
            for part in (
                label.encode(),
                statistics.mean,
                statistics.variance,
                genes,
                of_group,
                groups[label],
            ):
                digest.update(part if isinstance(part, bytes) else np.ascontiguousarray(part).tobytes())
    return found, skipped, digest.hexdigest()
