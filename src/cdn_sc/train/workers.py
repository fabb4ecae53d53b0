"""Prepare training steps ahead of time in other processes."""

from __future__ import annotations

import io
import multiprocessing
import os
import pickle
import signal
import threading
from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Any

import numba
import torch
from torch import Tensor

from cdn_sc.train.config import TrainConfig
from cdn_sc.train.pairs import PairSet
from cdn_sc.train.prepare import PreparedStep, prepare_step


def prepared_steps(
    config: TrainConfig, sizes: Any, start: int, workers: int, given: PairSet | None = None
) -> Generator[PreparedStep, None, None]:
    """Prepare the steps from ``start`` to the run's last one, in order.

    Parameters
    ----------
    config
        The training run.
    sizes
        The network's configuration.
    start
        First step.
    workers
        Processes that prepare up to ``2 * workers + 1`` steps ahead; 0 prepares each step in this process
        when it is asked for. Either way the steps are the same. Close the generator to end the processes.
    given
        Pairs of the source ``"given"``, which workers do not get.

    Raises
    ------
    concurrent.futures.process.BrokenProcessPool
        If a process ended, for lack of memory for example; an error in one is raised here as it is.
    """
    if not workers:
        for step in range(start, config.steps):
            yield prepare_step(config, sizes, step, given)
        return
    # forked copies of a process with OpenMP threads hang
    context = multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(workers, mp_context=context, initializer=_set_up)
    try:
        ahead: deque[Future[bytes]] = deque()
        for step in range(start, config.steps):
            ahead.append(executor.submit(_prepare, config, sizes, step))
            if len(ahead) > 2 * workers:
                yield pickle.loads(ahead.popleft().result())
        while ahead:
            yield pickle.loads(ahead.popleft().result())
    finally:
        executor.shutdown(cancel_futures=True)


def _set_up() -> None:
    """Prepare a worker process: one thread, and an end when the training process ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the training process, which ends this one
    torch.set_num_threads(1)
    numba.set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Wait for the training process to be killed, of which the queue of a pool tells its workers nothing."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _prepare(config: TrainConfig, sizes: Any, step: int) -> bytes:
    file = io.BytesIO()
    _Pickler(file, protocol=pickle.HIGHEST_PROTOCOL).dump(prepare_step(config, sizes, step))
    return file.getvalue()


class _Pickler(pickle.Pickler):
    """Sends tensors by value; torch would share each through a file descriptor, of which there are few."""

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, Tensor):
            return torch.from_numpy, (obj.numpy(),)
        return NotImplemented
