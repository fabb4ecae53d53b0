"""Published weights: fetched by name, checked, and converted to safetensors once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from cdn_sc._logging import logger
from cdn_sc.datasets._archive import is_archive, unpack
from cdn_sc.datasets._download import fetch
from cdn_sc.datasets._figshare import (
    WEIGHTS_ARTICLE,
    article_page,
    fetch_figshare,
    figshare_file,
    listed_files,
)
from cdn_sc.errors import ArchiveError, DownloadError
from cdn_sc.models.errors import WeightsDownloadError, WeightsError
from cdn_sc.models.files import file_sha256, read_safetensors, save
from cdn_sc.settings import settings

_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_MADE_FROM = "converted_from_sha256"


def published_weights(name: str) -> Path:
    """Return the file of published weights, fetched if it is not there.

    Parameters
    ----------
    name
        Name of the weights, as in their article.

    Returns
    -------
    ``weights/<name>.safetensors`` in the data set folder if :func:`keep_converted` made it from the
    checkpoint that lies there; else the checkpoint, ``weights/<name>.ckpt``.

    Raises
    ------
    WeightsDownloadError
        If the checkpoint is not there and cannot be fetched.
    """
    checkpoint, converted = _paths(name)
    if _was_made_from(converted, checkpoint):
        return converted
    if not checkpoint.is_file():
        _fetch(name, checkpoint)
    return checkpoint


def keep_converted(name: str, network: nn.Module, checkpoint: Path) -> tuple[Path, dict[str, Any]]:
    """Write the network of a published checkpoint as safetensors, for the next time.

    Parameters
    ----------
    name
        Name of the weights.
    network
        What was read from the checkpoint.
    checkpoint
        The checkpoint.

    Returns
    -------
    The file to name as the source, and its card: the checkpoint itself where the folder cannot be written to.
    """
    card = {
        "name": name,
        "training": f"published by the authors of the method, {article_page(WEIGHTS_ARTICLE)}",
        _MADE_FROM: file_sha256(checkpoint),
    }
    try:
        return save(network, _paths(name)[1], card), card | {"checksum": "everything"}
    except OSError as error:
        logger.debug("%s is not converted: %s", checkpoint, error)
        return checkpoint, card


def _paths(name: str) -> tuple[Path, Path]:
    folder = settings.dataset_dir / "weights"
    return folder / f"{name}.ckpt", folder / f"{name}.safetensors"


def _was_made_from(converted: Path, checkpoint: Path) -> bool:
    """Whether the converted file is whole, and of the checkpoint that lies there now, if one does."""
    if not converted.is_file():
        return False
    try:
        _, _, card = read_safetensors(converted)
    except WeightsError:
        return False
    return not checkpoint.is_file() or card.get(_MADE_FROM) == file_sha256(checkpoint)


def _fetch(name: str, checkpoint: Path) -> None:
    by_hand = (
        f"Download {name}.ckpt by hand from {article_page(WEIGHTS_ARTICLE)} and put it at {checkpoint}, or "
        "give the path of the file in place of the name."
    )
    try:
        files = {file.name: file for file in listed_files(WEIGHTS_ARTICLE, hint=by_hand)}
        if checkpoint.name in files:
            fetch(figshare_file(WEIGHTS_ARTICLE, files[checkpoint.name], f"weights/{checkpoint.name}"))
            return
        # the article may come to hold one archive of all
        for file in files:
            if file.endswith(_ARCHIVES) and is_archive(path := fetch_figshare(WEIGHTS_ARTICLE, name=file)):
                unpack(path, checkpoint.parents[1], [f"weights/{checkpoint.name}"], parts=1)
            if checkpoint.is_file():
                return
        listed = ", ".join(files) or "none"
        raise WeightsDownloadError(
            f"article {WEIGHTS_ARTICLE} has no {checkpoint.name}; its files are: {listed}. {by_hand}"
        )
    except WeightsDownloadError:
        raise
    except (DownloadError, ArchiveError, OSError) as error:
        raise WeightsDownloadError(f"{name} is not on this machine: {error}") from error
