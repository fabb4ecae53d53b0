"""Weight files of this package: safetensors with the configuration and the card inside."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialise
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from cdn_sc._files import write_bytes
from cdn_sc.errors import InputError, did_you_mean
from cdn_sc.models.errors import WeightsError
from cdn_sc.models.tensors import check_tensors, tensors_sha256
from cdn_sc.nn import ARCHITECTURES

#: Key of the JSON text in the safetensors metadata.
_KEY = "cdn_sc"
_FORMAT = 1


def save(network: nn.Module, path: str | Path, metadata: dict[str, Any] | None = None) -> Path:
    """Write a network's weights with its configuration and card.

    Parameters
    ----------
    network
        A network of `cdn_sc.nn.ARCHITECTURES`, with its `config`.
    path
        File to write, usually ``*.safetensors``; replaced at once or not at all.
    metadata
        The card, of JSON values: `name`, `version`, `recommended_for`, `training`, ...

    Returns
    -------
    The path.

    Raises
    ------
    ValueError
        If the architecture of the network is not registered, or the card is not JSON.
    WriteError
        If the file cannot be written, for lack of space for example; an earlier one stays as it is.
    """
    path = Path(path)
    config: Any = network.config
    if config.architecture not in ARCHITECTURES:
        raise ValueError(f"unknown architecture {config.architecture!r}: one of {sorted(ARCHITECTURES)}")
    tensors = {key: value.detach().cpu().contiguous().clone() for key, value in network.state_dict().items()}
    content = {
        "format": _FORMAT,
        "config": dataclasses.asdict(config),
        "card": metadata or {},
        "tensors_sha256": tensors_sha256(tensors),
    }
    try:
        text = json.dumps(content, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"the metadata must be JSON values: {error}") from error
    write_bytes(path, serialise(tensors, metadata={_KEY: text}))
    return path


def read_safetensors(path: Path) -> tuple[Any, dict[str, Tensor], dict[str, Any]]:
    """Read a file that `save` wrote.

    Returns
    -------
    The configuration, the parameters and the card.

    Raises
    ------
    WeightsError
        If the file is damaged, or was not written by `save`. Files of earlier versions have no checksum of
        their tensors; they are taken as they are.
    """
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no mapping)
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(f"{path.name} is truncated or damaged ({error})") from error
    if _KEY not in metadata:
        raise WeightsError(f"{path.name} is a safetensors file without a cdn-sc configuration inside")
    check_tensors(state, path)
    try:
        content = json.loads(metadata[_KEY])
        if content["format"] != _FORMAT:
            raise WeightsError(f"{path.name} has format {content['format']}; this version reads {_FORMAT}")
        fields, card = dict(content["config"]), dict(content["card"])
        architecture = fields["architecture"]
        if architecture not in ARCHITECTURES:
            known = ", ".join(sorted(ARCHITECTURES))
            raise WeightsError(f"{path.name} holds a network {architecture!r}; this version knows {known}")
        checksum = content.get("tensors_sha256")
        if checksum is not None and checksum != tensors_sha256(state):
            raise WeightsError(f"{path.name} is damaged: its values are not those that were saved")
        return ARCHITECTURES[architecture][0](**fields), state, card
    except WeightsError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise WeightsError(f"the configuration inside {path.name} cannot be read ({error})") from error


def build_network(configuration: Mapping[str, Any]) -> nn.Module:
    """Make a network with fresh weights.

    Parameters
    ----------
    configuration
        `architecture` and the fields of its configuration, as in ``dataclasses.asdict(network.config)``.

    Returns
    -------
    The network on the CPU, in training mode; torch's global generator draws its weights.

    Raises
    ------
    InputError
        If the architecture or a field is unknown, or a value is impossible.
    """
    architecture = configuration.get("architecture")
    if architecture not in ARCHITECTURES:
        hint = did_you_mean(architecture, ARCHITECTURES)
        raise InputError(f"there is no architecture {architecture!r}. {hint}")
    config_class, network_class = ARCHITECTURES[architecture]
    try:
        return network_class(config_class(**configuration))
    except (TypeError, ValueError) as error:
        raise InputError(
            f"the configuration of the {architecture} network cannot be used: {error}"
        ) from error


def build(config: Any, state: dict[str, Tensor], path: Path) -> nn.Module:
    """Make the network of a configuration and fill in its parameters.

    Raises
    ------
    WeightsError
        If names or shapes of the parameters do not fit, or a value is not finite.
    """
    expected = _outline(config, state, path)
    missing, extra = sorted(expected.keys() - state.keys()), sorted(state.keys() - expected.keys())
    if missing or extra:
        raise WeightsError(
            f"{path.name} does not fit a {config.architecture} network: "
            f"{_count(missing, 'missing')}, {_count(extra, 'unknown')}"
        )
    for name, tensor in state.items():
        if tensor.shape != expected[name].shape:
            found, right = tuple(tensor.shape), tuple(expected[name].shape)
            raise WeightsError(f"{path.name}: {name} has shape {found}, where {right} would fit")
        # In the network's own precision, where large values may overflow.
        if not bool(tensor.to(expected[name].dtype).isfinite().all()):
            raise WeightsError(f"{path.name}: {name} holds NaN or infinity")
    # Fresh weights come from torch's global generator; reading a file must not move it.
    with torch.random.fork_rng(devices=[]):
        network = ARCHITECTURES[config.architecture][1](config)
    network.load_state_dict(state, strict=True)
    return network


def _outline(config: Any, state: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Parameters that the network of a configuration has, without memory for their values.

    A configuration may ask for any size: what the file cannot hold is refused before it is built.
    """
    n_values = sum(tensor.numel() for tensor in state.values())
    sizes = {name: value for name, value in vars(config).items() if isinstance(value, int)}
    for name, value in sizes.items():
        if value > n_values:
            raise WeightsError(f"{path.name}: {name} = {value} is more than its {n_values:,} values allow")
    depth = math.prod(sizes.get(name, 1) for name in ("members", "layers", "blocks"))
    if depth > len(state):
        raise WeightsError(f"{path.name}: {depth} layers are more than its {len(state)} parameters allow")
    try:
        with torch.device("meta"), _WithoutValues():
            return ARCHITECTURES[config.architecture][1](config).state_dict()
    except (RuntimeError, OverflowError) as error:
        raise WeightsError(f"{path.name}: its configuration asks for an impossible network") from error


class _WithoutValues(TorchFunctionMode):
    """Leaves out the drawing of initial weights.

    On the meta device that would import torch's compiler, a second's work, to draw nothing.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == torch.nn.init.__name__:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def file_sha256(path: Path) -> str:
    """sha256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _count(names: list[str], word: str) -> str:
    return f"{len(names)} {word}" + (f" ({names[0]}, ...)" if names else "")
