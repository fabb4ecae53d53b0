"""How many threads a call computes with, and the pools of the libraries meanwhile.

Threads of ours take whole groups, and each computes alone. The pools that the libraries split a single product
over wait for their slowest thread after each, and burn their cores meanwhile: as soon as something else needs
a core, that takes several times as long as one thread does. So they are held to one thread while we compute.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock, Thread
from typing import Any

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
        A number, -1 for all usable cores, or `None` for the number in the settings. If that is `None` too: the
        usable cores, at most as many as torch and the variable `OMP_NUM_THREADS` are set to, and at most
        `MOST_BY_DEFAULT`.
    """
    n_jobs = settings.n_jobs if n_jobs is None else n_jobs
    if n_jobs is None:
        import torch

        return min(usable_cores(), torch.get_num_threads(), _of_environment(), MOST_BY_DEFAULT)
    return usable_cores() if n_jobs < 0 else n_jobs


def share_threads(n_jobs: int | None, n_groups: int, n_genes: int) -> tuple[int, int]:
    """Return how many groups to work on at once, and with how many threads of torch within each.

    Where nobody says how many, large groups are taken fewer at a time, for the memory that they need, and torch
    has the other threads within each: their products are long enough for waits to matter little. Else torch
    has them where a number of jobs was asked for and there are fewer groups.

    Parameters
    ----------
    n_jobs
        As of `number_of_jobs`.
    n_groups
        How many groups there are.
    n_genes
        How many genes a group has at most.
    """
    threads = number_of_jobs(n_jobs)
    if n_jobs is None and settings.n_jobs is None:
        room = max(1, MOST_BY_DEFAULT * 1000**2 // n_genes**2)
        return min(threads, n_groups, room), max(1, threads // room)
    at_once = min(threads, n_groups)
    return at_once, threads // at_once


def _of_environment() -> int:
    """What `OMP_NUM_THREADS` says. Torch may say more: another library's first parallel loop raises its number."""
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return int(first) if first.isdecimal() and int(first) > 0 else MOST_BY_DEFAULT


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
        with _blas:
            yield
    finally:
        hold_torch(before)


def hold_torch(threads: int) -> int:
    """Let torch compute with so many threads in this thread alone, and return with how many it did.

    The number belongs to a thread, but setting it also sets that of threads yet to start. Another thread puts
    the latter back.
    """
    import torch

    with _lock:
        before, of_new_threads = torch.get_num_threads(), _in_new_thread(torch.get_num_threads)
        torch.set_num_threads(threads)
        _in_new_thread(torch.set_num_threads, of_new_threads)
    return before


def _in_new_thread(function: Any, *arguments: Any) -> Any:
    results: list[Any] = []
    thread = Thread(target=lambda: results.append(function(*arguments)))
    thread.start()
    thread.join()
    return results[0]


class _OneBlasThread:
    """Holds the BLAS of numpy and scipy to one thread: the first one in holds it, the last one out lets go.

    Its number of threads is one for the whole process.
    """

    def __init__(self) -> None:
        self._lock, self._inside = Lock(), 0
        self._limits: Any = None

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                import scipy.linalg  # noqa: F401 - brings a BLAS of its own, which must be there to be held
                from threadpoolctl import threadpool_limits

                self._limits = threadpool_limits(1, user_api="blas")
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._limits.restore_original_limits()


_lock, _blas = Lock(), _OneBlasThread()


def _start_anew() -> None:
    """Forget locks of threads that a forked process does not have."""
    global _lock, _blas
    _lock, _blas = Lock(), _OneBlasThread()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew)
