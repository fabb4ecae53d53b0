"""What is done for each group before and after the model: candidates, values, the layout of the result."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cdn_sc.errors import InputError
from cdn_sc.tl._candidates import (
    SharedCandidates,
    arm_statistics,
    candidate_genes,
    log_fold_change,
    welch_t,
)
from cdn_sc.tl._checks import LARGEST_VALUE, looks_logarithmic
from cdn_sc.tl._expression import Expression, dense, extremes
from cdn_sc.tl._randomness import generator_of_group
from cdn_sc.tl._result import GroupResult
from cdn_sc.tl._screen_cells import ScreenCells, draw_screen_cells

if TYPE_CHECKING:
    from cdn_sc.predictors import Prediction, Predictor


# More control cells than any bundled model has met in training would only cost time and memory.
MOST_CONTROL_CELLS = 20_000
# A group's own cells blur the very relations that its perturbation broke, measurably from this share of all
# cells behind the correlations on; below, all groups share what is computed from those cells.
LARGEST_OWN_SHARE = 0.02


class GroupSkippedError(Exception):
    """A group cannot be scored; the message says why."""


@dataclass(frozen=True)
class ScoringOptions:
    """What the scoring of each group needs to know of the call."""

    kind: str | None
    genes: str
    n_genes: int | None
    mask: np.ndarray | None
    n_subsets: int
    estimator: str
    test: str
    correlations: str
    min_cells: int
    seed: int


@dataclass(frozen=True)
class PreparedGroup:
    """A group that only waits for the model.

    Of its candidate genes (positions in `genes`): whether they vary in an arm, log fold change and Welch's t.
    `extremes` are the least and largest value of its cells, `comparison` is what the predictor prepared.
    """

    group: str
    genes: np.ndarray
    varies: np.ndarray
    logfoldchange: np.ndarray
    t_statistic: np.ndarray
    extremes: tuple[float, float]
    comparison: Any


class Scorer:
    """Makes groups ready for the model, against one control arm, which is read once; lays out what it says.

    Raises
    ------
    InputError
        The control cells hold values too large to compute with.
    """

    def __init__(
        self,
        expression: Expression,
        control: np.ndarray,
        conditions: Mapping[str, np.ndarray],
        predictor: "Predictor",
        options: ScoringOptions,
    ) -> None:
        self._expression, self.predictor, self._options = expression, predictor, options
        rows = expression.rows(control)
        low, high = extremes(rows)
        if too_large(low, high):
            raise InputError(f"{expression.name}: the control has {too_large(low, high)}.")
        self._logarithmic = looks_logarithmic(low, high)
        self._control_statistics = arm_statistics(rows)
        rows = at_most(rows, MOST_CONTROL_CELLS, options.seed)
        # Each group takes other columns of the control cells.
        self._control = rows if isinstance(rows, np.ndarray) else rows.tocsc()
        self._screen: ScreenCells | None = None
        if options.correlations == "screen" and predictor.uses_correlations:
            number = MOST_CONTROL_CELLS - rows.shape[0]
            self._screen = draw_screen_cells(expression, conditions, number, options.seed)
        self._screen_sizes = {} if self._screen is None else self._screen.sizes
        self._relation_cells = rows.shape[0] + sum(self._screen_sizes.values())
        self._last_control: _ControlValues | None = None
        self._shared: np.ndarray | None = None

    def choose_shared_genes(self, groups: Mapping[str, np.ndarray]) -> None:
        """Choose the candidate genes once for all groups, in one pass over their cells.

        Groups that will be skipped for their number of cells or their values have no say.
        """
        candidates = SharedCandidates(self._control_statistics)
        for cells in groups.values():
            if len(cells) >= self._options.min_cells:
                rows = self._expression.rows(cells)
                if not too_large(*extremes(rows)):
                    candidates.add(arm_statistics(rows))
        self._shared = candidates.choose(n_genes=self._options.n_genes, mask=self._options.mask)

    def batch_size(self, n_genes: int) -> int:
        """Return how many groups with this many candidates the model takes at once."""
        return self.predictor.batch_size(n_genes, self._options.n_subsets)

    def prepare(self, group: str, cells: np.ndarray) -> "PreparedGroup":
        """Return a group with all that needs no device; several threads may do so at once.

        Parameters
        ----------
        group
            Its name, from which its random numbers come.
        cells
            Rows of its cells.

        Raises
        ------
        GroupSkippedError
            It has too few cells or candidate genes, or values too large to compute with.
        """
        options = self._options
        if len(cells) < options.min_cells:
            raise GroupSkippedError(f"{_count(len(cells), 'cell')}, min_cells={options.min_cells}")
        rows = self._expression.rows(cells)
        low, high = extremes(rows)
        if too_large(low, high):
            raise GroupSkippedError(too_large(low, high))
        statistics = arm_statistics(rows)
        genes = self._shared
        if genes is None:
            genes = candidate_genes(
                self._control_statistics, statistics, n_genes=options.n_genes, mask=options.mask
            )
        varies = (self._control_statistics.varies | statistics.varies)[genes]
        among = "" if options.mask is None else " of mask_var"
        if not varies.any():
            raise GroupSkippedError(f"no gene{among} varies in its cells or in the control cells")
        if genes.size < self.predictor.min_genes:
            raise GroupSkippedError(
                f"{_count(genes.size, 'candidate gene')}{among}, and the model needs "
                f"{self.predictor.min_genes}"
            )
        change = log_fold_change(
            self._control_statistics,
            statistics,
            logarithmic=self._logarithmic and looks_logarithmic(low, high),
        )
        return PreparedGroup(
            group=group,
            genes=genes,
            # a shared candidate that is constant in both arms of this group has no score here
            varies=varies,
            logfoldchange=change[genes],
            t_statistic=welch_t(self._control_statistics, statistics)[genes].astype(np.float32),
            extremes=(low, high),
            comparison=self._comparison(self._control_values(genes, group), dense(rows, genes), group),
        )

    def finish(self, prepared: "PreparedGroup", prediction: "Prediction") -> GroupResult:
        """Return the result of a group from what the model says.

        Raises
        ------
        GroupSkippedError
            The model's scores are not finite.
        """
        genes, varies = prepared.genes, prepared.varies
        logits = np.asarray(prediction.logits)
        if logits.shape != genes.shape:
            raise RuntimeError(
                f"the model returned {logits.shape} scores for {genes.shape} genes in {prepared.group!r}"
            )
        if not np.isfinite(logits).all():
            low, high = prepared.extremes
            raise GroupSkippedError(
                f"the model gives scores that are not finite; its values range from {low:g} to {high:g}"
            )
        columns = {name: values[varies] for name, values in prediction.columns.items()}
        if "t_statistic" in columns:  # of all control cells, where the model saw a part of them
            columns["t_statistic"] = prepared.t_statistic[varies]
        return GroupResult(
            prepared.group, genes[varies], logits[varies], prepared.logfoldchange[varies], columns
        )

    def _control_values(self, genes: np.ndarray, group: str) -> "_ControlValues":
        """Return the control cells and how the screen's cells vary at these genes.

        The very same arrays as long as the genes stay the same, so that models can keep what they computed
        from them.
        """
        last, without = self._last_control, self._left_out(group)
        if last is not None and np.array_equal(last.genes, genes):
            if last.without == without:
                return last
            control = last.values
        else:
            control = dense(self._control, genes)
            control.setflags(write=False)  # spares the model a check whether it was written over
        contrasts = None if self._screen is None else self._screen.contrasts(genes, without)
        last = self._last_control = _ControlValues(genes, without, control, contrasts)
        return last

    def _left_out(self, group: str) -> str | None:
        """Return the group if its own cells must not be among those behind the correlations."""
        own = self._screen_sizes.get(group, 0)
        return group if own > LARGEST_OWN_SHARE * self._relation_cells else None

    def _comparison(self, control: "_ControlValues", perturbed: np.ndarray, group: str) -> Any:
        # predictors that read no correlations need not know the word
        given = {} if control.contrasts is None else {"contrasts": control.contrasts}
        return self.predictor.prepare(
            control.values,
            perturbed,
            rng=generator_of_group(self._options.seed, group),
            kind=self._options.kind,
            n_subsets=self._options.n_subsets,
            estimator=self._options.estimator,
            test=self._options.test,
            control_seed=self._options.seed,
            **given,
        )


@dataclass(frozen=True)
class _ControlValues:
    """Control cells at some genes, and how the screen's cells vary without one condition."""

    genes: np.ndarray
    without: str | None
    values: np.ndarray
    contrasts: np.ndarray | None


def number_of_threads(n_jobs: int, n_groups: int) -> int:
    """Return how many threads to use: all cores for -1, never more than there are groups."""
    return max(1, min(n_jobs if n_jobs > 0 else os.cpu_count() or 1, n_groups))


def list_skipped(skipped: Mapping[str, str], *, show: int = 20) -> str:
    """Return the skipped groups with their reasons as one phrase."""
    listed = [f"{group!r} ({skipped[group]})" for group in sorted(skipped)[:show]]
    more = [f"and {len(skipped) - show} more"] if len(skipped) > show else []
    return ", ".join(listed + more)


def at_most(rows: Any, number: int, seed: int) -> Any:
    """Return the rows, or this many of them drawn by the seed, in their order."""
    n_rows = rows.shape[0]
    if n_rows <= number:
        return rows
    rng = np.random.default_rng(np.random.SeedSequence([seed, *b"control"]))
    return rows[np.sort(rng.choice(n_rows, number, replace=False, shuffle=False))]


def too_large(low: float, high: float) -> str:
    """Return what is wrong with values of this range, or nothing."""
    largest = max(-low, high)
    if largest <= LARGEST_VALUE:
        return ""
    return f"values too large to compute with: up to {largest:g}, {LARGEST_VALUE:g} is the limit"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
