"""What goes wrong with weights."""

from cdn_sc.errors import InputError

__all__ = ["WeightsError"]


class WeightsError(InputError):
    """Weights cannot be found, read or trusted; the message says what was found and what would be right."""
