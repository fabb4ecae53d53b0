"""The published split files: which pairs there are, what was hit, and who is for training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cdn_sc.datasets._download import RemoteFile, fetch
from cdn_sc.errors import InputError, MissingNameError, did_you_mean

if TYPE_CHECKING:
    import pandas as pd

RAW = "https://raw.githubusercontent.com/rmwu/cdn/14fa0aa66428252924f19f01ea2389acdf789fb4/data"
PAGE = "https://github.com/rmwu/cdn/tree/14fa0aa66428252924f19f01ea2389acdf789fb4/data"
HELD_OUT = ("hepg2", "jurkat", "k562", "rpe1")

#: Name of a split -> its published file.
FILES = {
    "seen": "perturbseq.csv",
    **{f"unseen-{line}": f"perturbseq_{line}.csv" for line in HELD_OUT},
    "sciplex": "sciplex.csv",
    "synthetic": "test_240.csv",
}
REGISTRY = {
    "perturbseq.csv": "sha256:7f0d9797a5f73dc2ca78293c4909226777608811003917eaf284b3eea95f8c09",
    "perturbseq_hepg2.csv": "sha256:bcc019bb7f5ee551f7cae23d50c9fce6e6e0fef2eab24c936f345c5ad3c6f246",
    "perturbseq_jurkat.csv": "sha256:8706f7b600baf725d3d23730c8aa97310559c6f563d9a84ad54612fabf69f2bd",
    "perturbseq_k562.csv": "sha256:a0815812ead0f2494b3c3f1fd8af91c77e6bfbac5d101770292c12bc93b5c974",
    "perturbseq_rpe1.csv": "sha256:eac186a4bb5151b1aefff5ae1aedecaf5c19463d62d87c37f0b1adfdc2b3ec02",
    "sciplex.csv": "sha256:ce18b9e7205655c2b7e95520ba24f55247d147e11234aa8b2f7abef38f330414",
    "test_240.csv": "sha256:30f715705afa153ad2a81e1a17cc35abf881c9ac53ebd1caebc1636f281fac6f",
}
_NUMBERS = {"cluster": "int64", "label": "int64"}
_CELLS = r"data/single_cell/(?P<cell_line>[A-Za-z0-9_]+)/data_interv-[^/\\:]+\.npy"
_SYNTHETIC = (
    r"data/synthetic/(?P<setting>p(?P<genes>\d+)_e(?P<edges>\d+)_n\d+_"
    r"(?P<mechanism>\w+?)_(?P<intervention>(?:structural|soft)_\w+))/data_interv(?P<number>\d+)\.npy"
)


def splits(name: str = "seen", *, validation: bool = False) -> pd.DataFrame:
    """Load a published split: one row for every pair, or for every synthetic data set.

    The file is fetched once, checked against its known SHA-256 and kept in
    `cdn_sc.settings.dataset_dir`, in ``splits``.

    Parameters
    ----------
    name
        `seen` (Perturb-seq, perturbations held out in every cell line), `unseen-hepg2`, `unseen-jurkat`,
        `unseen-k562`, `unseen-rpe1` (Perturb-seq, that cell line held out), `sciplex` or `synthetic`. The
        names of the published files, such as `perturbseq_k562.csv`, do as well.
    validation
        Whether training rows at every tenth place of the file (the first row, the eleventh, ...) get the
        split `val`. The published files have no such rows; the authors' training code sets these apart in
        this way.

    Returns
    -------
    The columns of the file in their order, and what its paths say:

    `pert`, `name` (str), `cluster` (int64), `split` (str), `fp_data` (str), `label` (int64)
        Perturb-seq: Ensembl identifier and name of the target, cluster of its effect, path of the perturbed
        cells in the archive, place of the target among the pair's genes. Sci-Plex has no cluster, and the
        drug in `name`.
    `fp_data`, `fp_graph`, `fp_regime`, `split` (str)
        Synthetic: paths of the values, the graph and the interventions.
    `cell_line`, `fp_control` (str)
        Perturb-seq and Sci-Plex: the folder of the archive, and the path of the control cells.
    `setting`, `mechanism`, `intervention` (str), `genes`, `edges`, `number` (int64)
        Synthetic: the folder of the archive and what its name says, and the number of the data set in it.

    Raises
    ------
    MissingNameError
        If there is no such split.
    DownloadError
        If the file is not on this machine and cannot be fetched.

    Notes
    -----
    Wu et al. 2025 (arXiv:2410.03380), section 5; files of https://github.com/rmwu/cdn.
    """
    file = _file_name(name)
    table = _read(split_file(file))
    if validation:
        table.loc[(table.index % 10 == 0) & (table["split"] == "train"), "split"] = "val"
    return table


def _file_name(name: str) -> str:
    by_name = FILES | {file: file for file in REGISTRY} | {file[: -len(".csv")]: file for file in REGISTRY}
    if not isinstance(name, str) or name not in by_name:
        raise MissingNameError(f"there is no published split {name!r}. {did_you_mean(name, FILES)}")
    return by_name[name]


def split_file(file: str) -> RemoteFile:
    """Return what is needed to fetch a split file."""
    return RemoteFile(f"splits/{file}", (f"{RAW}/{file}",), REGISTRY[file], f"{PAGE}/{file}")


def _read(file: RemoteFile) -> pd.DataFrame:
    import pandas as pd

    path = fetch(file)
    # genes may have names that pandas would take for missing values
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    table = table.astype({column: kind for column, kind in _NUMBERS.items() if column in table})
    if "fp_graph" in table:
        facts = table["fp_data"].str.extract(f"^{_SYNTHETIC}$")
        facts = facts[["setting", "mechanism", "intervention", "genes", "edges", "number"]]
    else:
        facts = table["fp_data"].str.extract(f"^{_CELLS}$")
        facts["fp_control"] = table["fp_data"].str.replace("/data_interv", "/data", regex=False)
    if facts.isna().any(axis=None):
        odd = table["fp_data"][facts.isna().any(axis=1)].iloc[0]
        raise InputError(f"{path} holds the path {odd!r}, which is none of the published layout.")
    numbers = [column for column in ("genes", "edges", "number") if column in facts]
    return pd.concat([table, facts.astype(dict.fromkeys(numbers, "int64"))], axis=1)
