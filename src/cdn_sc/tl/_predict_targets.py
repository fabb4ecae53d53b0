"""`cdn_sc.tl.predict_targets`: the main job."""

import time
import warnings
from collections.abc import Iterable
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from anndata import AnnData

from cdn_sc._device import resolve_device
from cdn_sc._logging import logger
from cdn_sc._threads import pools_held, share_threads
from cdn_sc.errors import InputError
from cdn_sc.get._arguments import check_share, check_whole_number
from cdn_sc.get._predicted_targets_df import is_part_of_result, is_result
from cdn_sc.settings import is_number_of_jobs, settings
from cdn_sc.tl._candidates import resolve_mask
from cdn_sc.tl._checks import check_shape, check_type, scan_values
from cdn_sc.tl._expression import Expression
from cdn_sc.tl._groups import check_number_of_controls, split_into_arms
from cdn_sc.tl._guides import warn_of_guides
from cdn_sc.tl._options import (
    MIN_DETECTION,
    check_options,
    number_of_genes,
    options_with_effect,
    warn_of_idle_rules,
)
from cdn_sc.tl._pipeline import score_groups
from cdn_sc.tl._randomness import resolve_seed
from cdn_sc.tl._regroup import rows_by_group
from cdn_sc.tl._relations import resolve_relations
from cdn_sc.tl._result import assemble_table, groups_table, skipped_table
from cdn_sc.tl._scoring import Scorer, ScoringOptions, list_skipped

if TYPE_CHECKING:
    from torch import nn

    from cdn_sc.predictors import Predictor


def predict_targets(
    adata: AnnData,
    groupby: str,
    control: str | Iterable[str],
    *,
    groups: str | Iterable[str] = "all",
    model: "str | PathLike[str] | nn.Module" = "default",
    kind: str | None = None,
    relations: pd.DataFrame | None = None,
    relations_key: str | None = None,
    layer: str | None = None,
    use_raw: bool = False,
    mask_var: str | np.ndarray | None = None,
    n_genes: int | None = None,
    min_detection: float = MIN_DETECTION,
    n_subsets: int = 50,
    estimator: str = "fci",
    test: str = "fisherz",
    correlations: str = "screen",
    min_cells: int = 10,
    key_added: str = "cdn_targets",
    device: str = "auto",
    precision: str = "float32",
    n_jobs: int | None = None,
    rng: int | np.random.Generator | None = 0,
    progress: bool | None = None,
    allow_counts: bool = False,
    copy: bool = False,
) -> AnnData | None:
    """Rank the genes of each group of cells by how likely they are what its perturbation acted on.

    Each group is compared with the control cells: its candidate genes are scored by a network that
    sees both sets of cells (*Identifying biological perturbation targets through causal differential
    networks*, Wu et al., ICML 2025, section 3).

    The values are log-normalised expression (:func:`scanpy.pp.normalize_total`, then
    :func:`scanpy.pp.log1p`), dense, sparse or backed by a file; only the cells and genes of one
    comparison at a time are made dense. Data with negative values, other than expression, are
    welcome too.

    Parameters
    ----------
    adata
        Cells by genes, with control and perturbed cells.
    groupby
        Column of `adata.obs` that says which perturbation a cell had. Cells without a label and
        categories without cells are left out, and so are cells whose label is how a missing one is printed
        (`nan`, `None`, `<NA>`, an empty string ...), unless it is named in `control` or `groups`.
    control
        Label of the control cells, or a list of labels, in that column. All other labels are
        groups; a label such as `A+B` is one group. Of more than 20,000 control cells, more than any bundled
        model has met in training, the model sees a random 20,000 (by `rng`); the choice of candidate genes,
        fold changes and t statistics come from all.
    groups
        Labels of the groups to score, or `all`. Here and in `control` a label is named by its value or as a
        string; 1, 1.0 and "1" are the same.
    model
        Name of a model (see `cdn_sc.models.available`), path of a file of weights, or a network.
    kind
        What the perturbations do, if you know it, for models that can be told: `knockdown`,
        `activation`, `knockout` or `activity` (an inhibitor, an agonist, a ligand: what the target does is
        lost or grows, whether or not its transcript moves).
    relations
        What you know of which gene regulates which, if anything, for models that can be told: a data frame
        with columns `source` and `target` (names of genes) and, where signs are known, `weight` (above 0
        where more of the source means more of the target, below where less, 0 or missing where it is not
        known), as decoupler's resources have it, or as :func:`cdn_sc.tl.relations_from_screen` makes it from
        another screen. It may be partial and partly wrong: what the control cells do not bear out counts
        less.
    relations_key
        Column of `adata.var` with the names that `relations` uses, in place of the names of the genes.
    layer
        Layer with the values, in place of `adata.X`.
    use_raw
        Whether to take the values from `adata.raw`.
    mask_var
        Genes to score, in place of all that are expressed: a boolean column of `var` (that of
        `adata.raw` with `use_raw`), or an array of booleans, one per gene. Other genes are not looked at.
    n_genes
        How many genes are scored at most. `None`: all of the panel, or as many as the model takes. The panel
        is one for all groups: the genes that enough cells have (`min_detection`), and that vary; of more than
        `n_genes` those with the largest absolute Welch t (from each gene's means and variances in the two
        sets of cells) in any of the groups. Models with a limit of their own (the published ones: 1000)
        choose, as published, for each group by itself: of the genes that vary in its cells or in the control
        cells those with the largest absolute Welch t. A gene that is silent in a group alone stays a
        candidate; one that is constant in the group and in the control has no score there.
    min_detection
        Share of the control cells in which a gene must be detected (a value other than 0) to be in the
        panel; or of the cells of one group, there a tenth and 3 cells at least, so that a gene which is
        silent but where a perturbation switches it on is in it. Without effect on models with a limit of
        their own, and with `mask_var`.
    n_subsets
        How many subsets of 5 genes a local graph is made of, per set of cells, for models that use
        graphs.
    estimator
        What makes the local graphs, for models that use graphs: `fci` (compiled, fast) or `causal-learn`
        (thousands of times slower, with a choice of tests).
    test
        Independence test behind the local graphs, for models that use graphs: `fisherz`, or with
        `estimator="causal-learn"` one of that package's others, for example `kci`.
    correlations
        Which cells tell how genes vary together, for models that read correlations. `screen`: the control
        cells and the cells of all other labels of `groupby`, whether or not they are in `groups`, as they
        vary within each label (20,000 cells in all at most, drawn by `rng`, fewer where there are more than
        20,000 genes; of one label a twentieth of them at most): correlations sharpen with the number of
        cells, and most cells of a screen are not control cells. `control`: the control cells alone, so that a
        group's scores depend on no other condition but through the panel; also where the conditions are of
        different cell types.
    min_cells
        How many cells the control and a group need at least. Smaller groups are skipped.
    key_added
        Key of `adata.uns` under which the result is written. An earlier result of this function there is
        replaced, whole or what joining objects has left of it; anything else is left alone, with an error.
    device
        `auto` (that of `cdn_sc.settings`, or a GPU when there is one), `cpu`, `cuda`, `cuda:1`, `mps`.
    precision
        Of the model's large matrix products: `float32`, or, where the device has units for it faster,
        `tf32` (on CUDA; elsewhere the same as `float32`) or `bfloat16` (on CUDA, and on CPUs with AVX512-BF16
        or AMX; slower on others). Sums, softmax and normalisation stay in float32, and so do attention
        logits of the published architecture (on CUDA with TF32 factors). Scores move a little, and with them
        close ranks.
    n_jobs
        How many groups are worked on at once, each by one thread; where there are fewer groups, torch takes
        the other threads for products within each. -1 means all cores that the process may use, `None` the
        number in `cdn_sc.settings`; if that is `None` too, as it is at first, those cores, but 8 at most, and
        no more than `torch.get_num_threads()` and the variable `OMP_NUM_THREADS` say.
    rng
        Seed. Each group draws from a stream of its own, made from the seed and the group's name, the control
        cells from one made from the seed, so that a result depends neither on the order of the groups nor on
        `n_jobs`, and on the other groups only through the panel and the correlations, but for rounding:
        groups go through the model together. Of a :class:`numpy.random.Generator` a seed is drawn, which
        advances it; `None` draws a fresh one. The seed is kept in the result.
    progress
        Whether to show a progress bar; `None` shows one from verbosity `info` on.
    allow_counts
        Whether to take whole numbers as they are. Otherwise they are refused, since they are nearly
        always counts that were not normalised.
    copy
        Whether to write into a copy of `adata` and return it.

    Returns
    -------
    Returns `None` if `copy=False`, else an :class:`~anndata.AnnData`. Sets the following fields:

    `adata.uns[key_added]['table']` : :class:`pandas.DataFrame`
        One row per group and candidate gene, sorted by group and rank: `group` (categorical),
        `gene` (categorical), `rank` (int32, 1 is best), `score` (float32, sigmoid of the network's
        output), `logfoldchange` (float32; log2 of the ratio of means as
        :func:`scanpy.tl.rank_genes_groups` has it, with the base of the logarithm noted in
        `adata.uns["log1p"]`, or the difference of means where values of the group
        or of the control are negative or not logarithmic), `t_statistic` (float32, Welch's t) and
        `wilcoxon_statistic` (float32, z score of the rank-sum test, corrected for ties, on the control
        cells that the model sees), both positive where the group is higher and 0 where there is no such
        statistic. With a gene transformer also `score_elsewhere` (float32, between -1 and 1): the
        score less the one that the gene's own values alone would have; positive where what the other
        genes' changes say about a gene, through the correlations and `relations`, raised it.
        `direction` (float32): which way the gene went, if it is a target, from -1 (what it does was lost)
        to 1 (it grew). With `relations`, where any is between genes of the panel, also `score_relations`
        (float32): the score less the one without them. Networks that cannot tell, such as those of the
        published architecture, leave these columns out.
    `adata.uns[key_added]['groups']` : :class:`pandas.DataFrame`
        One row per scored group: `group` (str), `n_cells` (int), `best_gene` (str), `best_score` (float32),
        and with a gene transformer `likely_kind` (str), the kind of perturbation that its cells suggest, and
        `kind_probability` (float32); where `kind` is given they mean nothing: no training asked for
        them then.
    `adata.uns[key_added]['skipped']` : :class:`pandas.DataFrame`
        Groups that could not be scored: `group` (str), `reason` (str), such as too few cells, or the error
        with which reading or preparing them failed.
    `adata.uns[key_added]['params']` : dict
        `groupby`, `control` (str or list of str), `groups` (`all` or a list of str), `model`,
        `model_version`, `model_sha256`, `kind`, `relations` (how many, as text), `relations_key`, `layer`,
        `use_raw`, `mask_var`, `n_genes`, `min_detection`, `n_subsets`, `estimator`, `test`, `correlations`,
        `precision`, `min_cells`, `seed`, `version` (of cdn-sc); an empty str stands for what was not given
        or has no effect on the model, and -1 for `n_genes=None` and for an `n_subsets`, `n_genes` or
        `min_detection` without effect.

    Raises
    ------
    MissingNameError
        (A :class:`KeyError`.) No such column, label or layer.
    InputError
        (A :class:`ValueError`.) The values or an argument cannot be used; for a model that is not there or
        cannot be read its subclass `cdn_sc.models.errors.WeightsError`. `adata` is unchanged after any
        error.
    DeviceError
        (A :class:`RuntimeError`.) The device is not there, or has too little memory.

    Warns
    -----
    UserWarning
        Once, if cells have labels such as `nan` and are left out; once, if guides or antibodies seem to be
        among the genes; once, if arguments have no effect on the model; once, if the values look scaled or
        not logarithmic; once, after the result is written, if groups were skipped.

    Examples
    --------
    >>> import cdn_sc
    >>> import scanpy as sc
    >>> adata = cdn_sc.datasets.simulated_screen()
    >>> sc.pp.normalize_total(adata)
    >>> sc.pp.log1p(adata)
    >>> cdn_sc.tl.predict_targets(adata, groupby="perturbation", control="control", progress=False)
    >>> group = next(iter(adata.uns["targets"]))
    >>> best = cdn_sc.get.predicted_targets_df(adata, group=group, n_genes=5)
    >>> best.columns.to_list()[:6]
    ['gene', 'rank', 'score', 'logfoldchange', 't_statistic', 'wilcoxon_statistic']
    """
    from cdn_sc import predictors

    started = time.perf_counter()
    _check_arguments(adata, n_genes, min_detection, n_subsets, min_cells, key_added, n_jobs, copy)
    check_options(kind, estimator, test, correlations)
    predictors.check_precision(precision)
    seed = resolve_seed(rng)
    expression = Expression(adata, layer=layer, use_raw=use_raw)
    check_shape(adata, expression)
    if relations_key is not None and relations is None:
        raise InputError(f"relations_key={relations_key!r} without relations: name the column for a table.")
    control = (
        control if isinstance(control, str | bytes) or not isinstance(control, Iterable) else list(control)
    )
    groups = groups if isinstance(groups, str) or not isinstance(groups, Iterable) else list(groups)
    arms = split_into_arms(adata, groupby, control, groups)
    check_number_of_controls(arms, control, min_cells)
    mask = resolve_mask(mask_var, expression)
    check_type(expression, allow_counts=allow_counts)
    resolved_device = resolve_device(device)
    predictor = predictors.load_predictor(model, device=resolved_device, precision=precision)
    warn_of_idle_rules(predictor, mask, n_genes, min_detection)
    n_genes = number_of_genes(predictor, mask, n_genes, expression.shape[1])
    warn_of_guides(expression, mask, arms)
    known = None
    if relations is not None and predictor.takes_relations:
        var_is = "adata.raw.var" if use_raw else "adata.var"
        known = resolve_relations(
            relations, expression.var_names, expression.var, relations_key, var_is=var_is
        )
    if mask is not None:
        known = None if known is None else known.among(np.flatnonzero(mask))
        expression, mask = expression.only(mask), np.ones(int(mask.sum()), dtype=bool)
    used = options_with_effect(predictor, kind, n_subsets, estimator, test, correlations, relations)
    logger.info(
        "Predicting targets of %d groups: %d cells (%d control, %d without a label), %d genes, "
        "model %s on %s.",
        len(arms.groups),
        expression.shape[0],
        len(arms.control),
        arms.n_unlabelled,
        expression.shape[1],
        f"{predictor.name} {predictor.version}".strip(),
        resolved_device,
    )
    options = ScoringOptions(
        kind=kind,
        n_genes=n_genes,
        min_detection=min_detection,
        mask=mask,
        n_subsets=n_subsets,
        estimator=estimator,
        test=test,
        correlations=correlations,
        min_cells=min_cells,
        seed=seed,
        relations=known,
    )
    at_once, threads_within = share_threads(n_jobs, len(arms.groups))
    reads_screen = correlations == "screen" and predictor.uses_correlations
    with rows_by_group(expression, arms, conditions=reads_screen) as values:
        scan_values(adata, values, arms.cells, allow_counts=allow_counts)
        # what is done once has all threads within its products; then they take groups
        with pools_held(at_once * threads_within):
            scorer = Scorer(values, arms.control, arms.conditions, predictor, options)
            scorer.prepare_screen(arms.groups)
        with pools_held():
            results, skipped = score_groups(
                scorer,
                arms.groups,
                n_jobs=at_once,
                threads_within=threads_within,
                progress=settings.show_progress if progress is None else progress,
            )
    result = {
        "params": {
            "groupby": groupby,
            "control": control if isinstance(control, str) else _plain(control),
            "groups": groups if isinstance(groups, str) else _plain(groups),
            **_model_params(predictor),
            **used,
            "relations_key": (relations_key or "") if predictor.takes_relations else "",
            "layer": layer or "",
            "use_raw": bool(use_raw),
            "mask_var": "" if mask_var is None else mask_var if isinstance(mask_var, str) else "array",
            "n_genes": -1 if n_genes is None or mask is not None else int(n_genes),
            "min_detection": -1.0 if mask is not None or predictor.max_genes else float(min_detection),
            "precision": precision,
            "min_cells": int(min_cells),
            "seed": seed,
            "version": _version(),
        },
        "table": assemble_table(results, expression.var_names),
        "groups": groups_table(results, expression.var_names),
        "skipped": skipped_table(skipped),
    }
    if copy:
        adata = adata.copy()
    adata.uns[key_added] = result
    logger.info(
        "Scored %d groups in %.1f s: the result is in adata.uns[%r], see cdn_sc.get.predicted_targets_df.",
        len(results),
        time.perf_counter() - started,
        key_added,
    )
    # Last, so that the scores are kept where warnings are errors.
    if skipped:
        warnings.warn(
            f"{len(skipped)} of {len(arms.groups)} groups could not be scored: {list_skipped(skipped)}. All "
            f"are listed in adata.uns[{key_added!r}]['skipped'].",
            stacklevel=2,
        )
    return adata if copy else None


def _check_arguments(
    adata: AnnData,
    n_genes: int | None,
    min_detection: float,
    n_subsets: int,
    min_cells: int,
    key_added: str,
    n_jobs: int | None,
    copy: bool,
) -> None:
    if not isinstance(adata, AnnData):
        raise InputError(f"adata is a {type(adata).__name__}, and an AnnData is wanted.")
    if adata.isbacked and adata.is_view:
        raise InputError(
            "adata is a view of a backed object, to which no result can be added: take adata.to_memory(), or "
            "the whole backed object with groups=[...]."
        )
    if adata.isbacked and copy:
        raise InputError("copy=True cannot copy a backed adata: take adata.to_memory() first, or copy=False.")
    if n_genes is not None:
        check_whole_number("n_genes", n_genes, 1)
    check_share("min_detection", min_detection)
    check_whole_number("n_subsets", n_subsets, 1)
    check_whole_number("min_cells", min_cells, 2)
    if not isinstance(key_added, str) or not key_added or "/" in key_added:
        raise InputError(
            f"key_added is a str without '/' (h5ad files cannot hold such keys), not {key_added!r}."
        )
    there = adata.uns.get(key_added)
    if there is not None and not is_result(there) and not is_part_of_result(there):
        raise InputError(
            f"adata.uns[{key_added!r}] is there already and holds no predicted targets: take another "
            "key_added."
        )
    if n_jobs is not None and not is_number_of_jobs(n_jobs):
        raise InputError(f"n_jobs is a positive whole number, or -1 for all cores, not {n_jobs!r}.")


def _model_params(predictor: "Predictor") -> dict[str, str]:
    return {
        "model": str(predictor.name),
        "model_version": str(predictor.version),
        "model_sha256": str(predictor.sha256),
    }


def _plain(labels: Any) -> str | list[str]:
    return [str(label) for label in labels] if isinstance(labels, list) else str(labels)


def _version() -> str:
    from cdn_sc import __version__

    return __version__
