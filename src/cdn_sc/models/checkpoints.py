"""Reading the authors' Lightning checkpoints, without running what is pickled in them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from torch import Tensor

from cdn_sc._text import printable
from cdn_sc.models.errors import WeightsError
from cdn_sc.models.tensors import check_tensors
from cdn_sc.models.torch_file import ForeignCodeError, UnreadableError, read_torch_file
from cdn_sc.nn.config import CDNConfig, SEAConfig

_EXPECTED = "a published CDN or SEA checkpoint holds `state_dict` and `hyper_parameters`"


def read_checkpoint(path: Path) -> tuple[SEAConfig | CDNConfig, dict[str, Tensor]]:
    """Read a published checkpoint.

    Only tensors, plain containers and `argparse.Namespace` are ever built.

    Parameters
    ----------
    path
        A Lightning checkpoint: CDN (concat or difference), or SEA.

    Returns
    -------
    The network's configuration and its parameters.

    Raises
    ------
    WeightsError
        If the file holds anything else.
    """
    content = _read_content(path)
    if not isinstance(content, dict) or not isinstance(content.get("state_dict"), dict):
        found = (
            f"a dict with {_some(content)}" if isinstance(content, dict) else f"a {type(content).__name__}"
        )
        raise WeightsError(f"{path.name} holds {found}; {_EXPECTED}")
    state = content["state_dict"]
    if not all(isinstance(key, str) and isinstance(value, Tensor) for key, value in state.items()):
        raise WeightsError(f"the state_dict of {path.name} holds more than named tensors")
    check_tensors(state, path)
    return _configuration(state, _arguments(content, path), path), state


def _read_content(path: Path) -> Any:
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            return read_torch_file(file, size)
    except ForeignCodeError as error:
        raise WeightsError(
            f"{path.name} was refused, and nothing in it was run: it asks for code beyond tensors and plain "
            f"settings ({printable(str(error))[:120]}). {_EXPECTED[0].upper()}{_EXPECTED[1:]}"
        ) from error
    except (UnreadableError, OSError) as error:
        raise WeightsError(
            f"{path.name} ({size:,} bytes) is truncated, damaged or no torch checkpoint; download it again "
            f"({printable(str(error))[:200]})"
        ) from error


def _arguments(content: dict[str, Any], path: Path) -> dict[str, Any]:
    hyper_parameters = content.get("hyper_parameters")
    if not isinstance(hyper_parameters, dict):
        return {}
    arguments = hyper_parameters.get("args", hyper_parameters)
    if isinstance(arguments, argparse.Namespace):
        return vars(arguments)
    if not isinstance(arguments, dict):
        raise WeightsError(
            f"the hyper_parameters of {path.name} hold a {type(arguments).__name__} in place of settings"
        )
    return arguments


def _configuration(state: dict[str, Tensor], arguments: dict[str, Any], path: Path) -> SEAConfig | CDNConfig:
    """Sizes that the tensors show; only heads and dropout must come from the arguments."""
    try:
        identities, channels = state["encoder.embed_nodes.weight"].shape
        sizes: dict[str, Any] = {
            "num_vars": identities - 1,
            "max_subsets": len(state["encoder.embed_time.weight"]) - 1,
            "channels": channels,
            "heads": int(arguments.get("n_heads", 8)),
            "blocks": sum(key.startswith("encoder.layers.") and key.endswith(".pad") for key in state),
            "encoder_ffn": len(state["encoder.layers.0.feat_layer.ffn.layer.fc1.weight"]),
            "dropout": float(arguments.get("dropout", 0.1)),
            "graph_head": any(key.startswith("top_layer.") for key in state),
        }
        if "linear_out.weight" not in state:
            return SEAConfig(**sizes)
        width = state["linear_out.weight"].shape[1]
        sizes["form"] = {2 * channels: "concat", channels: "difference"}[width]
        sizes["comparison_ffn"] = len(state["axial_N_N_d2.ffn.layer.fc1.weight"])
        return CDNConfig(**sizes)
    except (KeyError, ValueError, TypeError, IndexError, OverflowError, RuntimeError) as error:
        raise WeightsError(
            f"{path.name} is a torch checkpoint, but not of a CDN or SEA network: its parameters are "
            f"{_some(state)}"
        ) from error


def _some(content: dict[Any, Any]) -> str:
    names = [printable(str(key))[:80] for key in content]
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "") or "nothing"
