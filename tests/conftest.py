"""Fixtures shared by all tests."""

import os
from pathlib import Path

# The tests compute on arrays so small that threads cost many times what they save, the more so where cores
# are shared. These are read when the libraries start, also in the processes that tests start; numba's
# number of threads stays as it is.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")

# No test reaches the internet, nor do the processes that tests start: what is not on this machine goes to a
# proxy that is not there.
os.environ |= dict.fromkeys(("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY"), "http://127.0.0.1:9")
os.environ |= dict.fromkeys(("no_proxy", "NO_PROXY"), "127.0.0.1,localhost")

import pytest
import torch

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(autouse=True)
def one_thread():
    """Start each test with one thread in torch: numba's first parallel call gives it as many as numba has."""
    torch.set_num_threads(1)


@pytest.fixture
def fails_in_one_line(capsys):
    """Run a command that must end with an exit code and one line on stderr alone; returns that line."""

    def fails(run, code, *arguments):
        with pytest.raises(SystemExit) as stopped:
            run(*arguments)
        said = capsys.readouterr()
        assert stopped.value.code == code
        assert said.out == ""
        assert said.err.count("\n") == 1
        return said.err

    return fails


@pytest.fixture
def record_summaries(monkeypatch):
    """The growing list of control arrays that are summarised, whoever does it."""
    from cdn_sc import features

    made, summarise = [], features.summarize_control
    monkeypatch.setattr(
        features,
        "summarize_control",
        lambda control, *contrasts, **options: (
            made.append(control) or summarise(control, *contrasts, **options)
        ),
    )
    return made


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """Folder with parity numbers and real cells; tests that want it skip on machines without it."""
    if not SHARED.is_dir():
        pytest.skip("needs the folder `shared` beside the repository (parity numbers, real cells)")
    return SHARED
