"""Options of the sources of pairs: their names, and what values they take."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cdn_sc.simulate.perturbation import KINDS
from cdn_sc.simulate.scm import INTERVENTIONS, MECHANISMS

Check = tuple[str, Callable[[Any], bool]]

# A simulation holds several matrices of genes x genes and of cells x genes at once.
MOST_GENES, MOST_CELLS, MOST_VALUES = 5_000, 1_000_000, 100_000_000
_MOST_LISTED = 1_000


def _is_integer(value: Any, least: int, most: float = float("inf")) -> bool:
    return type(value) is int and least <= value <= most


def _is_number(value: Any, least: float = 0.0, most: float = float("inf")) -> bool:
    return type(value) in (int, float) and least <= value <= most


def _is_list(value: Any, fits: Callable[[Any], bool]) -> bool:
    return isinstance(value, list | tuple) and 0 < len(value) <= _MOST_LISTED and all(map(fits, value))


def _integer(least: int, most: int) -> Check:
    return (
        f"an integer of at least {least} and at most {most:,}",
        lambda value: _is_integer(value, least, most),
    )


def _integer_range(least: int, most: int) -> Check:
    def fits(value: Any) -> bool:
        integers = _is_list(value, lambda v: _is_integer(v, least, most))
        return integers and len(value) == 2 and value[0] <= value[1]

    return f"a range of two integers, the smaller one first and at least {least}, at most {most:,}", fits


def _number_range(value: Any) -> bool:
    numbers = _is_list(value, lambda v: _is_number(v, most=_MOST_LISTED))
    return numbers and len(value) == 2 and value[0] <= value[1]


def _frequencies(value: Any) -> bool:
    return _is_list(value, _is_number) and 0 < sum(value) < float("inf")


def _names(known: Sequence[str]) -> Check:
    return f"a list of names among {', '.join(known)}", lambda value: _is_list(value, lambda v: v in known)


_FREQUENCIES: Check = ("a list of relative frequencies", _frequencies)

_CHECKS: dict[str, dict[str, Check]] = {
    "scm": {
        "genes": _integer_range(2, MOST_GENES),
        "gene_choices": (
            f"a list of integers of at least 2, at most {MOST_GENES:,}",
            lambda value: _is_list(value, lambda v: _is_integer(v, 2, MOST_GENES)),
        ),
        "edges_per_gene": (
            f"a range of two numbers, the smaller one first and at least 0, at most {_MOST_LISTED:,}",
            _number_range,
        ),
        "mechanisms": _names(MECHANISMS),
        "interventions": _names(INTERVENTIONS),
        "n_control": _integer_range(2, MOST_CELLS),
        "n_perturbed": _integer_range(2, MOST_CELLS),
        "n_targets": _integer_range(1, MOST_GENES),
    },
    "screen": {
        "genes": _integer_range(5, MOST_GENES),
        "large": ("a share between 0 and 1", lambda value: _is_number(value, most=1.0)),
        "large_genes": _integer_range(5, MOST_GENES),
        "large_values": _integer(1, MOST_VALUES),
        "selected": ("a share between 0 and 1", lambda value: _is_number(value, most=1.0)),
        "contrasts": ("a share between 0 and 1", lambda value: _is_number(value, most=1.0)),
        "wide": ("a share between 0 and 1", lambda value: _is_number(value, most=1.0)),
        "samples": ("a share between 0 and 1", lambda value: _is_number(value, most=1.0)),
        "relations": ("a share between 0 and 1", lambda value: _is_number(value, most=1.0)),
        "groups": _integer(1, 1_000),
        "control_cells": _integer_range(2, MOST_CELLS),
        "values": _integer(1, MOST_VALUES),
        "n_perturbed": _integer_range(2, MOST_CELLS),
        "kinds": (
            f"a table of kinds, among {', '.join(KINDS)}, and their relative frequencies",
            lambda value: (
                isinstance(value, Mapping) and set(value) <= set(KINDS) and _frequencies(list(value.values()))
            ),
        ),
        "n_targets": _FREQUENCIES,
        "strength": ("a number of at least 0", _is_number),
        "hidden_share": ("a share between 0 and 1", lambda value: _is_number(value, most=1.0)),
    },
    "published": {
        "folder": ("the path of a folder", lambda value: isinstance(value, str)),
        "splits": ("the path of a csv file", lambda value: isinstance(value, str)),
    },
    "given": {},
}

SOURCE_OPTIONS = {source: tuple(checks) for source, checks in _CHECKS.items()}
"""The options of each type of source, see :mod:`cdn_sc.train.data`."""


def check_options(source: str, options: Mapping[str, Any]) -> None:
    """Check the names and values of a source's options.

    Parameters
    ----------
    source
        Type of the source, a key of ``SOURCE_OPTIONS``.
    options
        Name -> value.

    Raises
    ------
    ValueError
        If a name is unknown or a value cannot be used; names the option and what it takes.
    """
    for name, value in options.items():
        if name not in _CHECKS[source]:
            known = ", ".join(SOURCE_OPTIONS[source])
            raise ValueError(f"unknown option {name!r} of a source {source!r}; known: {known}")
        expected, fits = _CHECKS[source][name]
        if not fits(value):
            raise ValueError(f"option {name} = {value!r} of a source {source!r}; expected {expected}")
    sizes = (options.get(name, ()) for name in ("genes", "gene_choices", "large_genes"))
    genes = max((genes for some in sizes for genes in some), default=0)
    for name, place in (("n_control", 1), ("n_perturbed", 1), ("control_cells", 0)):
        cells = options[name][place] if name in options else 0
        if genes * cells > MOST_VALUES:
            raise ValueError(
                f"option {name} of a source {source!r} asks for {cells:,} cells of {genes:,} genes; at most "
                f"{MOST_VALUES:,} values are simulated at once"
            )
