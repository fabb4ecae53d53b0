"""The state of a training run, in a file that it goes on from.

The file is what `torch.save` writes, with the SHA-256 of all of it at its end, as the comment of the zip
archive that it is: `torch.load` still reads it, and any byte that changed is noticed here.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cdn_sc._files import write_bytes
from cdn_sc._text import printable
from cdn_sc.errors import InputError
from cdn_sc.models.torch_file import LARGEST_FILE, read_torch_file

CHECKPOINT = "checkpoint.pt"
_TYPES: dict[str, type | tuple[type, ...]] = {
    "config": str, "network": dict, "optimiser": dict, "average": dict, "step": int, "pairs": int,
    "seconds": (int, float), "recent": list, "last_map": (int, float), "given": str, "best": dict,
    "best_score": (int, float), "best_step": int, "log": str,
}  # fmt: skip
# fields that the first version did not write
_LATER = ("given", "best", "best_score", "best_step", "log")
_MOMENTS = {"step", "exp_avg", "exp_avg_sq"}

_LABEL = b"cdn-sc sha256 "
_COMMENT_BYTES = len(_LABEL) + 64
_ZIP_END, _ZIP_END_BYTES = b"PK\x05\x06", 22


def write_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint with its checksum, replacing the last one in one move.

    Raises
    ------
    InputError
        If the state is larger than what `read_checkpoint` reads.
    """
    content = io.BytesIO()
    torch.save(state, content)
    signed = _with_checksum(content.getvalue())
    if len(signed) > LARGEST_FILE:
        raise InputError(
            f"the state of the run has {len(signed):,} bytes, and {LARGEST_FILE:,} are the most that a "
            "checkpoint may have; a smaller network is needed"
        )
    write_bytes(path, signed)


def add_checksum(path: str | Path) -> None:
    """Give a checkpoint of version 1.2 or earlier its checksum, so that its run can go on.

    Whether it is damaged cannot be told any more: do this for a file that you trust.

    Raises
    ------
    InputError
        If the file is no such checkpoint, or has a checksum.
    """
    path = Path(path)
    content = path.read_bytes()
    if not _is_unsigned(content):
        raise damaged(path, "it has a checksum, or is no file of torch")
    _read(content, path)
    write_bytes(path, _with_checksum(content))


def read_checkpoint(path: Path, device: str) -> dict[str, Any]:
    """Read a checkpoint, with the tensors of its averaged and best weights on a device.

    Raises
    ------
    InputError
        If the file is damaged in any byte, or no checkpoint of a training run; it says what to do.
    """
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise damaged(path, f"it has more than {LARGEST_FILE:,} bytes")
        content = path.read_bytes()
    except PermissionError:
        raise
    except OSError as error:
        raise damaged(path, error) from error
    if _is_unsigned(content):
        raise InputError(
            f"cannot go on from {path}: it has no checksum, as version 1.2 and earlier wrote it, so that "
            "damage could not be told. Delete it to begin anew, train into another folder, or, if you trust "
            f"it, call cdn_sc.train.checkpoint.add_checksum({str(path)!r}) once."
        )
    if content[-_COMMENT_BYTES:] != _comment(content[:-_COMMENT_BYTES]):
        raise damaged(path, "its content is not what was written: the checksum does not fit")
    saved = _read(content, path)
    for name in ("average", "best"):
        saved[name] = {key: value.to(device) for key, value in saved[name].items()}
    return saved


def check_fit(
    saved: Mapping[str, Any], network: nn.Module, optimiser: torch.optim.Optimizer, path: Path
) -> None:
    """Compare a checkpoint's tensors with the network and optimiser that are to go on with them.

    Raises
    ------
    InputError
        If names, shapes or types differ.
    """
    expected = network.state_dict()
    for part in ("network", "average", "best"):
        if part == "best" and not saved[part]:
            continue
        _check_tensors(saved[part], expected, part, path)
    # numbered in the order of the optimiser's groups, which is not the network's
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    states = saved["optimiser"].get("state")
    if not isinstance(states, dict):
        raise damaged(path, "its optimiser has no state")
    for number, state in states.items():
        if type(number) is not int or not 0 <= number < len(parameters) or not isinstance(state, dict):
            raise damaged(path, "its optimiser is that of another network")
        moment = parameters[number]
        _check_tensors(
            state,
            {name: torch.zeros(()) if name == "step" else moment for name in _MOMENTS},
            "optimiser",
            path,
        )


def damaged(path: Path, reason: object) -> InputError:
    """Return the error that says so, and what to do."""
    told = printable(str(reason).splitlines()[0] if str(reason) else repr(reason))[:200]
    return InputError(
        f"cannot go on from {path}, which is damaged or no checkpoint of a training run: delete it to begin "
        f"anew, or train into another folder ({told})"
    )


def _check_tensors(found: Any, expected: Mapping[str, Tensor], part: str, path: Path) -> None:
    if not isinstance(found, dict) or found.keys() != expected.keys():
        raise damaged(path, f"its {part} is that of another network")
    for name, tensor in found.items():
        right = expected[name]
        if not isinstance(tensor, Tensor) or tensor.shape != right.shape or tensor.dtype != right.dtype:
            raise damaged(path, f"its {part} has another {name} than the network")


def _read(content: bytes, path: Path) -> dict[str, Any]:
    """Content of a file, with all fields and of the right types."""
    try:
        saved = read_torch_file(io.BytesIO(content), len(content))
        missing = [name for name in _TYPES if name not in saved and name not in _LATER]
        if missing:
            raise damaged(path, f"it lacks {', '.join(missing)}")
        saved = {"given": "", "best": {}, "best_score": float("-inf"), "best_step": 0, "log": ""} | saved
        wrong = [name for name, kind in _TYPES.items() if not isinstance(saved[name], kind)]
        if wrong or not all(type(value) is float for value in saved["recent"]):
            raise damaged(path, f"something else is in the place of {', '.join(wrong) or 'the losses'}")
        if not isinstance(json.loads(saved["config"]), dict):
            raise damaged(path, "its configuration is no table")
    except InputError:
        raise
    except (ValueError, TypeError, RecursionError) as error:
        raise damaged(path, error) from error
    return saved


def _comment(content: bytes) -> bytes:
    return _LABEL + hashlib.sha256(content).hexdigest().encode()


def _with_checksum(content: bytes) -> bytes:
    """Append the checksum; the two bytes before it, the length of the zip archive's comment, count for it."""
    assert _is_unsigned(content)
    announced = content[:-2] + _COMMENT_BYTES.to_bytes(2, "little")
    return announced + _comment(announced)


def _is_unsigned(content: bytes) -> bool:
    """Whether the file ends as `torch.save` ends it; no single damage makes a signed one end so."""
    end = content[-_ZIP_END_BYTES:]
    return end.startswith(_ZIP_END) and end.endswith(b"\0\0")
