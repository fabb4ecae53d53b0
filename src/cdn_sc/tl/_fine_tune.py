"""`cdn_sc.tl.fine_tune`: go on training a model on a screen whose targets are known."""

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from hashlib import sha256
from os import PathLike
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from anndata import AnnData

from cdn_sc._device import resolve_device
from cdn_sc._logging import logger
from cdn_sc._threads import torch_for_training
from cdn_sc.errors import InputError
from cdn_sc.settings import settings
from cdn_sc.tl._candidates import resolve_mask
from cdn_sc.tl._checks import check_shape, check_type, scan_values
from cdn_sc.tl._control_cells import ControlCells
from cdn_sc.tl._effect_split import choose_validation, effect_clusters
from cdn_sc.tl._expression import Expression
from cdn_sc.tl._fine_tune_arguments import check_arguments, check_usable, check_validation
from cdn_sc.tl._groups import check_number_of_controls, split_into_arms
from cdn_sc.tl._guides import warn_of_guides
from cdn_sc.tl._known_targets import known_targets
from cdn_sc.tl._options import MIN_DETECTION, check_options, number_of_genes
from cdn_sc.tl._randomness import resolve_seed
from cdn_sc.tl._scoring import list_skipped
from cdn_sc.tl._screen_pairs import (
    CandidateOptions,
    ScreenPairs,
    ScreenPairSet,
    TrainingGroup,
    training_groups,
)

if TYPE_CHECKING:
    from torch import nn

    from cdn_sc.predictors import Predictor
    from cdn_sc.train import TrainConfig

LEARNING_RATES = {"gene_transformer": 1e-4, "cdn": 1e-5}


def fine_tune(
    adata: AnnData,
    groupby: str,
    control: str | Iterable[str],
    *,
    targets: Mapping[str, str | Iterable[str] | None] | None = None,
    groups: str | Iterable[str] = "all",
    model: "str | PathLike[str] | nn.Module" = "default",
    kind: str | None = None,
    layer: str | None = None,
    use_raw: bool = False,
    mask_var: str | np.ndarray | None = None,
    n_genes: int | None = None,
    min_detection: float = MIN_DETECTION,
    min_cells: int = 10,
    validation: float | Iterable[str] = 0.2,
    epochs: int = 10,
    patience: int = 5,
    learning_rate: float | None = None,
    batch_size: int = 2,
    cells_kept: float = 1.0,
    name: str = "fine-tuned",
    folder: str | PathLike[str] | None = None,
    trackers: Sequence[str] = (),
    device: str = "auto",
    rng: int | np.random.Generator | None = 0,
    max_seconds: float | None = None,
    progress: bool | None = None,
    allow_counts: bool = False,
) -> "nn.Module":
    """Go on training a model on the groups of a screen whose targets are known.

    The model learns from each group with a known target, compared with the control cells as
    :func:`~cdn_sc.tl.predict_targets` compares them, and then ranks targets of further perturbations of such
    cells. After every epoch the groups that were held out are scored; the weights that scored best are
    returned, those before the first step included, so that a screen with nothing to learn from leaves the
    model as it was. `adata` is not changed.

    Parameters
    ----------
    adata
        Cells by genes, log-normalised, with control and perturbed cells.
    groupby
        Column of `adata.obs` that says which perturbation a cell had.
    control
        Label of the control cells, or a list of labels, in that column.
    targets
        Label -> target gene, or genes, as in `var_names`; labels without an entry, and those with an empty
        one (`None`, NaN, an empty str), are not learned from. By default a group's label is its target,
        where it is the name of a gene.
    groups
        Labels of the groups to learn from, or `all`.
    model
        Model to start from, which stays as it is: its name (see `cdn_sc.models.available`), the path of a
        file of weights, or a network. All members of an ensemble are trained.
    kind
        What the perturbations do, if you know it: `knockdown`, `activation`, `knockout` or `activity`.
        Models that can be told are then told in half of the steps, so that they predict both ways.
    layer, use_raw
        Where the values are, as in `predict_targets`.
    mask_var, n_genes, min_detection
        Which genes are candidates, as in `predict_targets`: the choice does not look at the targets. A
        group whose target is no candidate teaches what groups without a target among the candidates look
        like; where it validates, its target counts as ranked last. With `mask_var` groups with all targets
        outside of the mask are left out.
    min_cells
        How many cells the control and a group need at least. Smaller groups are not learned from.
    validation
        Share of the groups that is held out for validation, or a list of their labels. Groups with similar
        effects (log fold changes that correlate above 0.5) or with a target in common are held out together
        or not at all. With 0 all groups are learned from, for all `epochs`, and the last weights returned.
    epochs
        How often each group is learned from at most. The learning rate rises over the first epoch and falls
        to zero over all of them.
    patience
        Stop after so many epochs without a better validation; 0 for never.
    learning_rate
        Largest learning rate. `None`: 1e-4 for gene transformers, 1e-5 for the published architecture.
    batch_size
        Groups a step.
    cells_kept
        Below 1, each time a group is learned from a random share of its cells is used, at least this one. It
        made no difference on simulated screens.
    name
        Name of the model, which results will show; with `folder` also that of its file.
    folder
        Where the weights (`<name>.safetensors`), the table of validations (`log.csv`) and the state of the
        run go. The same call with the same folder goes on where a run was stopped, to the bit. `None`: no
        files are left; keep the model with `cdn_sc.models.save(model, path, model.card)`.
    trackers
        Other places that are told of validations: `tensorboard` (its files go into `folder`), `wandb`. Their
        packages have to be installed.
    device
        `auto` (that of `cdn_sc.settings`, or a GPU when there is one), `cpu`, `cuda`, `cuda:1`, `mps`.
    rng
        Seed, or generator to draw one from: it decides the split, the order of the groups and the cells.
        The same seed gives the same model on the same type of machine. `None` draws a fresh one.
    max_seconds
        Stop after about this time; with `folder`, the same call goes on later.
    progress
        Whether to show a progress bar; `None` shows one from verbosity `info` on.
    allow_counts
        Whether to take whole numbers as they are.

    Returns
    -------
    The network, in eval mode: what `predict_targets` takes as `model`. Its `card` is a dict with `name` and
    `training`, which holds the `configuration`, `started_from`, `groups` and `validation_groups` (labels),
    `validations` (columns of the log), `best_step` and `best_auroc`.

    Raises
    ------
    MissingNameError
        (A :class:`KeyError`.) No such column, label or layer, also in `targets`.
    InputError
        (A :class:`ValueError`.) The values or an argument cannot be used, no group has a known target, the
        groups cannot be split, or `folder` holds another run.
    DeviceError
        (A :class:`RuntimeError`.) The device is not there.

    Warns
    -----
    UserWarning
        Once, if guides, antibodies or hashtags are among the genes; once, if groups are left out since their
        label or target is no gene; once, if groups have too few
        cells or their target does not vary; once, if the values look scaled or not logarithmic.

    Examples
    --------
    >>> import cdn_sc
    >>> import scanpy as sc
    >>> adata = cdn_sc.simulate.screen(40, {"knockdown": 8}, n_control=200, n_perturbed=50)
    >>> sc.pp.normalize_total(adata)
    >>> sc.pp.log1p(adata)
    >>> targets = adata.uns["targets"]
    >>> model = cdn_sc.tl.fine_tune(
    ...     adata, "perturbation", "control", targets=targets, epochs=1, progress=False
    ... )
    >>> cdn_sc.tl.predict_targets(adata, "perturbation", "control", model=model, progress=False)
    >>> adata.uns["cdn_targets"]["params"]["model"]
    'fine-tuned'
    """
    from cdn_sc import models, predictors
    from cdn_sc.models.tensors import tensors_sha256
    from cdn_sc.train import train

    check_arguments(
        adata,
        n_genes,
        min_detection,
        min_cells,
        epochs,
        patience,
        learning_rate,
        batch_size,
        cells_kept,
        name,
        max_seconds,
    )
    check_options(kind, "fci", "fisherz")
    trackers = trackers or ()
    if folder is None and "tensorboard" in trackers:
        raise InputError("trackers='tensorboard' writes files: name a folder for them in folder=.")
    seed = resolve_seed(rng)
    expression = Expression(adata, layer=layer, use_raw=use_raw)
    check_shape(adata, expression)
    arms = split_into_arms(
        adata,
        groupby,
        control if isinstance(control, str) or not isinstance(control, Iterable) else list(control),
        groups if isinstance(groups, str) or not isinstance(groups, Iterable) else list(groups),
    )
    check_number_of_controls(arms, control, min_cells)
    share, held_labels = check_validation(validation, arms.groups)
    labels = (*arms.control_labels, *arms.conditions)
    of_groups = known_targets(
        targets, list(arms.groups), expression.var_names, f"adata.obs[{groupby!r}]", labels
    )
    mask = resolve_mask(mask_var, expression)
    check_type(expression, allow_counts=allow_counts)
    predictor = predictors.load_predictor(model, device=resolve_device(device))
    n_genes = number_of_genes(predictor, mask, n_genes, expression.shape[1])
    warn_of_guides(expression, mask, arms)
    if mask is not None:
        place = np.cumsum(mask) - 1
        of_groups = {label: place[genes_of[mask[genes_of]]] for label, genes_of in of_groups.items()}
        expression, mask = expression.only(mask), np.ones(int(mask.sum()), dtype=bool)
    cells = np.sort(np.concatenate([arms.control, *(arms.groups[label] for label in of_groups)]))
    scan_values(adata, expression, cells, allow_counts=allow_counts)

    conditions = arms.conditions if predictor.uses_correlations else None
    cells_of_control = ControlCells(expression, arms.control, seed, conditions)
    options = CandidateOptions(
        predictor.max_genes is None, n_genes, min_detection, mask, min_cells, predictor.min_genes
    )
    usable, skipped, digest = training_groups(expression, cells_of_control, arms.groups, of_groups, options)
    if not usable:
        raise InputError(f"no group can be learned from: {list_skipped(skipped)}.")
    n_missing = sum(not len(group.targets) for group in usable)
    if n_missing == len(usable):
        raise InputError(
            f"no group can be learned from: the targets of all {n_missing} groups are none of their "
            "candidate genes. Raise n_genes, or name the genes in mask_var."
        )
    if held_labels is not None:
        check_usable(held_labels, usable, skipped)
    held_out = _split(usable, share, held_labels, np.random.default_rng([seed, *b"split"]))
    parts = [
        [group for group, held in zip(usable, held_out, strict=True) if held == wanted]
        for wanted in (False, True)
    ]
    if not parts[0]:
        raise InputError("all groups with a known target are for validation: none is left to learn from.")
    digest = sha256("\n".join([digest, str(kind), *(g.label for g in parts[1])]).encode()).hexdigest()
    pairs = ScreenPairSet(
        ScreenPairs(expression, cells_of_control, parts[0], kind),
        ScreenPairs(expression, cells_of_control, parts[1], kind),
        digest,
    )
    start = tensors_sha256({k: v.cpu() for k, v in predictor.network.state_dict().items()})
    config = _configuration(
        predictor,
        name=name,
        seed=seed,
        n_training=len(parts[0]),
        n_validation=len(parts[1]),
        epochs=int(epochs),
        patience=int(patience),
        learning_rate=None if learning_rate is None else float(learning_rate),
        batch_size=int(batch_size),
        cells_kept=float(cells_kept),
        kind=kind,
        start=start,
    )
    logger.info(
        "Fine-tuning %s on %d groups, %d more for validation, on %s.",
        f"{predictor.name} {predictor.version}".strip(), len(parts[0]), len(parts[1]), predictor.device,
    )  # fmt: skip
    if n_missing:
        logger.info("The target of %d of these groups is none of their candidate genes (n_genes).", n_missing)
    notes = {
        "started_from": {
            "name": predictor.name,
            "version": predictor.version,
            "sha256": predictor.sha256,
            "tensors_sha256": start,
        },
        "groups": [group.label for group in parts[0]],
        "validation_groups": [group.label for group in parts[1]],
    }
    with TemporaryDirectory() as temporary, torch_for_training(predictor.network.config.architecture):
        path = train(
            config,
            Path(temporary if folder is None else folder),
            device=predictor.device,
            max_seconds=max_seconds,
            progress=settings.show_progress if progress is None else progress,
            given=pairs,
            start=predictor.network,
            trackers=trackers,
            notes=notes,
        )
        network: Any = models.load(path, device=predictor.device)
    if folder is None:
        network.card |= {"path": "", "sha256": ""}
    _tell(network.card["training"], len(parts[1]))
    # last, so that the model is there where warnings are errors and it was written
    if skipped:
        warnings.warn(
            f"{len(skipped)} of {len(of_groups)} groups with a known target could not be learned from: "
            f"{list_skipped(skipped)}.",
            stacklevel=2,
        )
    return network


def _split(
    usable: Sequence[TrainingGroup],
    share: float,
    labels: Sequence[str] | None,
    rng: np.random.Generator,
) -> np.ndarray:
    """For each group whether it is for validation."""
    if labels is not None:
        return np.array([group.label in labels for group in usable])
    if share == 0:
        return np.zeros(len(usable), dtype=bool)
    seen = np.unique(np.concatenate([group.genes for group in usable]))
    effects = np.stack([group.effect[seen] for group in usable])
    targets = [np.concatenate([group.targets, group.missing]) for group in usable]
    clusters = effect_clusters(effects, targets, share)
    return choose_validation(clusters, share, rng)


def _configuration(
    predictor: "Predictor",
    *,
    name: str,
    seed: int,
    n_training: int,
    n_validation: int,
    epochs: int,
    patience: int,
    learning_rate: float | None,
    batch_size: int,
    cells_kept: float,
    kind: str | None,
    start: str,
) -> "TrainConfig":
    """Put the arguments of the call into the trainer's words."""
    from cdn_sc.train.config import config_from_dict

    network = predictor.network.config
    batch_size = min(batch_size, n_training)
    steps_per_epoch = math.ceil(n_training / batch_size)
    values: dict[str, Any] = {
        "name": name,
        "network": asdict(network),
        "sources": [{"type": "given"}],
        "seed": seed,
        "steps": epochs * steps_per_epoch,
        "max_pairs_per_batch": batch_size,
        "learning_rate": LEARNING_RATES[network.architecture] if learning_rate is None else learning_rate,
        "warmup_steps": steps_per_epoch,
        "average_decay": 0.98,
        "kind_told": 0.0 if kind is None else 0.5,
        "initial_weights": f"tensors {start}",
        "validate_every": steps_per_epoch,
        "checkpoint_every": steps_per_epoch,
        "validation_pairs": max(n_validation, 1),
        "cells_kept": cells_kept,
        "select_by": "auroc" if n_validation else "",
        "patience": patience if n_validation else 0,
        "recommended_for": "screens like the one that it was fine-tuned on",
    }
    return config_from_dict(values)


def _tell(training: Mapping[str, Any], n_validation: int) -> None:
    if not n_validation:
        logger.info("Trained for %d steps; no group was held out for validation.", training["steps"])
        return
    before = training["validations"]["validation_auroc"][0]
    logger.info(
        "Validation AUROC %.4f, %.4f before: the weights of step %d of %d.",
        training["best_auroc"], before, training["best_step"], training["steps"],
    )  # fmt: skip
