"""Training on simulated pairs, drawn afresh at every step."""

from cdn_sc.train.config import TrainConfig, read_config
from cdn_sc.train.loop import train

__all__ = ["TrainConfig", "read_config", "train"]
