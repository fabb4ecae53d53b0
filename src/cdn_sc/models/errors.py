"""What goes wrong with weights."""

from cdn_sc.errors import DownloadError, InputError

__all__ = ["WeightsDownloadError", "WeightsError"]


class WeightsError(InputError):
    """Weights cannot be found, read or trusted; the message says what was found and what would be right."""


class WeightsDownloadError(WeightsError, DownloadError):
    """Published weights cannot be fetched; the message says where to put them by hand."""
