"""`cdn_sc.datasets.synthetic`: the authors' synthetic test set."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cdn_sc.datasets._pairs import PublishedPairs, dress
from cdn_sc.datasets._splits import splits
from cdn_sc.datasets._store import ArrayStore, open_values, read_values
from cdn_sc.errors import InputError, MissingNameError, did_you_mean
from cdn_sc.simulate.pair import Pair

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

_FILES = ["fp_data", "fp_graph", "fp_regime"]
Regimes = dict[tuple[int, ...], np.ndarray]


def synthetic(
    *,
    setting: str | Iterable[str] | None = None,
    n_datasets: int | None = None,
    folder: str | PathLike[str] | None = None,
) -> PublishedPairs:
    """Load the published synthetic test set: 48 settings, 5 data sets each, a pair for every intervention.

    Parameters
    ----------
    setting
        One setting or several, such as ``p10_e10_n30000_linear_soft_shift`` (10 genes, 10 expected edges,
        30,000 rows, mechanism, intervention). By default all 48.
    n_datasets
        Only the first so many data sets of each setting.
    folder
        As of :func:`~cdn_sc.datasets.perturbseq`.

    Returns
    -------
    A sequence of :class:`~anndata.AnnData`, rows x variables, one for every data set and set of variables
    that were intervened on together. The length is known after the first question for it, which reads the
    interventions of all data sets.

    `adata.X` : array (float32)
        Observational rows of the data set, then those of the intervention.
    `adata.obs['condition']` : categorical
        `control` for observational, `perturbed` for interventional rows.
    `adata.var['is_target']` : bool
        True for the variables intervened on, 1 to 3. Variables are called `gene_0`, `gene_1`, ...
    `adata.varp['graph']` : array (bool)
        The true graph as the archive has it.
    `adata.uns` : dict
        `perturbation` and `gene` (the targets, joined by commas), `cluster` (-1), `split` (`test`),
        `setting`, `mechanism`, `intervention`, `dataset` (number of the data set in its setting) and
        `data_set`.

    Raises
    ------
    MissingNameError
        If there is no such setting.
    DownloadError
        If a file cannot be fetched: at the call for the split, later for the values.

    See Also
    --------
    cdn_sc.simulate.scm240 : the same settings, generated afresh.

    Notes
    -----
    Wu et al. 2025 (arXiv:2410.03380), section 5.
    """
    table = splits("synthetic")
    if setting is not None:
        asked = [setting] if isinstance(setting, str) else list(setting)
        known = set(table["setting"])
        if unknown := [name for name in asked if name not in known]:
            raise MissingNameError(
                f"there is no setting {unknown[0]!r}. {did_you_mean(unknown[0], sorted(known))}"
            )
        table = table[table["setting"].isin(asked)]
    if n_datasets is not None:
        if n_datasets < 1:
            raise InputError(f"n_datasets={n_datasets}, but at least 1 is needed.")
        table = table[table.groupby("setting").cumcount() < n_datasets]
    return SyntheticPairs(table, folder)


class SyntheticPairs(PublishedPairs):
    """Pairs of the synthetic test set.

    Parameters
    ----------
    table
        Rows of its split, one for every data set.
    folder
        As of :class:`~cdn_sc.datasets._store.ArrayStore`.
    """

    name = "synthetic"

    def __init__(self, table: pd.DataFrame, folder: str | PathLike[str] | None = None) -> None:
        self.table = table.reset_index(drop=True)
        self._store = ArrayStore([path for column in _FILES for path in self.table[column]], folder)
        self._places: list[tuple[int, int]] | None = None  # of each pair: data set, intervention
        self._kept: _DataSet | None = None

    def __len__(self) -> int:
        return len(self._all_places())

    def _all_places(self) -> list[tuple[int, int]]:
        if self._places is None:
            self._places = [
                (row, regime)
                for row in range(len(self.table))
                for regime in range(self._n_interventions(row))
            ]
        return self._places

    def _n_interventions(self, row: int) -> int:
        (path,) = self._store.paths([self.table["fp_regime"][row]])
        return len(_read_regimes(path)) - 1

    def _part(self, chosen: slice) -> SyntheticPairs:
        part = SyntheticPairs(self.table)
        part._store = self._store
        part._places = self._all_places()[chosen]
        return part

    def iterate(self) -> Iterator[Pair]:
        """Go through all pairs in order, as :class:`cdn_sc.simulate.Pair`."""
        if self._places is not None:
            yield from super().iterate()
            return
        for row in range(len(self.table)):  # without counting them all first
            for regime in range(len(self._data_set(row).regimes) - 1):
                yield self._data_set(row).pair(regime)

    def pair(self, number: int) -> Pair:
        """Return one pair by its number, counted from 0, as :class:`cdn_sc.simulate.Pair`."""
        row, regime = self._all_places()[number]
        return self._data_set(row).pair(regime)

    def _data_set(self, row: int) -> _DataSet:
        kept = self._kept
        if kept is None or kept.row != row:
            kept = self._kept = _DataSet(row, self.table.iloc[row], self._store)
        return kept

    def _adata(self, pair: Pair) -> AnnData:
        names = [f"gene_{number}" for number in range(pair.control.shape[1])]
        targets = ",".join(names[target] for target in pair.targets)
        known = {
            key: pair.attributes[key] for key in ("split", "setting", "mechanism", "intervention", "dataset")
        }
        uns = {"perturbation": targets, "gene": targets, "cluster": -1, **known, "data_set": self.name}
        adata = dress(pair, names, uns)
        adata.varp["graph"] = pair.graph
        return adata

    def __repr__(self) -> str:
        n_pairs = "pairs" if self._places is None else f"{len(self)} pairs"
        return (
            f"synthetic: {n_pairs} of observational and interventional rows, each an AnnData\n"
            f"    data sets: {len(self.table)} of {self.table['setting'].nunique()} settings"
        )


class _DataSet:
    """One data set: its observational rows, and where the others are."""

    def __init__(self, row: int, facts: Any, store: ArrayStore) -> None:
        self.row, self._facts = row, facts
        self._path, graph_path, regime_path = store.paths([facts[column] for column in _FILES])
        self._values = open_values(self._path)
        n_rows, n_genes = self._values.shape
        self.regimes = _read_regimes(regime_path)
        n_lines = sum(map(len, self.regimes.values()))
        if n_lines != n_rows:
            raise InputError(f"{regime_path} has {n_lines} lines and {self._path} {n_rows} rows.")
        self._sets = sorted(targets for targets in self.regimes if targets)
        if self._sets and max(map(max, self._sets)) >= n_genes:
            raise InputError(f"{regime_path} names variables that {self._path} does not have.")
        self._graph = np.asarray(open_values(graph_path)) != 0
        if self._graph.shape != (n_genes, n_genes):
            raise InputError(f"{graph_path} is {self._graph.shape}, and the data has {n_genes} variables.")
        self._control = read_values(self._values, self._path, self.regimes[()])

    def pair(self, regime: int) -> Pair:
        """Pair of one intervention."""
        targets, facts = self._sets[regime], self._facts
        attributes: dict[str, str | int | float] = {
            "group": f"{facts['setting']}/{facts['number']}/{','.join(map(str, targets))}",
            **{key: str(facts[key]) for key in ("setting", "mechanism", "intervention", "split")},
            **{key: int(facts[key]) for key in ("genes", "edges")},
            "dataset": int(facts["number"]),
            "regime": regime + 1,
            "network": f"{facts['setting']}/{facts['number']}",
        }
        perturbed = read_values(self._values, self._path, self.regimes[targets])
        return Pair(self._control, perturbed, np.array(targets), attributes, self._graph)


def _read_regimes(path: Path) -> Regimes:
    """Variables that were intervened on -> numbers of the rows; () for the observational rows."""
    try:
        lines = path.read_text(encoding="ascii").splitlines()
        # there are few different lines among ten thousands
        distinct = {line: _targets(line) for line in set(lines)}
    except (OSError, ValueError) as error:
        raise InputError(f"{path} holds something else than numbers and commas ({error}).") from error
    sets = sorted(set(distinct.values()))
    codes = {targets: code for code, targets in enumerate(sets)}
    row_codes = np.array([codes[distinct[line]] for line in lines], dtype=np.int64)
    regimes = {targets: np.flatnonzero(row_codes == code) for targets, code in codes.items()}
    if () not in regimes or any(target < 0 for targets in regimes for target in targets):
        raise InputError(f"{path} has no observational rows (empty lines), or negative numbers.")
    return regimes


def _targets(line: str) -> tuple[int, ...]:
    return tuple(sorted({int(part) for part in line.split(",")})) if line.strip() else ()
