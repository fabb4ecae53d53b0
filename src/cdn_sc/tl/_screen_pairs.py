"""Pairs of a screen with known targets, each made dense when it is asked for."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import overload

import numpy as np

from cdn_sc.simulate.pair import Pair
from cdn_sc.tl._candidates import ArmStatistics, Panel, arm_statistics, candidate_genes
from cdn_sc.tl._control_cells import ControlCells, too_large
from cdn_sc.tl._expression import Expression, dense, digest_of, extremes


@dataclass(frozen=True)
class CandidateOptions:
    """How candidate genes are chosen, as `cdn_sc.tl.predict_targets` takes it, and which groups will do."""

    one_panel: bool
    n_genes: int | None
    min_detection: float
    mask: np.ndarray | None
    min_cells: int
    min_genes: int


@dataclass(frozen=True)
class TrainingGroup:
    """A group to learn from: its label, rows of its cells, candidate genes, which of them are targets.

    The targets in `missing` vary but are no candidates: they count as ranked last.
    """

    label: str
    cells: np.ndarray
    genes: np.ndarray
    targets: np.ndarray
    missing: np.ndarray
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
        control = self._control.at(group.genes)
        return Pair(
            control.values,
            perturbed,
            targets,
            attributes,
            contrasts=control.contrasts_at_once,
            n_missing=len(group.missing),
        )


@dataclass(frozen=True)
class ScreenPairSet:
    """Training and validation pairs of a screen; the fingerprint is of everything that decides them."""

    training: ScreenPairs
    validation: ScreenPairs
    fingerprint: str


def training_groups(
    expression: Expression,
    control: ControlCells,
    groups: dict[str, np.ndarray],
    targets: dict[str, np.ndarray],
    options: CandidateOptions,
) -> tuple[list[TrainingGroup], dict[str, str], str]:
    """Choose the candidate genes of every group with a known target.

    As `predict_targets` chooses them, without a look at the targets: a model that learnt from candidates
    among which the target is sure to be would take whatever does not fit in for the target.

    Parameters
    ----------
    expression, control
        The values, and the control cells with those of other conditions behind the correlations.
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
    digest = sha256(control.digest)
    contents: dict[str, bytes] = {}
    usable: dict[str, ArmStatistics] = {}
    skipped: dict[str, str] = {}
    panel = Panel(control.statistics, options.min_detection, expression.places_by_name)
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
        contents[label] = digest_of(rows)
        panel.add(usable[label])
    chosen = panel.choose(n_genes=options.n_genes, mask=options.mask) if options.one_panel else None
    found = []
    for label, statistics in usable.items():
        genes = chosen
        if genes is None:
            genes = candidate_genes(
                control.statistics,
                statistics,
                n_genes=options.n_genes,
                mask=options.mask,
                places=expression.places_by_name,
            )
        allowed = control.statistics.varies | statistics.varies
        if options.mask is not None:
            allowed = allowed & options.mask
        known = targets[label][allowed[targets[label]]]
        of_group = np.intersect1d(known, genes)
        if not known.size:
            among = (
                "its cells or the control cells" if options.mask is None else "the cells, or not in mask_var"
            )
            skipped[label] = f"its target does not vary in {among}"
        elif len(genes) < max(options.min_genes, 2):
            skipped[label] = f"{len(genes)} candidate gene(s)"
        else:
            effect = statistics.mean - control.statistics.mean
            missing = np.setdiff1d(known, genes)
            found.append(TrainingGroup(label, groups[label], genes, of_group, missing, effect))
            digest.update(label.encode())
            for part in (genes, of_group, missing, groups[label]):
                digest.update(np.ascontiguousarray(part).tobytes())
            digest.update(contents[label])
    return found, skipped, digest.hexdigest()
