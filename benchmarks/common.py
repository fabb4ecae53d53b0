"""What several benchmarks share: tables, peak memory, and a line on the machine."""

import ctypes
import gc
import os
import platform
from collections.abc import Callable
from contextlib import suppress
from math import isnan
from pathlib import Path
from statistics import median
from time import perf_counter

import pandas as pd

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def markdown(table: pd.DataFrame) -> str:
    """Lay a table out as Markdown: floats with three significant digits, NaN empty."""

    def cell(value: object) -> str:
        if isinstance(value, float):
            return "" if isnan(value) else f"{value:.3g}"
        return str(value)

    lines = ["| " + " | ".join(map(str, table.columns)) + " |", "|" + "---|" * table.shape[1]]
    lines += ["| " + " | ".join(map(cell, row)) + " |" for row in table.itertuples(index=False)]
    return "\n".join(lines) + "\n"


def machine() -> str:
    """Processor, number of usable cores, and versions."""
    import torch

    name = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else ():
        if line.startswith("model name"):
            name = line.split(":", 1)[1].strip()
            break
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return (
        f"{name}, {cores} cores, {torch.get_num_threads()} torch threads; "
        f"Python {platform.python_version()}, torch {torch.__version__}"
    )


def reset_peak_memory() -> None:
    """Start to measure the peak anew, where the system can (Linux).

    Memory that was freed is given back first: what a call takes from it would not show.
    """
    gc.collect()
    with suppress(AttributeError, OSError, TypeError):  # the C library of Linux alone has it
        ctypes.CDLL(None).malloc_trim(0)
    try:
        _RESET.write_text("5")
    except OSError:
        return


def peak_memory() -> float:
    """Peak resident memory of this process in MiB since the last reset, or since its start."""
    if _STATUS.exists():
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def write_table(name: str, table: pd.DataFrame, note: str, folder: Path | None) -> None:
    """Print a table and a note below it; with a folder write ``name.csv`` and ``name.md`` there too."""
    text = f"{markdown(table)}\n{note}\n"
    print(text)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        table.to_csv(folder / f"{name}.csv", index=False, float_format="%.5g")
        (folder / f"{name}.md").write_text(text, encoding="utf-8")


def median_seconds(call: Callable[[], object], repeats: int) -> float:
    """Median time of a call."""
    times = []
    for _ in range(repeats):
        started = perf_counter()
        call()
        times.append(perf_counter() - started)
    return median(times)
