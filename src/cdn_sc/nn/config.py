"""Configurations of the published networks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Form = Literal["concat", "difference"]

#: Largest sizes of a network that is made from a configuration. Others than these: `LARGEST_OTHER_SIZE`.
LARGEST_SIZES = {"layers": 64, "blocks": 64, "members": 64, "channels": 4096}
LARGEST_OTHER_SIZE = 100_000
LARGEST_DEPTH = 256


def check_sizes(config: Any) -> None:
    """Refuse a configuration whose network would take for ever to make, whatever its file says.

    Parameters
    ----------
    config
        A configuration of any network.

    Raises
    ------
    ValueError
        If a size, or the number of layers of all members, is larger than any sensible one.
    """
    sizes = {name: value for name, value in vars(config).items() if type(value) is int}
    for name, value in sizes.items():
        most = LARGEST_SIZES.get(name, LARGEST_OTHER_SIZE)
        if value > most:
            raise ValueError(f"{name} = {value} is more than {most:,}, the most that is made")
    depth = sizes.get("members", 1) * sizes.get("layers", 1) * sizes.get("blocks", 1)
    if depth > LARGEST_DEPTH:
        raise ValueError(f"{depth} layers are more than {LARGEST_DEPTH}, the most that are made")


@dataclass(frozen=True)
class SEAConfig:
    """Sizes of the SEA encoder with its graph head (Wu et al. 2024).

    Attributes
    ----------
    architecture
        Key of the network in `cdn_sc.nn.ARCHITECTURES`.
    num_vars
        Largest number of genes; identities are drawn from ``num_vars + 1`` embedding rows.
    max_subsets
        Largest number of gene subsets that can hold one and the same pair (rows of the time embedding).
    channels
        Width d of both streams.
    heads
        Attention heads; divides `channels`.
    blocks
        Number of encoder blocks.
    encoder_ffn
        Hidden width of the feed-forward layers of the encoder.
    dropout
        Probability of dropout in training.
    graph_head
        Whether the network has the head that predicts the causal graph.
    """

    architecture: str = "sea"
    num_vars: int = 1000
    max_subsets: int = 500
    channels: int = 64
    heads: int = 8
    blocks: int = 4
    encoder_ffn: int = 8
    dropout: float = 0.1
    graph_head: bool = True

    def __post_init__(self) -> None:
        sizes = ("num_vars", "max_subsets", "channels", "heads", "blocks", "encoder_ffn")
        for name in sizes:
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise ValueError(f"{name} must be a positive integer, got {value!r}")
        if self.channels % self.heads:
            raise ValueError(f"heads ({self.heads}) must divide channels ({self.channels})")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must lie in [0, 1), got {self.dropout!r}")


@dataclass(frozen=True)
class CDNConfig(SEAConfig):
    """Sizes of the causal differential network (Wu et al. 2025, arXiv 2410.03380).

    Attributes
    ----------
    form
        How the codes of the two arms are joined: "concat" (side by side, control first) or "difference"
        (perturbed minus control).
    comparison_ffn
        Hidden width of the feed-forward layer of the comparison.
    """

    architecture: str = "cdn"
    form: Form = "concat"
    comparison_ffn: int = 256

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.form not in ("concat", "difference"):
            raise ValueError(f'form must be "concat" or "difference", got {self.form!r}')
        if type(self.comparison_ffn) is not int or self.comparison_ffn < 1:
            raise ValueError(f"comparison_ffn must be a positive integer, got {self.comparison_ffn!r}")

    @property
    def comparison_channels(self) -> int:
        """Width of the comparison: twice the channels for "concat"."""
        return 2 * self.channels if self.form == "concat" else self.channels
