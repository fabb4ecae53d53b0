"""One interface to every network: two arms in, one logit a gene out."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cdn_sc.errors import InputError
from cdn_sc.inputs import control_summary, make_batch

if TYPE_CHECKING:
    from torch import nn

    from cdn_sc.features import ControlSummary

KINDS = ("knockdown", "activation", "knockout", "activity")


@dataclass(frozen=True)
class Prediction:
    """What a network says of one comparison.

    Parameters
    ----------
    logits
        One a gene; their sigmoid is the score.
    columns
        Further columns of the result table, one value a gene.
    """

    logits: np.ndarray
    columns: dict[str, np.ndarray] = field(default_factory=dict)


class Predictor:
    """A network in eval mode together with the way its inputs are made.

    Parameters
    ----------
    network
        A network of ours with ``config``; from :func:`cdn_sc.models.load`.
    device
        Where it computes.

    Raises
    ------
    InputError
        If the network does not predict targets (the SEA encoder alone).
    """

    def __init__(self, network: nn.Module, device: str = "cpu") -> None:
        architecture = getattr(getattr(network, "config", None), "architecture", None)
        if architecture not in ("cdn", "gene_transformer"):
            raise InputError(
                f"the model is a {architecture or type(network).__name__}, which does not predict targets; "
                "take one of cdn_sc.models.available() whose architecture is 'cdn' or 'gene_transformer'."
            )
        self.network: Any = network.to(device).eval()
        self.device = device
        self.card: dict[str, Any] = dict(getattr(network, "card", None) or {})
        self._kept: _KeptSummary | None = None

    @property
    def name(self) -> str:
        """Name of the model."""
        return str(self.card.get("name") or type(self.network).__name__)

    @property
    def version(self) -> str:
        """Version of the model, empty where it has none."""
        return str(self.card.get("version") or "")

    @property
    def sha256(self) -> str:
        """SHA-256 of the weights file, empty for a network that was not loaded from one."""
        return str(self.card.get("sha256") or "")

    @property
    def max_genes(self) -> int | None:
        """Largest number of genes; None for any number."""
        return getattr(self.network.config, "num_vars", None)

    @property
    def min_genes(self) -> int:
        """Smallest number of genes: graphs need a pair."""
        return 2 if self.uses_graphs else 1

    @property
    def max_subsets(self) -> int | None:
        """Largest number of gene subsets an arm; None where subsets play no part."""
        return self.network.config.max_subsets if self.uses_graphs else None

    @property
    def uses_graphs(self) -> bool:
        """Whether the network reads local graphs: only then `n_subsets`, `estimator` and `test` matter."""
        return self.network.config.architecture == "cdn"

    @property
    def takes_kind(self) -> bool:
        """Whether the network can be told the kind of perturbation."""
        return self.network.config.architecture == "gene_transformer"

    def predict(
        self,
        control: np.ndarray,
        perturbed: np.ndarray,
        *,
        rng: np.random.Generator,
        kind: str | None = None,
        n_subsets: int = 50,
        estimator: str = "fci",
        test: str = "fisherz",
    ) -> Prediction:
        """Score the genes of one comparison; several threads may do so at once.

        Parameters
        ----------
        control, perturbed
            Values of the two arms, cells x genes, float32, finite, at least 2 cells. What is computed from
            a control array is kept for the next call with the very same array, unless its values changed.
        rng
            Source of the sampled subsets and identities (published architecture).
        kind
            One of ``KINDS`` where known; networks that cannot be told ignore it.
        n_subsets
            Gene subsets an arm (published architecture).
        estimator, test
            Estimator of the local graphs and its independence test (published architecture).

        Raises
        ------
        InputError
            If the arms differ in genes, there are more of them or of the subsets than the network takes, or
            `kind` is unknown.
        """
        import torch

        if kind is not None and kind not in KINDS:
            raise InputError(f"kind is one of {', '.join(map(repr, KINDS))} or None, not {kind!r}.")
        if control.ndim != 2 or perturbed.ndim != 2 or control.shape[1] != perturbed.shape[1]:
            raise InputError(
                f"the arms have shapes {control.shape} and {perturbed.shape}; cells x genes, with the same "
                "genes in both, are needed."
            )
        n_genes = control.shape[1]
        if self.max_genes is not None and n_genes > self.max_genes:
            raise InputError(f"{n_genes} genes, but the model {self.name} takes {self.max_genes} at most.")
        if self.max_subsets is not None and n_subsets > self.max_subsets:
            raise InputError(
                f"n_subsets={n_subsets}, but the model {self.name} takes {self.max_subsets} at most."
            )
        batch = make_batch(
            self.network,
            [(control, perturbed)],
            rng=rng,
            kinds=[kind],
            n_subsets=(n_subsets, n_subsets),
            estimator=estimator,
            test=test,
            summary=self._summary(control),
        )
        with torch.inference_mode():
            logits = self.network(batch.to(self.device))[0].float().cpu().numpy()
        return Prediction(logits)

    def _summary(self, control: np.ndarray) -> ControlSummary | None:
        if self.network.config.architecture != "gene_transformer":
            return None
        # read and replaced as one object, so that no thread sees a summary beside another's array
        kept = self._kept
        checksum = _checksum(control)
        if kept is None or kept.control is not control or kept.checksum != checksum:
            kept = self._kept = _KeptSummary(control, checksum, control_summary(control))
        return kept.summary


@dataclass(frozen=True)
class _KeptSummary:
    """A control array and what was computed from it; holding the array keeps its identity from reuse."""

    control: np.ndarray
    checksum: int
    summary: ControlSummary


def _checksum(values: np.ndarray) -> int:
    """Tells an array from one that was written over; far cheaper than what is computed from it."""
    return zlib.crc32(np.ascontiguousarray(values).view(np.uint8).reshape(-1).data)


def load_predictor(model: str | PathLike[str] | nn.Module = "default", device: str = "cpu") -> Predictor:
    """Predictor of a model by name, path, or the network itself.

    Parameters
    ----------
    model
        A name of :func:`cdn_sc.models.available`, a path of a weights file, or a network of ours.
    device
        A torch device that is there.

    Raises
    ------
    WeightsError
        If there is no such name or file, or the file cannot be used.
    InputError
        If the model does not predict targets, or `model` is none of these.
    """
    from torch import nn

    from cdn_sc import models

    if not isinstance(model, nn.Module):
        if not isinstance(model, str | PathLike):
            raise InputError(
                f"model is the name of a model, the path of a file of weights or a network, not {model!r}."
            )
        model = models.load(model if isinstance(model, str) else Path(model), device=device)
    return Predictor(model, device)
