"""Which groups have a known target to learn from."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from cdn_sc._labels import LabelIndex, as_genes, is_missing, label_name
from cdn_sc.errors import InputError, MissingNameError, did_you_mean
from cdn_sc.get._arguments import as_list


def known_targets(
    targets: Mapping[Any, Any] | None,
    groups: Sequence[str],
    var_names: pd.Index,
    where: str,
    labels: Sequence[str],
) -> dict[str, np.ndarray]:
    """Return the positions of the target genes of each group that has any.

    Parameters
    ----------
    targets
        Label -> gene or genes; empty, None or NaN where the target is not known. None: a group's label is
        its target.
    groups
        Labels of the groups.
    var_names
        Names of the genes.
    where
        What the labels are of, for messages.
    labels
        All labels there, also those that are no groups to learn from: a mapping may hold them.

    Returns
    -------
    Positions of genes, increasing, by group, in the order of the groups.

    Raises
    ------
    MissingNameError
        If the mapping has a label that is not there.
    InputError
        If the mapping is none, holds something else than names of genes, or no group has a target among the
        genes.

    Warns
    -----
    UserWarning
        Once, if groups are left out since their target is no gene of `var_names`.
    """
    named = _names(targets, groups, where, labels)
    found: dict[str, np.ndarray] = {}
    left_out = {}
    for group in groups:
        if group not in named:
            continue
        positions = var_names.get_indexer(pd.Index(named[group]))
        if (positions >= 0).any():
            found[group] = np.unique(positions[positions >= 0])
        if (positions < 0).any():
            left_out[group] = [n for n, position in zip(named[group], positions, strict=True) if position < 0]
    if not found:
        listed = (
            _some(groups) if targets is None else _some(gene for genes in named.values() for gene in genes)
        )
        raise InputError(
            f"no group has a known target among the {len(var_names)} genes: "
            f"{'labels' if targets is None else 'targets'} are {listed or 'none'}, genes are "
            f"{_some(var_names)}. Name the targets in targets={{label: gene}}, as in var_names."
        )
    if left_out:
        what = "labels are" if targets is None else "targets are"
        named_there = (
            _some(left_out)
            if targets is None
            else _some(f"{gene} ({group})" for group, genes in left_out.items() for gene in genes)
        )
        warnings.warn(
            f"left out, since their {what} no genes of var_names: {named_there}. {len(found)} groups are "
            "left.",
            stacklevel=3,
        )
    return found


def validation_labels(given: Iterable[object], groups: Iterable[str]) -> list[str]:
    """Return the names of the groups that are to validate.

    Raises
    ------
    InputError
        If a label is none of the groups, or there is no label.
    """
    index = LabelIndex(groups, "the groups")
    names = [(label, index.find(label)) for label in as_list(given, "validation")]
    for label, name in names:
        if name is None:
            raise InputError(f"validation names {label!r}, which is none of the groups.")
    return [name for _, name in names if name is not None]


def _names(
    targets: Mapping[Any, Any] | None, groups: Sequence[str], where: str, labels: Sequence[str]
) -> dict[str, list[str]]:
    """Names of the target genes by group; groups whose target is not known have no entry."""
    if targets is None:
        return {group: [group] for group in groups}
    if not isinstance(targets, Mapping | pd.Series):
        raise InputError(
            f"targets is a mapping of label to gene, or genes, such as {{'drug_A': 'EGFR'}}, not a "
            f"{type(targets).__name__}."
        )
    given, absent = LabelIndex(labels, where).by_name(targets)
    # cells with such labels are left out, whether or not the mapping knows them
    unknown = [label for label in absent if not is_missing(label_name(label))]
    if unknown:
        raise MissingNameError(
            f"{where} has no group {unknown[0]!r} (targets). {did_you_mean(unknown[0], labels)}"
        )
    genes = {group: as_genes(group, value) for group, value in given.items()}
    return {group: of_group for group, of_group in genes.items() if of_group and group in set(groups)}


def _some(names: Iterable[object], show: int = 20) -> str:
    listed = [repr(str(name)) for name in names]
    return ", ".join(listed[:show]) + (f" and {len(listed) - show} more" if len(listed) > show else "")
