"""From a name or a path to a network that is ready to predict."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from cdn_sc._device import resolve_device
from cdn_sc.models.checkpoints import read_checkpoint
from cdn_sc.models.errors import WeightsError
from cdn_sc.models.files import build, file_sha256, read_safetensors
from cdn_sc.models.published import keep_converted
from cdn_sc.models.registry import Entry, entry_path, find_entry

_TAKEN = "a .safetensors file of cdn-sc or a published .ckpt is needed"
_SUFFIXES = (".safetensors", ".ckpt", ".pt", ".pth")
_LARGEST_HEADER = 100_000_000
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
    The network in eval mode, with

    `.config`
        its configuration, and
    `.card`
        a dict with at least `name`, `version`, `source` ("bundled", "figshare" or "file"), `path`,
        `sha256`, `architecture`, `recommended_for` and `training`; empty strings where nothing is known.

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
    known: dict[str, Any] = {"name": path.stem, "version": "", "recommended_for": "", "training": ""}
    known["source"] = "file"
    if entry is not None:
        known |= {"name": entry.name, "recommended_for": entry.recommended_for}
    known |= card
    if entry is not None:
        known["source"] = entry.source
    return known | {"architecture": architecture, "path": str(path), "sha256": file_sha256(path)}
