"""Sequences of published pairs, read when they are looked at."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from cdn_sc.datasets._store import ArrayStore, open_values, read_values
from cdn_sc.errors import InputError
from cdn_sc.simulate.pair import Pair

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData


class PublishedPairs(Sequence["AnnData"], ABC):
    """Published pairs of control and perturbed cells, each an AnnData that is made when it is looked at.

    What :func:`~cdn_sc.datasets.perturbseq`, :func:`~cdn_sc.datasets.sciplex` and
    :func:`~cdn_sc.datasets.synthetic` return. Knows its length, takes a number or a slice, and can be gone
    through any number of times; it holds the values of one pair, and control cells are read once for pairs in
    a row that share them.

    Attributes
    ----------
    name
        Name of the data set.
    table
        The rows of the split that the pairs come from, as :func:`~cdn_sc.datasets.splits` gives them.
    """

    name: str
    table: pd.DataFrame

    def as_pairs(self) -> PairView:
        """Return the same pairs as :class:`cdn_sc.simulate.Pair`: what evaluation and training take.

        Returns
        -------
        A sequence that reads each pair when it is looked at. Pairs in a row with the same control cells share
        one array. Attributes: `group`, `gene`, `name`, `cell_line`, `split`, `cluster`, `kind` (Perturb-seq,
        Sci-Plex); `group`, `setting`, `mechanism`, `intervention`, `split`, `genes`, `edges`, `dataset`,
        `regime`, `network`, and the graph (synthetic).
        """
        return PairView(self)

    @abstractmethod
    def pair(self, number: int) -> Pair:
        """Return one pair by its number, counted from 0, as :class:`cdn_sc.simulate.Pair`."""

    @abstractmethod
    def _adata(self, pair: Pair) -> AnnData:
        """Dress a pair."""

    @abstractmethod
    def _part(self, chosen: slice) -> PublishedPairs:
        """Some of the pairs."""

    def iterate(self) -> Iterator[Pair]:
        """Go through all pairs in order, as :class:`cdn_sc.simulate.Pair`."""
        return (self.pair(number) for number in range(len(self)))

    @overload
    def __getitem__(self, number: int) -> AnnData: ...
    @overload
    def __getitem__(self, number: slice) -> PublishedPairs: ...
    def __getitem__(self, number: int | slice) -> AnnData | PublishedPairs:
        if isinstance(number, slice):
            return self._part(number)
        return self._adata(self.pair(checked_number(number, len(self))))

    def __iter__(self) -> Iterator[AnnData]:
        return (self._adata(pair) for pair in self.iterate())


class PairView(Sequence[Pair]):
    """Published pairs as plain arrays; see :meth:`PublishedPairs.as_pairs`."""

    def __init__(self, pairs: PublishedPairs) -> None:
        self._pairs = pairs

    def __len__(self) -> int:
        return len(self._pairs)

    @overload
    def __getitem__(self, number: int) -> Pair: ...
    @overload
    def __getitem__(self, number: slice) -> PairView: ...
    def __getitem__(self, number: int | slice) -> Pair | PairView:
        if isinstance(number, slice):
            return PairView(self._pairs[number])
        return self._pairs.pair(checked_number(number, len(self)))

    def __iter__(self) -> Iterator[Pair]:
        return self._pairs.iterate()

    def __repr__(self) -> str:
        return f"{self._pairs!r}\nas cdn_sc.simulate.Pair"


def checked_number(number: int, length: int) -> int:
    """Return the number of a pair, counted from the front."""
    position = number.__index__()
    if not -length <= position < length:
        raise IndexError(f"there is no pair {number}: there are {length}")
    return position % length


class SingleCellPairs(PublishedPairs):
    """Pairs of Perturb-seq or Sci-Plex.

    Parameters
    ----------
    name
        Name of the data set.
    table
        Rows of its split.
    folder
        As of :class:`~cdn_sc.datasets._store.ArrayStore`.
    kind
        What the perturbations do.
    """

    def __init__(self, name: str, table: pd.DataFrame, *, folder: Any = None, kind: str) -> None:
        self.name, self.table = name, table.reset_index(drop=True)
        self._folder, self._kind = folder, kind
        self._store = ArrayStore([*self.table["fp_control"], *self.table["fp_data"]], folder)
        self._kept: tuple[Path, np.ndarray] | None = None

    def __len__(self) -> int:
        return len(self.table)

    def _part(self, chosen: slice) -> SingleCellPairs:
        return SingleCellPairs(self.name, self.table.iloc[chosen], folder=self._folder, kind=self._kind)

    def pair(self, number: int) -> Pair:
        """Return one pair by its number, counted from 0, as :class:`cdn_sc.simulate.Pair`."""
        row: Any = self.table.iloc[number]
        control_path, perturbed_path = self._store.paths([row["fp_control"], row["fp_data"]])
        control = self._control(control_path)
        perturbed = read_values(open_values(perturbed_path), perturbed_path)
        if control.shape[1] != perturbed.shape[1]:
            raise InputError(
                f"{control_path} has {control.shape[1]} genes and {perturbed_path} {perturbed.shape[1]}; "
                "the cells of a pair have the same."
            )
        label = int(row["label"])
        if not 0 <= label < control.shape[1]:
            raise InputError(
                f"{perturbed_path} has {control.shape[1]} genes, but its target is number {label}, from 0."
            )
        attributes: dict[str, str | int | float] = {
            "group": str(row["name"]),
            "gene": str(row["pert"]),
            "name": str(row["name"]),
            "cell_line": str(row["cell_line"]),
            "split": str(row["split"]),
            "cluster": int(row.get("cluster", -1)),
            "kind": self._kind,
        }
        return Pair(control, perturbed, np.array([label]), attributes)

    def _control(self, path: Path) -> np.ndarray:
        """Read control cells; the array of the last pair is used again where they are the same."""
        # held here: another thread may put a new one in its place meanwhile
        kept = self._kept
        if kept is not None and path.samefile(kept[0]):
            return kept[1]
        values = read_values(open_values(path), path)
        if kept is not None and np.array_equal(values, kept[1]):
            values = kept[1]
        self._kept = path, values
        return values

    def _adata(self, pair: Pair) -> AnnData:
        target, known = int(pair.targets[0]), pair.attributes
        names = [f"gene_{number}" for number in range(pair.control.shape[1])]
        names[target] = str(known["gene"])
        uns = {
            "perturbation": known["name"],
            "gene": known["gene"],
            "cluster": known["cluster"],
            "split": known["split"],
            "cell_line": known["cell_line"],
            "kind": known["kind"],
            "data_set": self.name,
        }
        return dress(pair, names, uns)

    def __repr__(self) -> str:
        parts = [f"{self.name}: {len(self)} pairs of control and perturbed cells, each an AnnData"]
        for column in ("cell_line", "split"):
            counts = self.table[column].value_counts(sort=False)
            parts.append(f"    {column}: " + ", ".join(f"{key} {count}" for key, count in counts.items()))
        return "\n".join(parts)


def dress(pair: Pair, gene_names: list[str], uns: dict[str, Any]) -> AnnData:
    """Make an AnnData of a pair: control cells, then perturbed cells."""
    import pandas as pd
    from anndata import AnnData

    n_control, n_perturbed = len(pair.control), len(pair.perturbed)
    is_target = np.zeros(len(gene_names), dtype=bool)
    is_target[pair.targets] = True
    condition = pd.Categorical.from_codes(
        np.repeat([0, 1], [n_control, n_perturbed]), pd.Index(["control", "perturbed"])
    )
    cells = [
        *(f"control_{number}" for number in range(n_control)),
        *(f"perturbed_{number}" for number in range(n_perturbed)),
    ]
    return AnnData(
        np.concatenate([pair.control, pair.perturbed]),
        obs=pd.DataFrame({"condition": condition}, index=cells),
        var=pd.DataFrame({"is_target": is_target}, index=gene_names),
        uns=uns,
    )
