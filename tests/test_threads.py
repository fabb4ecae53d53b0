"""Pools of the libraries: held to one thread while we compute, left as they were, whoever calls at once."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import numpy as np
import pandas as pd
import pytest
import scipy.linalg  # noqa: F401 - its BLAS is there from the start
import torch
from threadpoolctl import threadpool_info, threadpool_limits

import cdn_sc
from cdn_sc import _fork, _threads
from cdn_sc._threads import number_of_jobs, pools_held, share_threads, torch_for_training, torch_threads
from cdn_sc.predictors import Predictor


def in_new_thread(function):
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(function).result()


def blas_threads():
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]


def pools():
    """Threads of torch here and in threads yet to start, and of each BLAS."""
    return torch.get_num_threads(), in_new_thread(torch.get_num_threads), blas_threads()


def screen_of(seed):
    adata = cdn_sc.simulate.screen(30, {"knockdown": 5}, n_control=60, n_perturbed=30, seed=seed)
    counts = adata.X.toarray()
    adata.X = np.log1p(counts / counts.sum(1, keepdims=True).clip(1) * 1000)
    return adata


def table_of(adata, **options):
    cdn_sc.tl.predict_targets(adata, "perturbation", "control", device="cpu", progress=False, **options)
    return adata.uns["cdn_targets"]["table"]


def set_pools(threads):
    """As a caller may have set them, some time ago."""
    torch.set_num_threads(threads)
    in_new_thread(lambda: threadpool_limits(threads, "blas"))


@pytest.fixture
def three_threads():
    """Three threads in all pools."""
    set_pools(3)
    assert pools()[:2] == (3, 3)
    assert set(blas_threads()) == {3}
    yield pools()
    set_pools(1)


def test_pools_are_held_in_this_thread_and_left_as_they_were(three_threads):
    with pools_held():
        # BLAS knows one number for the process; torch one for each thread, and others keep theirs
        assert pools() == (1, 3, [1] * len(three_threads[2]))
        with pools_held(2):
            assert torch.get_num_threads() == 2
        assert torch.get_num_threads() == 1
    assert pools() == three_threads
    with pytest.raises(ZeroDivisionError), pools_held():
        raise ZeroDivisionError
    assert pools() == three_threads


def test_several_threads_hold_pools_at_once(three_threads):
    """They enter and leave in any order; nobody sees another's number, and the last one out lets BLAS go."""
    barrier, inside = threading.Barrier(4), []

    def hold(turn):
        before = torch_threads()
        for repeat in range(20):
            barrier.wait()
            with pools_held(1 + turn):
                inside.append((torch.get_num_threads() == 1 + turn, set(blas_threads()) == {1}))
                if (turn + repeat) % 4 == 0:
                    inside.append((in_new_thread(torch_threads) == 3, True))
            inside.append((torch.get_num_threads() == before, True))

    with ThreadPoolExecutor(4) as executor:
        for future in [executor.submit(hold, turn) for turn in range(4)]:
            future.result()
    assert len(inside) == 180
    assert set(inside) == {(True, True)}
    assert pools() == three_threads


@pytest.mark.parametrize("n_jobs", [None, 1, 3])
@pytest.mark.parametrize("fails", [False, True])
def test_a_call_computes_with_one_thread_in_each_group(monkeypatch, three_threads, n_jobs, fails):
    prepare, seen = Predictor.prepare, []

    def watched(*arguments, **options):
        seen.append((torch.get_num_threads(), *blas_threads()))
        if fails and len(seen) == 2:
            raise MemoryError  # other errors skip their group
        return prepare(*arguments, **options)

    monkeypatch.setattr(Predictor, "prepare", watched)
    with pytest.raises(MemoryError) if fails else nullcontext():
        table_of(screen_of(0), n_jobs=n_jobs)
    assert {number for numbers in seen for number in numbers} == {1}
    assert pools() == three_threads


def test_default_number_of_jobs(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(cdn_sc.settings, "_n_jobs", None)
    monkeypatch.setattr(_threads, "usable_cores", lambda: 6)
    with pools_held(4):
        assert number_of_jobs(None) == 4
        for said, right in (("2", 2), ("3,1", 3), ("5", 4), ("0", 4), ("many", 4), ("", 4)):
            monkeypatch.setenv("OMP_NUM_THREADS", said)
            assert number_of_jobs(None) == right
        assert number_of_jobs(-1) == 6
        assert number_of_jobs(7) == 7
        monkeypatch.setattr(cdn_sc.settings, "_n_jobs", 5)
        assert number_of_jobs(None) == 5
        assert number_of_jobs(2) == 2
    with pools_held(16):
        monkeypatch.setattr(cdn_sc.settings, "_n_jobs", None)
        monkeypatch.setattr(_threads, "usable_cores", lambda: 16)
        assert number_of_jobs(None) == _threads.MOST_BY_DEFAULT


@pytest.mark.parametrize(
    ("n_jobs", "n_groups", "expected"),
    [
        (None, 100, (8, 1)),
        (None, 3, (3, 2)),
        (None, 1, (1, 8)),
        (1, 100, (1, 1)),
        (6, 100, (6, 1)),
        (6, 2, (2, 3)),
        (-1, 1, (1, 12)),
    ],
)
def test_threads_for_groups_and_within_them(monkeypatch, n_jobs, n_groups, expected):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(cdn_sc.settings, "_n_jobs", None)
    monkeypatch.setattr(_threads, "usable_cores", lambda: 12)
    with pools_held(12):
        assert share_threads(n_jobs, n_groups) == expected


@pytest.mark.parametrize("options", [{}, {"model": "cdn-scm", "n_subsets": 4}])
def test_the_number_of_threads_changes_no_bit(monkeypatch, options):
    monkeypatch.setattr(Predictor, "batch_size", lambda *_: 2)
    adata = screen_of(0)
    alone = table_of(adata, n_jobs=1, **options)
    for n_jobs in (2, 5):
        pd.testing.assert_frame_equal(table_of(adata, n_jobs=n_jobs, **options), alone, check_exact=True)


def test_calls_at_once_give_what_each_gives_alone():
    screens = [screen_of(seed) for seed in range(3)]
    alone = [table_of(adata.copy()) for adata in screens]
    with ThreadPoolExecutor(3) as executor:
        together = list(executor.map(lambda adata: table_of(adata, n_jobs=2), screens))
    for one, other in zip(alone, together, strict=True):
        pd.testing.assert_frame_equal(one, other, check_exact=True)


FORKED = """
import os, signal, numpy as np, torch, cdn_sc
from numba.np.ufunc import parallel
adata = cdn_sc.simulate.screen(200, {"knockdown": 2}, n_control=60, n_perturbed=30, seed=1)
adata.X = np.log1p(adata.X.toarray())
def score():
    cdn_sc.tl.predict_targets(adata, "perturbation", "control", device="cpu", progress=False)
    return adata.uns["cdn_targets"]["table"]["score"].sum()
torch.set_num_threads(2)
torch.randn(600, 600) @ torch.randn(600, 600)  # the pool of this thread is there
here = score()
assert not parallel._is_initialized, "numba's pool was started, which ends a forked process at its next loop"
child = os.fork()
if child == 0:
    signal.alarm(20)
    os._exit(0 if score() == here else 3)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked there")
def test_a_forked_process_scores_as_its_parent_does():
    found = subprocess.run([sys.executable, "-W", "ignore", "-c", FORKED], capture_output=True, text=True)
    assert found.stdout.split() == ["0"], found.stderr


FORKED_BEFORE_ANY_CALL = """
import os, signal, sys, torch, cdn_sc
torch.set_num_threads(2)
torch.randn(600, 600) @ torch.randn(600, 600)  # what another library of the caller's may have done
assert "cdn_sc._threads" not in sys.modules
child = os.fork()
if child == 0:
    signal.alarm(20)
    from cdn_sc._threads import torch_for_training
    with torch_for_training():
        torch.randn(600, 600) @ torch.randn(600, 600)
        os._exit(0 if torch.get_num_threads() == 1 else 3)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked there")
def test_training_in_a_process_forked_before_any_call():
    code = [sys.executable, "-W", "ignore", "-c", FORKED_BEFORE_ANY_CALL]
    found = subprocess.run(code, capture_output=True, text=True)
    assert found.stdout.split() == ["0"], found.stderr


def test_training_keeps_the_threads_of_torch(three_threads, monkeypatch, caplog):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(_threads, "usable_cores", lambda: 6)
    with torch_for_training():
        assert torch.get_num_threads() == 3
    with torch_for_training("gene_transformer"):
        assert torch.get_num_threads() == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    with torch_for_training():
        assert torch.get_num_threads() == 2
    monkeypatch.setattr(cdn_sc.settings, "_n_jobs", 2)
    with torch_for_training():
        assert torch.get_num_threads() == 2
    monkeypatch.setattr(_fork, "_forked", True)
    with caplog.at_level("WARNING", "cdn_sc"), torch_for_training():
        assert torch.get_num_threads() == 1
    assert "forked" in caplog.text
    assert pools() == three_threads
