"""From the word for a device to one that is there."""

from cdn_sc.errors import DeviceError
from cdn_sc.settings import settings

__all__ = ["resolve_device"]


def resolve_device(device: str = "auto") -> str:
    """Return the name of a device that torch can use.

    Parameters
    ----------
    device
        `auto` takes that of the settings, or else CUDA, Apple's MPS or the CPU, whichever is there
        first. Others are `cpu` (also with a number, which says nothing), `cuda`, `cuda:1` and `mps`.

    Returns
    -------
    The name: `cpu`, `cuda`, `cuda:1`, `mps`.

    Raises
    ------
    DeviceError
        The device is not on this machine, or is none of those.
    """
    import torch

    name = str(device)
    if name == "auto":
        name = settings.device
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if name == "auto":
        return "cuda" if cuda else "mps" if mps else "cpu"
    try:
        kind, number = torch.device(name).type, torch.device(name).index
    except (RuntimeError, TypeError):
        kind, number = "", None
    # torch knows many more kinds, on which nothing of ours was ever tried
    if kind not in ("cpu", "cuda", "mps"):
        raise DeviceError(
            f"device={name!r} is no device for this: take 'auto', 'cpu', 'cuda', 'cuda:1' or 'mps'."
        )
    if kind == "cuda" and not cuda:
        raise DeviceError(
            f"device={name!r} was asked for, but torch {torch.__version__} finds no CUDA device here. "
            "Take device='cpu' or 'auto', or install a torch built for CUDA on a machine with a GPU."
        )
    if kind == "cuda" and number is not None and number >= torch.cuda.device_count():
        raise DeviceError(
            f"device={name!r} was asked for, but there are {torch.cuda.device_count()} CUDA devices."
        )
    if kind == "mps" and not mps:
        raise DeviceError(
            "device='mps' was asked for, but torch finds no such device here. Take 'cpu' or 'auto'."
        )
    return "cpu" if kind == "cpu" else name  # there is one, whatever its number
