"""Kinds of perturbation of a simulated screen, and what each does to the cells."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from cdn_sc.simulate.regulation import RegulatoryNetwork

KINDS = ("knockdown", "activation", "knockout", "activity")


@dataclass(frozen=True)
class Perturbation:
    """One group of a screen.

    Parameters
    ----------
    kind
        ``knockdown``: the targets' transcription falls to 5-40%. ``activation``: it rises 2-10 fold.
        ``activity``: an inhibitor; the transcript does not move, 70-100% of the effect on the regulated
        genes is lost. ``knockout``: as activity, with a moderate drop of the transcript (nonsense-mediated
        decay), to 30-95%. Drawn widely, see :func:`draw_perturbation`, each reaches further.
    targets
        Indices of the genes hit.
    strength
        Per target: log fold change of transcription, natural log.
    activity_lost
        Per target: share of the effect on regulated genes that is lost, at most 1; below 0 where it grows.
    penetrance
        Share of the group's cells that respond at all.
    n_cells
        Cells of the group.
    """

    kind: str
    targets: np.ndarray
    strength: np.ndarray
    activity_lost: np.ndarray
    penetrance: float
    n_cells: int

    @property
    def directions(self) -> np.ndarray:
        """Per target: 1 where what it does grew, -1 where it was lost."""
        return np.where(self.activity_lost == 0, np.sign(self.strength), -np.sign(self.activity_lost))


def check_kinds(kinds: Iterable[str]) -> None:
    """Raise ValueError where a kind is none of ``KINDS``."""
    unknown = sorted(set(kinds) - set(KINDS))
    if unknown:
        raise ValueError(f"unknown kind of perturbation {unknown[0]!r}; known: {', '.join(KINDS)}")


def draw_perturbation(
    kind: str,
    targets: np.ndarray,
    n_cells: int,
    rng: np.random.Generator,
    *,
    penetrance: float | None = None,
    effect: float | None = None,
    wide: bool = False,
) -> Perturbation:
    """Draw the strengths of a perturbation of the given kind, see :class:`Perturbation`.

    Parameters
    ----------
    kind
        One of ``KINDS``.
    targets
        Indices of the genes hit.
    n_cells
        Cells of the group.
    rng
        Source of randomness.
    penetrance
        Share of the cells that respond; drawn from [0.6, 1] when None.
    effect
        Where in the kind's range of strengths this one lies, from 0, the weakest, to 1, the strongest; drawn
        evenly per target when None.
    wide
        Draw from a wider range. ``activity``: from a third of the effect lost to all of it, or, in a quarter
        of the groups (agonists, ligands), grown by up to 2 times; in half of the groups feedback moves the
        targets' own transcripts, up or down, by up to about 10 fold. ``knockout``: in a third of the groups
        the transcript is all but gone. ``knockdown``: in a fifth of the groups it falls by a quarter at most
        while the effect goes by half or more (interference with translation).

    Raises
    ------
    ValueError
        If `kind` is none of ``KINDS``, or `effect` does not lie in [0, 1].
    """
    check_kinds([kind])
    if effect is not None and not 0 <= effect <= 1:
        raise ValueError(f"effect is {effect}; it lies in [0, 1], from the weakest to the strongest")
    n = len(targets)

    def between(weakest: float, strongest: float) -> np.ndarray:
        share = rng.random(n) if effect is None else effect
        return np.full(n, weakest) + (strongest - weakest) * share

    strength, lost = np.zeros(n), np.zeros(n)
    if kind == "knockdown":
        strength = np.log(between(0.4, 0.05))
    elif kind == "activation":
        strength = np.log(between(2.0, 10.0))
    elif kind == "knockout":
        strength, lost = np.log(between(0.95, 0.3)), between(0.8, 1.0)
    else:
        lost = between(0.7, 1.0)
    if wide:
        strength, lost = _further(kind, strength, lost, rng)
    if penetrance is None:
        penetrance = float(rng.uniform(0.6, 1.0))
    return Perturbation(kind, np.asarray(targets), strength, lost, penetrance, n_cells)


def _further(
    kind: str, strength: np.ndarray, lost: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Strength and lost activity where they are drawn widely."""
    n = len(strength)
    if kind == "activity":
        agonist, feedback = rng.random() < 0.25, rng.random() < 0.5
        lost = -rng.uniform(0.3, 2.0, n) if agonist else rng.uniform(1 / 3, 1.0, n)
        strength = np.clip(rng.normal(0.0, 0.8, n), -2.3, 2.3) * feedback
    elif kind == "knockout" and rng.random() < 1 / 3:
        strength = np.log(rng.uniform(0.001, 0.05, n))
    elif kind == "knockdown" and rng.random() < 0.2:
        strength, lost = np.log(rng.uniform(0.75, 1.0, n)), rng.uniform(0.5, 0.95, n)
    return strength, lost


def choose_targets(
    network: RegulatoryNetwork, kind: str, n_targets: int, eligible: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Choose genes to hit among the eligible: regulators wherever the effect runs through regulation.

    Parameters
    ----------
    network
        The network; regulators of more genes are chosen more often.
    kind
        Kind of perturbation. For ``activity`` a target must regulate at least three genes where the
        network has such genes, since otherwise nothing could show.
    n_targets
        How many; fewer are chosen where fewer are eligible.
    eligible
        Boolean per gene.
    rng
        Source of randomness.

    Returns
    -------
    Indices of the chosen genes, without repeats, in the order drawn.
    """
    degree = network.out_degree()
    if kind == "activity":
        weight = eligible * np.where(degree >= 3, np.sqrt(degree), 0.0)
        if np.count_nonzero(weight) < n_targets:
            weight = eligible * (degree + 1e-3)
    elif kind == "knockout":
        weight = eligible * (0.3 + np.sqrt(degree))
    else:
        weight = eligible * (1.0 + (degree > 0))
    n_targets = min(n_targets, int(np.count_nonzero(weight)))
    return rng.choice(network.n_genes, n_targets, replace=False, p=weight / weight.sum())
