"""`cdn_sc.datasets.perturbseq` and `sciplex`: the authors' pairs of real cells."""

from __future__ import annotations

from collections.abc import Iterable
from os import PathLike
from typing import TYPE_CHECKING

from cdn_sc.datasets._pairs import PublishedPairs, SingleCellPairs
from cdn_sc.datasets._splits import HELD_OUT, splits
from cdn_sc.errors import InputError, MissingNameError, did_you_mean

if TYPE_CHECKING:
    import pandas as pd

CELL_LINES = ("k562_gw", "k562_essential", "rpe1", "hepg2", "jurkat")
SCIPLEX_LINES = ("A172", "T98G")


def perturbseq(
    *,
    cell_line: str | Iterable[str] | None = None,
    split: str | None = None,
    held_out: str | None = None,
    validation: bool = False,
    folder: str | PathLike[str] | None = None,
) -> PublishedPairs:
    """Load the published Perturb-seq pairs: CRISPR interference in five screens, one target each.

    Nothing is read but the split; the cells of a pair are when it is looked at. The archive is fetched from
    figshare (article 29215766) the first time that a pair is not on this machine.

    Parameters
    ----------
    cell_line
        `k562_gw`, `k562_essential`, `rpe1`, `hepg2`, `jurkat`, several of them, or `k562` for its two
        screens. By default all.
    split
        `train`, `test`, or `val` with `validation`. By default all.
    held_out
        `hepg2`, `jurkat`, `k562`, `rpe1`: the split where the test pairs are those of this cell line. By
        default the split of seen cell lines, where every line has both training and test pairs.
    validation
        Set training rows apart as `val`, in the authors' way; see :func:`~cdn_sc.datasets.splits`.
    folder
        Folder with the unpacked archive. By default `cdn_sc.settings.dataset_dir`, and a download.

    Returns
    -------
    A sequence of :class:`~anndata.AnnData`, cells x genes, up to 1000 genes that differ from pair to pair:

    `adata.X` : array (float32)
        The archive's values, as they are. Neither the archive nor its splits say how they were made; the
        method is meant for log-normalised expression.
    `adata.obs['condition']` : categorical
        `control` or `perturbed`; control cells come first.
    `adata.var['is_target']` : bool
        True for the one gene that was hit. It has its Ensembl identifier for a name; the archive names no
        other gene, and these are called `gene_0`, `gene_1`, ... by their places.
    `adata.uns` : dict
        `perturbation` (name of the target), `gene` (its Ensembl identifier), `cluster` (of its effect, -1 if
        none), `split`, `cell_line`, `kind` (`knockdown`) and `data_set`.

    Raises
    ------
    MissingNameError
        If there is no such cell line, split or held-out cell line.
    DownloadError
        If a file cannot be fetched: at the call for the split, later for the cells.

    Notes
    -----
    Wu et al. 2025 (arXiv:2410.03380), section 5.

    Examples
    --------
    ::

        pairs = cdn_sc.datasets.perturbseq(cell_line="k562_gw", split="test")
        len(pairs)  # 678
        cdn_sc.tl.predict_targets(adata := pairs[0], groupby="condition", control="control")
    """
    if held_out is not None and held_out not in HELD_OUT:
        raise MissingNameError(f"no split holds out {held_out!r}. {did_you_mean(held_out, HELD_OUT)}")
    table = splits("seen" if held_out is None else f"unseen-{held_out}", validation=validation)
    lines = _lines(cell_line, CELL_LINES, {"k562": ("k562_gw", "k562_essential")})
    return SingleCellPairs("perturbseq", _chosen(table, lines, split), folder=folder, kind="knockdown")


def sciplex(
    *, cell_line: str | Iterable[str] | None = None, folder: str | PathLike[str] | None = None
) -> PublishedPairs:
    """Load the published Sci-Plex pairs: cells treated with drugs of known targets. All are for testing.

    Parameters
    ----------
    cell_line
        `A172`, `T98G` or both, the default.
    folder
        As of :func:`~cdn_sc.datasets.perturbseq`.

    Returns
    -------
    As of :func:`~cdn_sc.datasets.perturbseq`, with the name of the drug in `adata.uns['perturbation']` and
    the Ensembl identifier of its target in `adata.uns['gene']`; `kind` is `activity`, and `cluster` -1.

    Raises
    ------
    MissingNameError
        If there is no such cell line.
    DownloadError
        If a file cannot be fetched.

    Notes
    -----
    Wu et al. 2025 (arXiv:2410.03380), section 5.
    """
    table = _chosen(splits("sciplex"), _lines(cell_line, SCIPLEX_LINES, {}), None)
    return SingleCellPairs("sciplex", table, folder=folder, kind="activity")


def _lines(
    cell_line: str | Iterable[str] | None, known: tuple[str, ...], several: dict[str, tuple[str, ...]]
) -> list[str] | None:
    if cell_line is None:
        return None
    asked = [cell_line] if isinstance(cell_line, str) else list(cell_line)
    for line in asked:
        if line not in known and line not in several:
            raise MissingNameError(
                f"there is no cell line {line!r}. {did_you_mean(line, [*known, *several])}"
            )
    return [name for line in asked for name in several.get(line, (line,))]


def _chosen(table: pd.DataFrame, lines: list[str] | None, split: str | None) -> pd.DataFrame:
    """Rows of the cell lines and of the split, in the order of the file."""
    known = sorted(set(table["split"]))
    if split is not None and split not in ("train", "val", "test"):
        raise MissingNameError(f"there is no split {split!r}. {did_you_mean(split, known)}")
    if split is not None:
        table = table[table["split"] == split]
    if lines is not None:
        table = table[table["cell_line"].isin(lines)]
    if table.empty:
        more = " 'val' needs validation=True." if split == "val" and "val" not in known else ""
        raise InputError(f"no pair has split={split!r} and cell_line={lines}.{more}")
    return table
