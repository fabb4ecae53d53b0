"""Plots of results."""

from cdn_sc.pl._predicted_targets import predicted_targets

__all__ = ["predicted_targets"]
