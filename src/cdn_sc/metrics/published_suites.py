"""Suites of the published tables: the authors' pairs and splits, from `cdn_sc.datasets`."""

from collections.abc import Iterator, Mapping
from os import PathLike
from typing import Any

from cdn_sc.metrics.suites import register_suite
from cdn_sc.simulate.pair import Pair


def _perturbseq(options: Mapping[str, Any]) -> Any:
    from cdn_sc.datasets import perturbseq

    # the authors' validation rows exist in their training code alone
    return perturbseq(**options, validation=options["split"] == "val")


def _sciplex(options: Mapping[str, Any]) -> Any:
    from cdn_sc.datasets import sciplex

    return sciplex(**options)


@register_suite("perturbseq", n_pairs=lambda options: len(_perturbseq(options)))
def perturbseq_suite(
    *,
    cell_line: str | tuple[str, ...] | None = None,
    split: str = "test",
    held_out: str | None = None,
    folder: str | PathLike[str] | None = None,
) -> Iterator[Pair]:
    """Published Perturb-seq pairs: see :func:`cdn_sc.datasets.perturbseq`.

    Parameters
    ----------
    cell_line, held_out, folder
        Passed on.
    split
        `test`, `train`, or `val` for the authors' validation rows.
    """
    options = {"cell_line": cell_line, "split": split, "held_out": held_out, "folder": folder}
    yield from _perturbseq(options).as_pairs()


@register_suite("sciplex", n_pairs=lambda options: len(_sciplex(options)))
def sciplex_suite(
    *, cell_line: str | tuple[str, ...] | None = None, folder: str | PathLike[str] | None = None
) -> Iterator[Pair]:
    """Published Sci-Plex pairs: see :func:`cdn_sc.datasets.sciplex`.

    Parameters
    ----------
    cell_line, folder
        Passed on.
    """
    yield from _sciplex({"cell_line": cell_line, "folder": folder}).as_pairs()


@register_suite("synthetic")
def synthetic_suite(
    *,
    setting: str | tuple[str, ...] | None = None,
    n_datasets: int | None = None,
    folder: str | PathLike[str] | None = None,
) -> Iterator[Pair]:
    """Published synthetic test set: see :func:`cdn_sc.datasets.synthetic`.

    Parameters
    ----------
    setting, n_datasets, folder
        Passed on.
    """
    from cdn_sc.datasets import synthetic

    yield from synthetic(setting=setting, n_datasets=n_datasets, folder=folder).as_pairs()
