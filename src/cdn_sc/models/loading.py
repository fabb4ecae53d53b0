"""From a name or a path to a network that is ready to predict."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from cdn_sc._device import resolve_device
from cdn_sc._text import printable
from cdn_sc.models.checkpoints import read_checkpoint
from cdn_sc.models.errors import WeightsError
from cdn_sc.models.files import build, file_sha256, read_safetensors
from cdn_sc.models.published import keep_converted
from cdn_sc.models.registry import Entry, entry_path, find_entry, is_known
from cdn_sc.models.torch_file import LARGEST_FILE

_TAKEN = "a .safetensors file of cdn-sc or a published .ckpt is needed"
_SUFFIXES = (".safetensors", ".ckpt", ".pt", ".pth")
_LARGEST_HEADER = 16 << 20
_LONGEST_NAME = 200
# Lightning writes zip archives; bare pickles, which torch also reads, never are published weights.
_ZIP = b"PK\x03\x04"


def load(name_or_path: str | Path = "default", device: str | torch.device = "cpu") -> nn.Module:
    """Load weights.

    Parameters
    ----------
    name_or_path
        A name of `available`, "default", or the path of a file: safetensors that `save` wrote, or a
        Lightning checkpoint of the published CDN (concat, difference) or SEA. A name goes before a file of
        the same name in the working directory. Published weights are fetched from figshare the first time,
        checked against the MD5 listed there, and kept as safetensors in `cdn_sc.settings.dataset_dir`.
    device
        Where the network goes: "auto", "cpu", "cuda", "cuda:1", "mps".

    Returns
    -------
    The network in eval mode, in float32 whatever the file holds, with

    `.config`
        its configuration, and
    `.card`
        a dict with at least `name`, `version`, `source` ("bundled", "figshare" or "file"), `path`,
        `sha256`, `architecture`, `recommended_for` and `training`; empty strings where nothing is known. A
        file that goes by the name of one of `available` without being it is named after the file, without a
        version. `checksum` says what of the file was compared with a checksum: "everything"; of checkpoints
        and of safetensors files of version 1.2 "values"; of still earlier ones "nothing". Control characters
        in texts of a file are written as escape sequences.

    Raises
    ------
    WeightsError
        If there is no such name or file, or the file is empty, damaged, not ours, or would run code. No
        code in a file is ever run.
    WeightsDownloadError
        If published weights cannot be fetched; a `WeightsError` and a `DownloadError`. The message says where
        to put the file by hand.
    DeviceError
        If the device is not there.
    """
    target = resolve_device(str(device))
    entry, path = _locate(name_or_path)
    _refuse_other_files(path)
    card: dict[str, Any] = {}
    config: Any
    is_checkpoint = not _is_safetensors(path)
    if is_checkpoint:
        config, state = read_checkpoint(path)
    else:
        config, state, card = read_safetensors(path)
    network: Any = build(config, state, path)
    if is_checkpoint and entry is not None:
        path, card = keep_converted(entry.name, network, path)
    network.card = _complete_card(card, entry, path, config.architecture)
    return network.to(target).eval()


def _locate(name_or_path: str | Path) -> tuple[Entry | None, Path]:
    text = str(name_or_path)
    path = Path(name_or_path).expanduser()
    looks_like_path = isinstance(name_or_path, Path) or len(path.parts) > 1 or path.suffix in _SUFFIXES
    if not looks_like_path:
        try:
            entry = find_entry(text)
        except WeightsError:
            if path.is_file():
                return None, path
            raise
        return entry, entry_path(entry)
    if path.is_dir():
        raise WeightsError(f"{path} is a folder; {_TAKEN}")
    if not path.is_file():
        raise WeightsError(
            f"there is no file {path}; give the path of a file, or a name of models.available()"
        )
    return None, path


def _refuse_other_files(path: Path) -> None:
    """Name the usual wrong files before any reader stumbles over them."""
    size = path.stat().st_size
    if size == 0:
        raise WeightsError(f"{path.name} is empty (a failed download?); {_TAKEN}")
    if size > LARGEST_FILE:
        raise WeightsError(f"{path.name} has {size:,} bytes; weights have {LARGEST_FILE:,} at most")
    with path.open("rb") as file:
        start = file.read(256)
    text = start.lstrip().lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        raise WeightsError(f"{path.name} is a web page, not weights (a failed download?); {_TAKEN}")
    if not (start.startswith(_ZIP) or _is_safetensors(path)):
        raise WeightsError(f"{path.name} is not a weights file (it starts with {start[:8]!r}); {_TAKEN}")


def _is_safetensors(path: Path) -> bool:
    """A safetensors file is a header length (8 bytes, little-endian) and a JSON header."""
    with path.open("rb") as file:
        start = file.read(9)
    return len(start) == 9 and start[8:] == b"{" and int.from_bytes(start[:8], "little") < _LARGEST_HEADER


def _complete_card(
    card: dict[str, Any], entry: Entry | None, path: Path, architecture: str
) -> dict[str, Any]:
    """Card of a file, where what it says of itself is told apart from what is known of it."""
    sha256 = file_sha256(path)
    known = {"name": path.stem, "version": "", "recommended_for": "", "training": ""}
    # the archive that a checkpoint is has checksums of the values
    known |= {"checksum": "values"} | _shown(card)
    known["name"], known["version"] = _one_line(known["name"]), _one_line(known["version"])
    entry = entry or _bundled_copy(card, sha256)
    if entry is not None:
        known |= {"name": entry.name, "recommended_for": known["recommended_for"] or entry.recommended_for}
    elif is_known(known["name"]):
        # whatever it was made from, these are not the weights that go by this name
        known |= {"name": _one_line(path.name), "version": ""}
    known |= {"source": "file" if entry is None else entry.source}
    return known | {"architecture": architecture, "path": str(path), "sha256": sha256}


def _bundled_copy(card: dict[str, Any], sha256: str) -> Entry | None:
    """The bundled model that a file is a copy of, byte for byte."""
    name = card.get("name")
    if not isinstance(name, str) or not is_known(name) or name == "default":
        return None
    entry = find_entry(name)
    if entry.source != "bundled" or file_sha256(entry_path(entry)) != sha256:
        return None
    return entry


def _one_line(value: Any) -> str:
    return printable(str(value))[:_LONGEST_NAME]


def _shown(value: Any) -> Any:
    """JSON values whose texts can be printed: control characters but ends of lines are escaped."""
    if isinstance(value, str):
        return printable(value, keep="\n\t")
    if isinstance(value, list):
        return [_shown(part) for part in value]
    if isinstance(value, dict):
        return {printable(name): _shown(part) for name, part in value.items()}
    return value
