"""One interface to every network: two arms in, one logit a gene out."""

from __future__ import annotations

import copy
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from scipy.special import softmax

from cdn_sc._comparisons import (
    ArmToEncode,
    Comparison,
    GroupInScreen,
    Launched,
    batch_size,
    launch_genes,
    launch_graphs,
    prepare_arm,
    prepare_both_arms,
)
from cdn_sc._device import resolve_device
from cdn_sc._gene_tests import ControlValues, gene_tests, sort_arm, tests_from_statistics
from cdn_sc._known_relations import KnownRelations
from cdn_sc._memory import keep_freed_memory
from cdn_sc.errors import InputError

if TYPE_CHECKING:
    from torch import nn

    from cdn_sc.features import ControlSummary
    from cdn_sc.features._known import KnownWeights

Contrasts = np.ndarray | Iterable[np.ndarray] | None
KINDS = ("knockdown", "activation", "knockout", "activity")
PRECISIONS = ("float32", "tf32", "bfloat16")


@dataclass(frozen=True)
class Prediction:
    """What a network says of one comparison.

    Parameters
    ----------
    logits
        One a gene; their sigmoid is the score.
    columns
        Further columns of the result table, float32, one value a gene: `t_statistic` and
        `wilcoxon_statistic`, the gene's own tests on the same cells (perturbed against control; 0 for a gene
        that is constant in both), and with a gene transformer `score_elsewhere`, the score less that which
        the gene's own values alone would have, `direction`, from -1 (what it does was lost) to 1 (grew), if
        it was hit, and, where relations are known, `score_relations`, the score less that without them.
    kinds
        Probability of each kind of perturbation, in the order of ``KINDS``; None where the network cannot
        tell.
    """

    logits: np.ndarray
    columns: dict[str, np.ndarray] = field(default_factory=dict)
    kinds: np.ndarray | None = None


class LaunchedPredictions:
    """Predictions that the device may still be working on."""

    def __init__(self, comparisons: Sequence[Comparison], logits: Launched) -> None:
        self._columns = [comparison.columns for comparison in comparisons]
        self._logits = logits

    def fetch(self) -> list[Prediction]:
        """Wait for the predictions, in the order of the comparisons."""
        found, kinds = self._logits.fetch()
        of_groups = [None] * len(found) if kinds is None else list(softmax(kinds, axis=1))
        return [
            Prediction(logits[0], columns | _explanations(logits), of_group)
            for logits, of_group, columns in zip(found, of_groups, self._columns, strict=True)
        ]


def _explanations(logits: np.ndarray) -> dict[str, np.ndarray]:
    """Columns from what the gene transformer says beside its logits, V x N; none where it was not asked."""
    if len(logits) < 3:
        return {}
    scores = sigmoid(logits)
    columns = {"score_elsewhere": scores[0] - scores[1], "direction": 2.0 * scores[2] - 1.0}
    if len(logits) > 3:
        columns["score_relations"] = scores[0] - scores[3]
    return {name: values.astype(np.float32) for name, values in columns.items()}


class Predictor:
    """A network in eval mode together with the way its inputs are made.

    Parameters
    ----------
    network
        A network of ours with ``config``; from :func:`cdn_sc.models.load`.
    device
        Where it computes.
    columns
        Whether predictions carry more than logits: the gene's own statistics, and `score_elsewhere` where the
        network tells it. Evaluation does without, in half the time.
    precision
        Of the large matrix products: "float32", "tf32" (no effect but on CUDA) or "bfloat16".

    Raises
    ------
    InputError
        If the network does not predict targets (the SEA encoder alone), or was made for other inputs than
        this version computes.
    """

    def __init__(
        self, network: nn.Module, device: str = "cpu", *, columns: bool = True, precision: str = "float32"
    ) -> None:
        check_precision(precision)
        architecture = getattr(getattr(network, "config", None), "architecture", None)
        if architecture not in ("cdn", "gene_transformer"):
            raise InputError(
                f"the model is a {architecture or type(network).__name__}, which does not predict targets; "
                "take one of cdn_sc.models.available() whose architecture is 'cdn' or 'gene_transformer'."
            )
        if architecture == "gene_transformer":
            _check_inputs(network.config)
        keep_freed_memory()
        self.network: Any = network.to(device).eval()
        if precision == "bfloat16":
            from cdn_sc.nn.precision import in_bfloat16

            self.network = in_bfloat16(self.network)
        self.device, self.precision = device, precision
        self.card: dict[str, Any] = dict(getattr(network, "card", None) or {})
        self.columns = columns
        self._kept: _KeptControl | None = None
        self._lock = Lock()

    def __getstate__(self) -> dict[str, Any]:
        """What another process needs; not what is kept of the last control arm, and no lock."""
        return self.__dict__ | {"_kept": None, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take what another process had, with a lock of one's own."""
        self.__dict__.update(state | {"_lock": Lock()})

    def __repr__(self) -> str:
        kinds = "takes the kind of perturbation" if self.takes_kind else "reads local causal graphs"
        return f"Predictor({' '.join(filter(None, (self.name, self.version)))} on {self.device}, {kinds})"

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
    def uses_correlations(self) -> bool:
        """Whether the network reads correlations, which cells of other conditions sharpen."""
        return self.network.config.architecture == "gene_transformer"

    @property
    def takes_kind(self) -> bool:
        """Whether the network can be told the kind of perturbation."""
        return self.network.config.architecture == "gene_transformer"

    @property
    def takes_relations(self) -> bool:
        """Whether the network can be told relations between genes."""
        return self.network.config.architecture == "gene_transformer"

    def predict(self, control: np.ndarray, perturbed: np.ndarray, **options: Any) -> Prediction:
        """Score the genes of one comparison; several threads may do so at once.

        Parameters
        ----------
        control, perturbed, options
            As of `prepare`.

        Raises
        ------
        InputError
            As `prepare`.
        """
        return self.launch([self.prepare(control, perturbed, **options)]).fetch()[0]

    def prepare(
        self,
        control: np.ndarray,
        perturbed: np.ndarray,
        *,
        rng: np.random.Generator,
        kind: str | None = None,
        n_subsets: int = 50,
        estimator: str = "fci",
        test: str = "fisherz",
        control_seed: int | None = None,
        contrasts: Contrasts = None,
        relations: KnownRelations | None = None,
    ) -> Comparison:
        """Do all of a comparison that needs no device; several threads may do so at once.

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
        control_seed
            Seed of the control arm's subsets and identities, in place of `rng` (published architecture): what
            the network makes of the control arm is then kept, and predictions with the same control array and
            seed share it. None draws them anew from `rng`.
        contrasts
            How cells of the conditions of the screen vary within these, contrasts x genes, float32, or an
            iterable of such arrays: they sharpen the correlations that the gene transformer reads. The
            published architecture ignores them. For what was computed to be kept, the very same object must
            come with the same control array.
        relations
            What is known beforehand of which gene regulates which. The published architecture ignores it.
            What is computed from it is kept with the control array, as long as the very same object comes.

        Raises
        ------
        InputError
            If the arms differ in genes, there are more of them or of the subsets than the network takes, or
            `kind` is unknown.
        """
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
        kept = self._keep(control, None if self.uses_graphs else contrasts)
        if self.uses_graphs:
            graphs = {"n_subsets": n_subsets, "estimator": estimator, "test": test}
            arms = self._prepare_arms(kept, perturbed, rng, control_seed, graphs)
            columns = gene_tests(kept.summary, perturbed) if self.columns else {}
            return Comparison(n_genes, arms, kind, columns)
        from cdn_sc.features import group_statistics

        summary = cast("ControlSummary", kept.summary)
        statistics = group_statistics(summary, perturbed)
        columns = tests_from_statistics(summary, statistics) if self.columns else {}
        known = None if relations is None else kept.weights(relations)
        return Comparison(n_genes, GroupInScreen(summary, statistics, self.columns, known), kind, columns)

    def prepare_control(self, control: np.ndarray, contrasts: Contrasts = None) -> None:
        """Do what the control cells alone decide, once for all comparisons with this very array.

        Parameters
        ----------
        control, contrasts
            As of `prepare`, which takes what was computed from the same two objects.
        """
        self._keep(control, None if self.uses_graphs else contrasts)

    def launch(self, comparisons: Sequence[Comparison]) -> LaunchedPredictions:
        """Give the device its work on comparisons, without waiting for the results.

        Parameters
        ----------
        comparisons
            From `prepare`, of as many genes each. A comparison's prediction does not depend on the others,
            but for rounding.
        """
        import torch

        from cdn_sc.nn.precision import matrix_products

        launch = launch_graphs if self.uses_graphs else launch_genes
        with torch.inference_mode(), matrix_products(self.precision, self.device):
            return LaunchedPredictions(comparisons, launch(self.network, comparisons, self.device))

    def batch_size(self, n_genes: int, n_subsets: int = 50) -> int:
        """How many comparisons of this many genes to give to `launch` together.

        Parameters
        ----------
        n_genes
            Genes of each.
        n_subsets
            Gene subsets an arm (published architecture).
        """
        return batch_size(self.network.config, n_genes, n_subsets, self.device)

    def _prepare_arms(
        self,
        kept: _KeptControl,
        perturbed: np.ndarray,
        rng: np.random.Generator,
        control_seed: int | None,
        graphs: dict[str, Any],
    ) -> tuple[ArmToEncode, ArmToEncode]:
        """Both arms for the published architecture; the control arm is kept where it has a seed."""
        num_vars = self.network.config.num_vars
        if control_seed is None:
            return prepare_both_arms(kept.control, perturbed, rng, num_vars, **graphs)
        with kept.lock:
            key = (control_seed, *graphs.values())
            if key not in kept.arms:
                kept.arms.clear()
                seeded = np.random.default_rng(control_seed)
                kept.arms[key] = prepare_arm(kept.control, seeded, num_vars, shared=True, **graphs)
            control = kept.arms[key]
        return control, prepare_arm(perturbed, rng, num_vars, shared=False, **graphs)

    def _keep(self, control: np.ndarray, contrasts: Contrasts) -> _KeptControl:
        # one thread computes, the others wait for it
        with self._lock:
            kept = self._kept
            checksum = _checksum(control)
            same = kept is not None and kept.control is control and kept.contrasts is contrasts
            if kept is None or not same or kept.checksum != checksum:
                kept = self._kept = _KeptControl(
                    control, checksum, self._summary(control, contrasts), contrasts
                )
            return kept

    def _summary(self, control: np.ndarray, contrasts: Contrasts) -> ControlValues:
        if self.uses_graphs:
            return sort_arm(control)
        from cdn_sc.features import summarize_control

        return summarize_control(control, contrasts, device=self.device)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Scores of logits, float64, without overflow."""
    return np.exp(-np.logaddexp(0.0, -logits.astype(np.float64)))


@dataclass(frozen=True)
class _KeptControl:
    """A control array and what was computed from it; holding the array keeps its identity from reuse."""

    control: np.ndarray
    checksum: int
    summary: ControlValues
    contrasts: Contrasts = None
    arms: dict[tuple[Any, ...], ArmToEncode] = field(default_factory=dict)
    known: dict[str, Any] = field(default_factory=dict)
    lock: Lock = field(default_factory=Lock)

    def weights(self, relations: KnownRelations) -> KnownWeights:
        """Known relations beside the control cells' correlations, kept for the next call."""
        from cdn_sc.features._known import weigh_relations

        with self.lock:
            if self.known.get("relations") is not relations:
                summary = cast("ControlSummary", self.summary)
                weights = weigh_relations(relations, summary.correlation)
                self.known.update(relations=relations, weights=weights)
            return self.known["weights"]


def check_precision(precision: str) -> None:
    """Raise if there is no such precision."""
    if precision not in PRECISIONS:
        raise InputError(f"precision is one of {', '.join(map(repr, PRECISIONS))}, not {precision!r}.")


def _check_inputs(config: Any) -> None:
    """Refuse a gene transformer that was trained on other features than are computed now."""
    from cdn_sc.features import EDGE_FEATURES, FEATURES

    reads, made = (config.features, config.edges), (len(FEATURES), len(EDGE_FEATURES))
    if reads != made:
        raise InputError(
            f"the model reads {reads} inputs (of a gene, of a pair of genes), but this version of "
            f"cdn-sc makes {made}: it comes from another version; train it again or take a model of this one."
        )


def _checksum(values: np.ndarray) -> int:
    """Tells an array from one that was written over; far cheaper than what is computed from it."""
    if not values.flags.writeable and values.base is None:
        return 0
    return zlib.crc32(np.ascontiguousarray(values).view(np.uint8).reshape(-1).data)


def load_predictor(
    model: str | PathLike[str] | nn.Module = "default",
    device: str = "cpu",
    *,
    columns: bool = True,
    precision: str = "float32",
) -> Predictor:
    """Predictor of a model by name, path, or the network itself.

    Parameters
    ----------
    model
        A name of :func:`cdn_sc.models.available`, a path of a weights file, or a network of ours.
    device
        As of `cdn_sc.tl.predict_targets`.
    columns, precision
        As of :class:`Predictor`.

    Raises
    ------
    WeightsError
        If there is no such name or file, or the file cannot be used.
    InputError
        If the model does not predict targets, or `model` is none of these.
    """
    import torch
    from torch import nn

    from cdn_sc import models

    device = resolve_device(device)
    if isinstance(model, nn.Module):
        if model.training or any(value.device != torch.device(device) for value in model.parameters()):
            model = copy.deepcopy(model)  # which is set to predict, there; the caller's stays as it is
    else:
        if not isinstance(model, str | PathLike):
            raise InputError(
                f"model is the name of a model, the path of a file of weights or a network, not {model!r}."
            )
        model = models.load(model if isinstance(model, str) else Path(model), device=device)
    return Predictor(model, device, columns=columns, precision=precision)
