"""Groups on their way through the model: made ready in threads, scored in batches, fetched a batch later.

What is scored together depends on the groups and their order alone, never on threads or on how far they are
ahead of the model.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from threading import Lock
from typing import TYPE_CHECKING, Any

from cdn_sc._labels import printable
from cdn_sc._logging import logger
from cdn_sc._progress import progress_bar
from cdn_sc._threads import hold_torch, pools_held
from cdn_sc.errors import DeviceMemoryError, InputError
from cdn_sc.tl._result import GroupResult
from cdn_sc.tl._scoring import GroupSkippedError, PreparedGroup, Scorer, list_skipped

if TYPE_CHECKING:
    from cdn_sc.predictors import Prediction, Predictor

# Batches given to an accelerator before the first of them is waited for: it works on one, the next is there.
BATCHES_ON_DEVICE = 2

Outcome = tuple[str, GroupResult | GroupSkippedError]


def score_groups(
    scorer: Scorer, groups: Mapping[str, Any], *, n_jobs: int, threads_within: int, progress: bool
) -> tuple[list[GroupResult], dict[str, str]]:
    """Score all groups.

    Parameters
    ----------
    scorer
        Makes groups ready and has the model.
    groups
        Rows of the cells of each group.
    n_jobs
        How many threads work on groups at once.
    threads_within
        How many threads torch has in each of them.
    progress
        Whether to show a progress bar.

    Returns
    -------
    The results, and for each group that could not be scored the reason.

    Raises
    ------
    InputError
        No group could be scored. Where all of them failed with an error, the first of these is raised.
    DeviceMemoryError
        The device has too little memory for a group by itself.
    """
    results: list[GroupResult] = []
    skipped: dict[str, str] = {}
    first_failure: BaseException | None = None
    n_failed = 0
    with (
        pools_held(threads_within),
        progress_bar(progress, total=len(groups), desc="predict targets", unit="group") as bar,
    ):
        for group, outcome in _outcomes(scorer, groups, n_jobs, threads_within):
            bar.set_postfix_str(printable(group), refresh=False)
            bar.update()
            if isinstance(outcome, GroupResult):
                results.append(outcome)
            else:
                skipped[group] = str(outcome)
                n_failed += outcome.__cause__ is not None
                first_failure = first_failure or outcome.__cause__
    if not results:
        if first_failure is not None and n_failed == len(skipped):
            raise first_failure
        raise InputError(f"no group could be scored: {list_skipped(skipped)}.") from first_failure
    return results, skipped


def _outcomes(
    scorer: Scorer, groups: Mapping[str, Any], n_jobs: int, threads_within: int
) -> Iterator[Outcome]:
    """Every group's result, or why it has none."""
    on_cpu = scorer.predictor.device == "cpu"
    # An accelerator is fed by one thread, while others make groups ready. On the CPU both are the same work.
    preparing: Executor = _AtOnce()
    if n_jobs > 1 or not on_cpu:
        preparing = ThreadPoolExecutor(n_jobs, "cdn_sc", initializer=hold_torch, initargs=(threads_within,))
    launching: Executor = preparing if on_cpu else _AtOnce()
    # twice as many as threads, so that one on a busy core does not keep the others waiting
    most_in_flight = (2 * n_jobs if n_jobs > 1 else 0) if on_cpu else BATCHES_ON_DEVICE
    model = _Model(scorer.predictor)
    in_flight: deque[Future[Iterator[Outcome]]] = deque()
    try:
        ahead = 1 if isinstance(preparing, _AtOnce) else 2 * n_jobs
        for batch in _batches(_prepared(scorer, groups, preparing, ahead), scorer, model):
            if isinstance(batch, tuple):
                yield batch
                continue
            in_flight.append(launching.submit(_launch, scorer, model, batch))
            while len(in_flight) > most_in_flight:
                yield from in_flight.popleft().result()
        while in_flight:
            yield from in_flight.popleft().result()
    finally:
        preparing.shutdown(wait=True, cancel_futures=True)


def _prepared(
    scorer: Scorer, groups: Mapping[str, Any], executor: Executor, ahead: int
) -> Iterator[tuple[str, PreparedGroup | GroupSkippedError]]:
    """The groups in their order, made ready, at most so many ahead of the one that is asked for."""

    def attempt(group: str) -> PreparedGroup | GroupSkippedError:
        try:
            return scorer.prepare(group, groups[group])
        except GroupSkippedError as reason:
            return reason
        except Exception as error:
            error.add_note(f"in group {group!r}")
            raise

    waiting: deque[tuple[str, Future[PreparedGroup | GroupSkippedError]]] = deque()
    for group in groups:
        waiting.append((group, executor.submit(attempt, group)))
        if len(waiting) >= ahead:
            first, future = waiting.popleft()
            yield first, future.result()
    for group, future in waiting:
        yield group, future.result()


def _batches(
    prepared: Iterator[tuple[str, PreparedGroup | GroupSkippedError]], scorer: Scorer, model: "_Model"
) -> Iterator[list[PreparedGroup] | tuple[str, GroupSkippedError]]:
    """Runs of groups with as many genes, and between them the groups that are skipped."""
    batch: list[PreparedGroup] = []
    for group, found in prepared:
        if isinstance(found, GroupSkippedError):
            yield group, found
            continue
        if batch and batch[0].genes.size != found.genes.size:
            yield batch
            batch = []
        batch.append(found)
        if len(batch) >= min(scorer.batch_size(found.genes.size), model.most_at_once):
            yield batch
            batch = []
    if batch:
        yield batch


def _launch(scorer: Scorer, model: "_Model", batch: Sequence[PreparedGroup]) -> Iterator[Outcome]:
    """Give a batch to the model; the outcomes are waited for when they are asked for."""
    parts = model.launch(batch)

    def fetch() -> Iterator[Outcome]:
        for groups, fetch_predictions in parts:
            for prepared, prediction in zip(groups, fetch_predictions(), strict=True):
                try:
                    yield prepared.group, scorer.finish(prepared, prediction)
                except GroupSkippedError as reason:
                    yield prepared.group, reason

    return fetch()


class _Model:
    """A predictor that makes do with the memory that there is: batches are halved until they fit.

    Attributes
    ----------
    most_at_once
        How many groups fitted, as far as is known.
    """

    def __init__(self, predictor: "Predictor") -> None:
        self._predictor = predictor
        self._one_at_a_time = Lock()
        self.most_at_once = 2**31

    def launch(
        self, batch: Sequence[PreparedGroup]
    ) -> list[tuple[Sequence[PreparedGroup], Callable[[], "list[Prediction]"]]]:
        """Groups launched together, and what waits for their predictions."""
        try:
            return [(batch, self._predictor.launch([group.comparison for group in batch]).fetch)]
        except RuntimeError as error:
            if not _is_out_of_memory(error):
                raise
            # Out of this block, so that no traceback keeps what lies on the device.
        if len(batch) == 1:
            return [self._launch_alone(batch)]
        half = len(batch) // 2
        self.most_at_once = min(self.most_at_once, half)
        logger.warning("Out of device memory with %d groups at once: going on with %d.", len(batch), half)
        return self.launch(batch[:half]) + self.launch(batch[half:])

    def _launch_alone(
        self, batch: Sequence[PreparedGroup]
    ) -> tuple[Sequence[PreparedGroup], Callable[[], "list[Prediction]"]]:
        import torch

        (group,) = batch
        logger.warning("Out of device memory in group %r: trying it once more by itself.", group.group)
        with self._one_at_a_time:
            torch.cuda.empty_cache()
            try:
                return batch, self._predictor.launch([group.comparison]).fetch
            except RuntimeError as error:
                if not _is_out_of_memory(error):
                    raise
                raise DeviceMemoryError(
                    f"the device ran out of memory in group {group.group!r} with {group.genes.size} "
                    f"candidate genes: lower n_genes (such as n_genes={max(group.genes.size // 2, 1)}) or "
                    "n_jobs, or take device='cpu'."
                ) from error


def _is_out_of_memory(error: RuntimeError) -> bool:
    """Whether a device has too little memory; Apple's says so in words alone."""
    import torch

    return isinstance(error, torch.cuda.OutOfMemoryError) or "out of memory" in str(error)


class _AtOnce(Executor):
    """Does what is submitted at once, in the same thread."""

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **options: Any) -> "Future[Any]":
        """Return a future that is done."""
        future: Future[Any] = Future()
        future.set_result(function(*arguments, **options))
        return future
