"""What is done for each group before and after the model: candidates, values, the layout of the result."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cdn_sc._known_relations import KnownRelations
from cdn_sc._logging import logger
from cdn_sc.errors import DeviceError
from cdn_sc.tl._candidates import (
    Panel,
    arm_statistics,
    candidate_genes,
    log_fold_change,
    welch_t,
)
from cdn_sc.tl._checks import looks_logarithmic
from cdn_sc.tl._control_cells import ControlCells, ControlValues, too_large
from cdn_sc.tl._expression import Expression, dense, extremes
from cdn_sc.tl._randomness import generator_of_group
from cdn_sc.tl._result import GroupResult

if TYPE_CHECKING:
    from cdn_sc.predictors import Prediction, Predictor


class GroupSkippedError(Exception):
    """A group cannot be scored; the message says why."""


@dataclass(frozen=True)
class ScoringOptions:
    """What the scoring of each group needs to know of the call."""

    kind: str | None
    n_genes: int | None
    min_detection: float
    mask: np.ndarray | None
    n_subsets: int
    estimator: str
    test: str
    correlations: str
    min_cells: int
    seed: int
    relations: KnownRelations | None = None


@dataclass(frozen=True)
class PreparedGroup:
    """A group that only waits for the model.

    Of its candidate genes (positions in `genes`): whether they vary in an arm, log fold change and Welch's t.
    `extremes` are the least and largest value of its `n_cells` cells, `comparison` is what the predictor
    prepared.
    """

    group: str
    n_cells: int
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
        reads_screen = options.correlations == "screen" and predictor.uses_correlations
        self._control = ControlCells(expression, control, options.seed, conditions if reads_screen else None)
        self._logarithmic = looks_logarithmic(*self._control.extremes, expression.log_scale)
        self._place_by_name = expression.places_by_name
        self._panel: np.ndarray | None = None
        self._relations: KnownRelations | None = None

    def prepare_screen(self, groups: Mapping[str, np.ndarray]) -> None:
        """Choose one panel of genes for all groups, in one pass over their cells, and do its control side.

        Models with a limit of their own choose for each group, as published: for them nothing is done.
        Groups that will be skipped, for their number of cells or their values, have no say.
        """
        if self.predictor.max_genes is not None:
            return
        panel = Panel(self._control.statistics, self._options.min_detection, self._place_by_name)
        for cells in groups.values():
            if len(cells) >= self._options.min_cells:
                try:
                    rows = self._expression.rows(cells)
                except OSError:  # `prepare` says so
                    continue
                if not too_large(*extremes(rows)):
                    panel.add(arm_statistics(rows))
        genes = panel.choose(n_genes=self._options.n_genes, mask=self._options.mask)
        self._panel = genes[np.argsort(self._place_by_name[genes])]
        if self._panel.size:
            control = self._control.at(self._panel)
            self.predictor.prepare_control(control.values, control.contrasts)
            if self._options.relations is not None:
                self._relations = _within_panel(self._options.relations, self._panel)

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
            It has too few cells or candidate genes, values too large to compute with, or its cells cannot be
            read or computed with: the error is then its cause.
        """
        try:
            return self._prepare(group, cells)
        except (GroupSkippedError, MemoryError, DeviceError):
            raise
        except Exception as error:
            if "out of memory" in str(error):  # a device's, which would fail in other groups too
                raise
            error.add_note(f"in group {group!r}")
            raise GroupSkippedError(f"{type(error).__name__}: {error}") from error

    def _prepare(self, group: str, cells: np.ndarray) -> "PreparedGroup":
        options = self._options
        if len(cells) < options.min_cells:
            raise GroupSkippedError(f"{_count(len(cells), 'cell')}, min_cells={options.min_cells}")
        rows = self._expression.rows(cells)
        low, high = extremes(rows)
        if too_large(low, high):
            raise GroupSkippedError(too_large(low, high))
        statistics = arm_statistics(rows)
        # genes and cells in the order of their names, so that nothing depends on how the object is sorted
        genes = self._panel
        if genes is None:
            genes = candidate_genes(
                self._control.statistics,
                statistics,
                n_genes=options.n_genes,
                mask=options.mask,
                places=self._place_by_name,
            )
            genes = genes[np.argsort(self._place_by_name[genes])]
        by_name = np.argsort(self._expression.cell_names[cells])
        varies = (self._control.statistics.varies | statistics.varies)[genes]
        among = "" if options.mask is None else " of mask_var"
        if not varies.any():
            rule = ""
            if options.mask is None and self._panel is not None:
                rule = f", of those that enough cells have (min_detection={options.min_detection:g})"
            raise GroupSkippedError(f"no gene{among} varies in its cells or in the control cells{rule}")
        if genes.size < self.predictor.min_genes:
            raise GroupSkippedError(
                f"{_count(genes.size, 'candidate gene')}{among}, and the model needs "
                f"{self.predictor.min_genes}"
            )
        change = log_fold_change(
            self._control.statistics,
            statistics,
            logarithmic=self._logarithmic and looks_logarithmic(low, high, self._expression.log_scale),
            log_scale=self._expression.log_scale,
        )
        return PreparedGroup(
            group=group,
            n_cells=len(cells),
            genes=genes,
            # a gene of the panel that is constant in both arms of this group has no score here
            varies=varies,
            logfoldchange=change[genes],
            t_statistic=welch_t(self._control.statistics, statistics)[genes].astype(np.float32),
            extremes=(low, high),
            comparison=self._comparison(self._control.at(genes), dense(rows, genes)[by_name], group),
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
            prepared.group,
            genes[varies],
            logits[varies],
            prepared.logfoldchange[varies],
            columns,
            prepared.n_cells,
            prediction.kinds,
        )

    def _comparison(self, control: ControlValues, perturbed: np.ndarray, group: str) -> Any:
        # predictors that read no correlations need not know the word
        given: dict[str, Any] = {} if control.contrasts is None else {"contrasts": control.contrasts}
        if self._relations is not None:
            given["relations"] = self._relations
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


def _within_panel(relations: KnownRelations, panel: np.ndarray) -> KnownRelations | None:
    """Return the relations between genes of the panel; None, which is said, where there are none."""
    found = relations.among(panel)
    if not len(found):
        logger.warning(
            "None of the relations is between two of the %d genes of the panel: groups are scored without.",
            panel.size,
        )
        return None
    logger.info("Relations: %d are between two of the %d genes of the panel.", len(found), panel.size)
    return found


def list_skipped(skipped: Mapping[str, str], *, show: int = 20) -> str:
    """Return the skipped groups with their reasons as one phrase."""
    listed = [f"{group!r} ({skipped[group]})" for group in sorted(skipped)[:show]]
    more = [f"and {len(skipped) - show} more"] if len(skipped) > show else []
    return ", ".join(listed + more)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
