"""What a training ran on, in words."""

import os
import platform
from pathlib import Path

import torch

_PROCESSORS = Path("/proc/cpuinfo")


def describe_hardware(device: str, workers: int) -> str:
    """Say device, processor, threads and processes, and the version of PyTorch.

    Parameters
    ----------
    device
        Torch device of the network.
    workers
        Processes that prepared steps beside the training process.
    """
    on = torch.cuda.get_device_name(device) if device.startswith("cuda") else device
    return (
        f"{on}, {torch.get_num_threads()} thread(s), {workers} worker(s); {_processor()}, "
        f"{os.cpu_count()} cores; PyTorch {torch.__version__}"
    )


def _processor() -> str:
    if _PROCESSORS.exists():
        for line in _PROCESSORS.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
