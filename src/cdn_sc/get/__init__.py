"""Get results as tidy tables."""

from cdn_sc.get._predicted_targets_df import predicted_targets_df

__all__ = ["predicted_targets_df"]
