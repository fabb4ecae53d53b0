"""What several benchmarks share: tables, peak memory, and a line on the machine."""

import os
import platform
from pathlib import Path

import pandas as pd

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def markdown(table: pd.DataFrame) -> str:
    """Lay a table out as Markdown, numbers with three significant digits where they are no integers."""

    def cell(value: object) -> str:
        return f"{value:.3g}" if isinstance(value, float) else str(value)

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
    """Start to measure the peak anew, where the system can (Linux)."""
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
