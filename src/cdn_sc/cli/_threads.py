"""How many processor threads a command uses."""


def limit_threads(threads: int) -> None:
    """Let this process compute with so many threads.

    Both libraries steer the same OpenMP pool, and numba sets its size when it first needs it: numba goes
    first, so that it does not undo what torch was told.
    """
    import numba
    import torch

    numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]
    torch.set_num_threads(threads)
