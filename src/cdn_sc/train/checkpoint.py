"""The state of a training run, in a file that it goes on from."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import torch

from cdn_sc._files import write_bytes
from cdn_sc.errors import InputError

CHECKPOINT = "checkpoint.pt"
CHECKPOINT_KEYS = (
    "config", "network", "optimiser", "average", "step", "pairs", "seconds", "recent", "last_map",
)  # fmt: skip


def write_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint, replacing the last one in one move."""
    # first into memory: on a full disk torch itself ends in an error of its own, or not at all
    content = io.BytesIO()
    torch.save(state, content)
    write_bytes(path, content.getvalue())


def read_checkpoint(path: Path, device: str) -> dict[str, Any]:
    """Read a checkpoint onto a device.

    Raises
    ------
    InputError
        If the file is damaged, or no checkpoint of a training run.
    """
    try:
        saved = torch.load(path, map_location=device, weights_only=True)
        missing = [name for name in CHECKPOINT_KEYS if name not in saved]
        json.loads(saved["config"])
    except PermissionError:
        raise
    except Exception as error:  # whatever a file that is no checkpoint makes torch raise
        raise damaged(path, error) from error
    if missing:
        raise damaged(path, f"it lacks {', '.join(missing)}")
    return saved


def damaged(path: Path, reason: object) -> InputError:
    """Return the error that says so, and what to do."""
    return InputError(
        f"cannot go on from {path}, which is damaged or no checkpoint of a training run: delete it to begin "
        f"anew, or train into another folder ({str(reason).splitlines()[0] if str(reason) else reason!r})"
    )
