"""Score the groups one by one: choose candidates, read their values, call the model."""

import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm.auto import tqdm

from cdn_sc._logging import logger
from cdn_sc.errors import DeviceMemoryError, InputError
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

if TYPE_CHECKING:
    from cdn_sc.predictors import Prediction, Predictor


# More control cells than any bundled model has met in training would only cost time and memory.
MOST_CONTROL_CELLS = 20_000


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
    min_cells: int
    seed: int


class Scorer:
    """Scores groups against one control arm, which is read once.

    Raises
    ------
    InputError
        The control cells hold values too large to compute with.
    """

    def __init__(
        self, expression: Expression, control: np.ndarray, predictor: "Predictor", options: ScoringOptions
    ) -> None:
        self._expression, self._predictor, self._options = expression, predictor, options
        rows = expression.rows(control)
        low, high = extremes(rows)
        if too_large(low, high):
            raise InputError(f"{expression.name}: the control has {too_large(low, high)}.")
        self._logarithmic = looks_logarithmic(low, high)
        self._control_statistics = arm_statistics(rows)
        rows = at_most(rows, MOST_CONTROL_CELLS, options.seed)
        # Each group takes other columns of the control cells.
        self._control = rows if isinstance(rows, np.ndarray) else rows.tocsc()
        self._last_control: tuple[np.ndarray, np.ndarray] | None = None
        self._shared: np.ndarray | None = None
        self._one_at_a_time = Lock()

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

    def score(self, group: str, cells: np.ndarray) -> GroupResult:
        """Return the scores of one group.

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
        if genes.size < self._predictor.min_genes:
            raise GroupSkippedError(
                f"{_count(genes.size, 'candidate gene')}{among}, and the model needs "
                f"{self._predictor.min_genes}"
            )
        prediction = self._predict(self._control_values(genes), dense(rows, genes), group)
        change = log_fold_change(
            self._control_statistics,
            statistics,
            logarithmic=self._logarithmic and looks_logarithmic(low, high),
        )
        logits = np.asarray(prediction.logits)
        if logits.shape != genes.shape:
            raise RuntimeError(
                f"the model returned {logits.shape} scores for {genes.shape} genes in {group!r}"
            )
        if not np.isfinite(logits).all():
            raise GroupSkippedError(
                f"the model gives scores that are not finite; its values range from {low:g} to {high:g}"
            )
        # a shared candidate that is constant in both arms of this group has no score here
        columns = {name: values[varies] for name, values in prediction.columns.items()}
        if "t_statistic" in columns:  # of all control cells, where the model saw a part of them
            t = welch_t(self._control_statistics, statistics)[genes][varies]
            columns["t_statistic"] = t.astype(np.float32)
        return GroupResult(group, genes[varies], logits[varies], change[genes][varies], columns)

    def _control_values(self, genes: np.ndarray) -> np.ndarray:
        """Return the control cells at these genes: the very same array as long as the genes stay the same.

        Models can then keep what they computed from it.
        """
        last = self._last_control
        if last is not None and np.array_equal(last[0], genes):
            return last[1]
        values = dense(self._control, genes)
        self._last_control = (genes, values)
        return values

    def _predict(self, control: np.ndarray, perturbed: np.ndarray, group: str) -> "Prediction":
        import torch

        def predict() -> "Prediction":
            return self._predictor.predict(
                control,
                perturbed,
                rng=generator_of_group(self._options.seed, group),
                kind=self._options.kind,
                n_subsets=self._options.n_subsets,
                estimator=self._options.estimator,
                test=self._options.test,
                control_seed=self._options.seed,
            )

        try:
            return predict()
        except torch.cuda.OutOfMemoryError:
            logger.warning("Out of device memory in group %r: trying it once more by itself.", group)
        with self._one_at_a_time:
            torch.cuda.empty_cache()
            try:
                return predict()
            except torch.cuda.OutOfMemoryError as error:
                raise DeviceMemoryError(
                    f"the device ran out of memory in group {group!r} with {control.shape[1]} candidate "
                    f"genes: lower n_genes (for example n_genes={max(control.shape[1] // 2, 1)}) or n_jobs, "
                    "or take device='cpu'."
                ) from error


def score_groups(
    score: Callable[[str, np.ndarray], GroupResult],
    groups: Mapping[str, np.ndarray],
    *,
    n_jobs: int,
    progress: bool,
) -> tuple[list[GroupResult], dict[str, str]]:
    """Score all groups.

    Parameters
    ----------
    score
        Scores one group, given its name and the rows of its cells.
    groups
        Rows of the cells of each group.
    n_jobs
        How many threads work on groups at once.
    progress
        Whether to show a progress bar.

    Returns
    -------
    The results, and for each group that could not be scored the reason.
    """
    results: list[GroupResult] = []
    skipped: dict[str, str] = {}
    with tqdm(total=len(groups), desc="predict targets", unit="group", disable=not progress) as bar:
        for group, outcome in _outcomes(score, groups, n_jobs):
            bar.set_postfix_str(group, refresh=False)
            bar.update()
            if isinstance(outcome, GroupResult):
                results.append(outcome)
            else:
                skipped[group] = str(outcome)
    if not results:
        raise InputError(f"no group could be scored: {list_skipped(skipped)}.")
    return results, skipped


def _outcomes(
    score: Callable[[str, np.ndarray], GroupResult], groups: Mapping[str, np.ndarray], n_jobs: int
) -> Iterator[tuple[str, GroupResult | GroupSkippedError]]:
    def attempt(group: str) -> GroupResult | GroupSkippedError:
        try:
            return score(group, groups[group])
        except GroupSkippedError as reason:
            return reason

    if n_jobs == 1:
        for group in groups:
            yield group, attempt(group)
        return
    waiting = iter(groups)
    pool = ThreadPoolExecutor(n_jobs, thread_name_prefix="cdn_sc")
    try:
        running = {pool.submit(attempt, group): group for group in islice(waiting, n_jobs)}
        while running:
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield running.pop(future), future.result()
            running |= {pool.submit(attempt, group): group for group in islice(waiting, len(done))}
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


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
