"""How many threads a call computes with, and the pools of the libraries meanwhile.

Threads of ours take whole groups, and each computes alone. The pools over which the libraries split a single
product wait for their slowest thread after each, and burn their cores meanwhile: as soon as something else
needs a core, that takes several times as long as one thread does. So they are held to one thread while we
compute.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from threading import Lock
from typing import Any

from cdn_sc._fork import was_forked
from cdn_sc._logging import logger
from cdn_sc.settings import settings

# Where nobody says how many: each group of 1000 genes needs some 300 MB, and Python's share does not split.
MOST_BY_DEFAULT = 8


def usable_cores() -> int:
    """Return how many cores the process may use, by its affinity and the quota of its container."""
    from joblib import cpu_count  # takes a moment to import

    return cpu_count()


def number_of_jobs(n_jobs: int | None) -> int:
    """Return how many threads to compute with.

    Parameters
    ----------
    n_jobs
        A number, -1 for all usable cores, or `None` for the number in the settings. If that is `None` too:
        the usable cores, at most as many as torch and the variable `OMP_NUM_THREADS` are set to, and at most
        `MOST_BY_DEFAULT`.
    """
    n_jobs = settings.n_jobs if n_jobs is None else n_jobs
    if n_jobs is None:
        return min(usable_cores(), torch_threads(), _of_environment(), MOST_BY_DEFAULT)
    return usable_cores() if n_jobs < 0 else n_jobs


def share_threads(n_jobs: int | None, n_groups: int) -> tuple[int, int]:
    """Return how many groups to work on at once, and with how many threads of torch within each.

    Parameters
    ----------
    n_jobs
        As of `number_of_jobs`.
    n_groups
        How many groups there are: where there are fewer, torch has the other threads within each.
    """
    threads = number_of_jobs(n_jobs)
    at_once = min(threads, n_groups)
    return at_once, threads // at_once


def _of_environment(most: int | None = MOST_BY_DEFAULT) -> int:
    """What `OMP_NUM_THREADS` says, else `most`, or all cores.

    Torch may say more than that variable: numba's first parallel loop raises its number.
    """
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if first.isdecimal() and int(first) > 0:
        return int(first)
    return usable_cores() if most is None else most


@contextmanager
def pools_held(threads: int = 1) -> Iterator[None]:
    """Compute with so many threads of torch, in this thread alone, and with one of BLAS.

    On leaving all is as it was, also after an error and where several threads are inside at once.

    Parameters
    ----------
    threads
        Threads of torch. Other threads of the process keep theirs: see `hold_torch`.
    """
    before = hold_torch(threads)
    try:
        with one_blas_thread():
            yield
    finally:
        hold_torch(before)


def one_blas_thread() -> AbstractContextManager[None]:
    """Return a context within which BLAS has one thread; afterwards as many as before the first one in."""
    return _blas


@contextmanager
def torch_for_training(architecture: str = "cdn") -> Iterator[None]:
    """Train with as many threads as that gains by; leave all as it was.

    In a process forked from one that computed with several threads those do not exist, and waiting for them
    never ends: there it is one thread, with a warning. New tensors are made on the CPU, whatever torch's
    default device is set to.

    Parameters
    ----------
    architecture
        Of the network. That of the gene transformer has products too short to split: one thread is as fast,
        and not slowed by other work. The published one has those of torch, and of `OMP_NUM_THREADS`, which
        torch forgets once numba has started its pool. `settings.n_jobs` says otherwise for both.
    """
    import torch

    if settings.n_jobs is not None:
        threads = number_of_jobs(None)
    else:
        threads = 1 if architecture == "gene_transformer" else min(torch_threads(), _of_environment(None))
    if was_forked() and threads > 1:
        logger.warning("This process was forked from another one: training with one thread, for safety.")
        threads = 1
    before = hold_torch(threads)
    try:
        with torch.device("cpu") if torch.get_default_device().type != "cpu" else nullcontext():
            yield
    finally:
        hold_torch(before)


def torch_threads() -> int:
    """Return how many threads torch has in this thread, which it settles when first asked."""
    import torch

    with _lock:
        return torch.get_num_threads()


def hold_torch(threads: int) -> int:
    """Let torch compute with so many threads in this thread alone, and return with how many it did.

    The number belongs to a thread, but setting it also sets that of threads that come to torch later. Another
    thread puts the latter back at once.
    """
    import torch

    with _lock:
        before, of_new_threads = torch.get_num_threads(), _in_new_thread(torch.get_num_threads)
        torch.set_num_threads(threads)
        _in_new_thread(torch.set_num_threads, of_new_threads)
    return before


def _in_new_thread(function: Callable[..., Any], *arguments: Any) -> Any:
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(function, *arguments).result()


class _OneBlasThread(AbstractContextManager[None]):
    """Holds the BLAS of numpy and scipy to one thread: the first one in holds it, the last one out lets go.

    Its number of threads is one for the whole process, which threadpoolctl lets but one thread at a time set
    and restore. That is one of ours, so that those who come and go may be others.
    """

    def __init__(self) -> None:
        self._lock, self._inside = Lock(), 0
        self._holder: Any = None
        self._limits: Any = None

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                import scipy.linalg  # noqa: F401 - brings a BLAS of its own, which must be there to be held
                from threadpoolctl import threadpool_limits

                self._holder = ThreadPoolExecutor(1, "cdn_sc_blas")
                self._limits = self._holder.submit(threadpool_limits, 1, "blas").result()
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._holder.submit(self._limits.restore_original_limits).result()
                self._holder.shutdown()


_lock, _blas = Lock(), _OneBlasThread()


def _start_anew() -> None:
    """Forget locks of threads that a forked process does not have."""
    global _lock, _blas
    _lock, _blas = Lock(), _OneBlasThread()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew)
