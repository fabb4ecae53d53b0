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
from cdn_sc._text import printable
from cdn_sc.errors import InputError, did_you_mean
from cdn_sc.models.errors import WeightsError
from cdn_sc.models.int8 import restored
from cdn_sc.models.tensors import LARGEST_NETWORK, check_tensors, tensors_sha256
from cdn_sc.nn import ARCHITECTURES
from cdn_sc.nn.config import check_sizes

#: Key of the JSON text in the safetensors metadata.
_KEY = "cdn_sc"
#: Since 2, a checksum covers the configuration and the card; files of 1 are read as well. In files of 3,
#: matrices may be int8, see `cdn_sc.models.int8`; those without are written as 2, which more versions read.
_INT8_FORMAT, _FORMAT, _FIRST_FORMAT = 3, 2, 1
_LARGEST_TEXT = 8 << 20
# The bundled networks have 300 at most.
_MOST_TENSORS = 5_000


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
    write_tensors(path, config, tensors, metadata or {})
    return path


def write_tensors(path: Path, config: Any, tensors: dict[str, Tensor], card: dict[str, Any]) -> None:
    """Write tensors as they are, those in int8 with their scales; the rest as `save`.

    Parameters
    ----------
    path, card
        As of `save`.
    config
        Configuration of the network.
    tensors
        Contiguous tensors on the CPU, each with memory of its own.

    Raises
    ------
    ValueError
        If the card is not JSON.
    WriteError
        If the file cannot be written.
    """
    has_int8 = any(tensor.dtype == torch.int8 for tensor in tensors.values())
    content = {
        "format": _INT8_FORMAT if has_int8 else _FORMAT,
        "config": dataclasses.asdict(config),
        "card": card,
        "tensors_sha256": tensors_sha256(tensors),
    }
    try:
        text = json.dumps(content | {"sha256": _text_sha256(content)}, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"the metadata must be JSON values: {error}") from error
    write_bytes(path, serialise(tensors, metadata={_KEY: text}))


def read_safetensors(path: Path) -> tuple[Any, dict[str, Tensor], dict[str, Any]]:
    """Read a file that `save` wrote.

    Returns
    -------
    The configuration, the parameters and the card. The card says in `checksum` what of the file was compared
    with a checksum: "everything", or of files of version 1.2 and earlier "values" or "nothing".

    Raises
    ------
    WeightsError
        If the file is damaged or too large, or was not written by `save`.
    """
    config, tensors, card = read_tensors(path)
    return config, restored(tensors, path), card


def read_tensors(path: Path) -> tuple[Any, dict[str, Tensor], dict[str, Any]]:
    """Read a file as `read_safetensors`, with its tensors as they are: what `write_tensors` wrote."""
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no mapping)
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(f"{path.name} is truncated or damaged ({error})") from error
    if _KEY not in metadata:
        raise WeightsError(f"{path.name} is a safetensors file without a cdn-sc configuration inside")
    try:
        if len(metadata[_KEY]) > _LARGEST_TEXT:
            raise WeightsError(f"the card inside {path.name} has more than {_LARGEST_TEXT:,} characters")
        content = json.loads(metadata[_KEY])
        checked = _check_content(content, state, path)
        fields, card = dict(content["config"]), dict(content["card"])
        architecture = fields["architecture"]
        if architecture not in ARCHITECTURES:
            known = ", ".join(sorted(ARCHITECTURES))
            raise WeightsError(f"{path.name} holds a network {architecture!r}; this version knows {known}")
        config_class = ARCHITECTURES[architecture][0]
        known_fields = {field.name for field in dataclasses.fields(config_class)}
        if strange := sorted(map(str, fields.keys() - known_fields)):
            raise WeightsError(
                f"the configuration inside {path.name} cannot be read: {printable(strange[0])[:80]} is no "
                f"size of a network {architecture!r} of this version. The file comes from another version of "
                "cdn-sc; take the weights of this one, or the version that wrote them"
            )
        return config_class(**fields), state, card | {"checksum": checked}
    except WeightsError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        told = printable(str(error))[:200]
        raise WeightsError(f"the configuration inside {path.name} cannot be read ({told})") from error


def _check_content(content: dict[str, Any], state: dict[str, Tensor], path: Path) -> str:
    """Look at the tensors, and compare what was read with its checksums; returns what they cover."""
    form = content["format"]
    if form not in (_FIRST_FORMAT, _FORMAT, _INT8_FORMAT):
        raise WeightsError(
            f"{path.name} has format {str(form)[:40]}; this version reads up to {_INT8_FORMAT}"
        )
    check_tensors(state, path, int8=form == _INT8_FORMAT)
    named = form != _FIRST_FORMAT
    checksum = content["tensors_sha256"] if named else content.get("tensors_sha256")
    if checksum is not None and checksum != tensors_sha256(state, named=named):
        raise WeightsError(f"{path.name} is damaged: its values are not those that were saved")
    if not named:
        return "nothing" if checksum is None else "values"
    if content.pop("sha256") != _text_sha256(content):
        raise WeightsError(
            f"{path.name} is damaged or was changed: its configuration or card is not what was saved"
        )
    return "everything"


def _text_sha256(content: dict[str, Any]) -> str:
    """sha256 of JSON values, the same before they are written and after they are read."""
    text = json.dumps(json.loads(json.dumps(content)), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


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
        If the architecture or a field is unknown, or a value is impossible or larger than any sensible one.
    """
    architecture = configuration.get("architecture")
    if not isinstance(architecture, str) or architecture not in ARCHITECTURES:
        hint = did_you_mean(architecture, ARCHITECTURES)
        raise InputError(f"there is no architecture {architecture!r}. {hint}")
    config_class, network_class = ARCHITECTURES[architecture]
    try:
        config = config_class(**configuration)
        check_sizes(config)
        n_values = sum(parameter.numel() for parameter in _without_values(config).parameters())
        if n_values > LARGEST_NETWORK:
            raise ValueError(
                f"{n_values:,} parameters are more than {LARGEST_NETWORK:,}, the most that are made"
            )
        return _made(network_class, config)
    except (TypeError, ValueError, OverflowError) as error:
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
    network = _outline(config, state, path)
    expected = network.state_dict()
    missing, extra = sorted(expected.keys() - state.keys()), sorted(state.keys() - expected.keys())
    if missing or extra:
        raise WeightsError(
            f"{path.name} does not fit a {config.architecture} network: "
            f"{_count(missing, 'missing')}, {_count(extra, 'unknown')}"
        )
    values: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if tensor.shape != expected[name].shape:
            found, right = tuple(tensor.shape), tuple(expected[name].shape)
            raise WeightsError(f"{path.name}: {name} has shape {found}, where {right} would fit")
        # In the network's own precision, where large values may overflow.
        values[name] = tensor.to(torch.float32, copy=True, memory_format=torch.contiguous_format)
        if not bool(values[name].isfinite().all()):
            raise WeightsError(f"{path.name}: {name} holds NaN or infinity")
    # Put in the places of the outline: nothing is drawn, which would move torch's global generator.
    network.load_state_dict(values, strict=True, assign=True)
    return network


def _made(network_class: Any, config: Any) -> nn.Module:
    """Make a network on the CPU in float32, whatever torch's default device and type are set to."""
    with torch.device("cpu"):
        return network_class(config).float()


def _outline(config: Any, state: dict[str, Tensor], path: Path) -> nn.Module:
    """Network of a configuration, without memory for the values of its parameters.

    A configuration may ask for any size: what the file cannot hold is refused before it is built.
    """
    if len(state) > _MOST_TENSORS:
        raise WeightsError(f"{path.name} has {len(state):,} parameters, and {_MOST_TENSORS:,} are the most")
    n_values = sum(tensor.numel() for tensor in state.values())
    sizes = {name: value for name, value in vars(config).items() if isinstance(value, int)}
    for name, value in sizes.items():
        if value > n_values:
            raise WeightsError(f"{path.name}: {name} = {value} is more than its {n_values:,} values allow")
    depth = math.prod(sizes.get(name, 1) for name in ("members", "layers", "blocks"))
    if depth > len(state):
        raise WeightsError(f"{path.name}: {depth} layers are more than its {len(state)} parameters allow")
    try:
        return _without_values(config)
    except (RuntimeError, OverflowError) as error:
        raise WeightsError(f"{path.name}: its configuration asks for an impossible network") from error


def _without_values(config: Any) -> nn.Module:
    with torch.device("meta"), _WithoutValues():
        return ARCHITECTURES[config.architecture][1](config)


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
    return f"{len(names)} {word}" + (f" ({printable(names[0])[:80]}, ...)" if names else "")
