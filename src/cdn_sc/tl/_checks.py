"""Checks of the values: finite, of the right type, not counts, and on which scale."""

import warnings
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
from anndata import AnnData

from cdn_sc._labels import check_can_be_written
from cdn_sc.errors import CountsError, InputError
from cdn_sc.tl._expression import Expression, extremes, is_sparse

_ROWS_AT_ONCE = 4096
# log1p of anything that a sequencer counts stays far below this; expm1 of it does not overflow.
_LARGEST_LOG_VALUE = 30.0
# Squares of these, and sums of them, stay finite in single precision.
LARGEST_VALUE = 1e15


@dataclass(frozen=True)
class Scan:
    """What one pass over the values of the cells in use found."""

    minimum: float
    maximum: float
    all_integers: bool
    standardised: bool


def looks_logarithmic(minimum: float, maximum: float, log_scale: float = 1.0) -> bool:
    """Return whether values of this range can be log1p, so that undoing it gives log fold changes.

    Parameters
    ----------
    minimum, maximum
        The range.
    log_scale
        What makes the values natural logarithms: see :class:`Expression`.
    """
    return minimum >= 0 and maximum * log_scale <= _LARGEST_LOG_VALUE


def check_shape(adata: AnnData, expression: Expression) -> None:
    """Raise if there are no cells or genes, or if their names repeat or cannot be written."""
    n_cells, n_genes = expression.shape
    if n_cells == 0 or n_genes == 0:
        raise InputError(f"{expression.name} is empty: it has {n_cells} cells and {n_genes} genes.")
    for names, what, fix in (
        (adata.obs_names, "adata.obs_names", "adata.obs_names_make_unique()"),
        (expression.var_names, expression.place.names, expression.place.make_names_unique()),
    ):
        if not names.is_unique:
            repeated = names[names.duplicated()].unique()
            raise InputError(
                f"{what} has names that repeat ({len(repeated)}, the first is {str(repeated[0])!r}). "
                f"Make them unique, for example with{_as_lines(fix)}"
            )
    check_can_be_written(map(str, expression.var_names), f"{expression.place.names}: the name")


def _as_lines(code: str) -> str:
    return f"\n{code}" if "\n" in code else f" {code}."


def check_type(expression: Expression, *, allow_counts: bool) -> None:
    """Raise if the values are of a type that log-normalised expression does not have."""
    kind = expression.dtype.kind
    if kind in "iub" and not allow_counts:
        raise CountsError(
            f"{expression.name} is of type {expression.dtype}: these look like counts, and log-normalised "
            f"floats are wanted. Run\n{expression.place.normalise()}\nfirst, or pass allow_counts=True if it "
            "is meant so."
        )
    if kind not in "iubf":
        raise InputError(
            f"{expression.name} is of type {expression.dtype}, and floats are wanted: convert it with "
            + expression.place.convert("astype('float32')")
        )


def scan_values(adata: AnnData, expression: Expression, cells: np.ndarray, *, allow_counts: bool) -> Scan:
    """Go once over the values of the cells in use, and raise or warn about what is wrong with them.

    Parameters
    ----------
    adata
        The object, for the hints it holds that its values were scaled.
    expression
        The values.
    cells
        Row numbers of all cells of the control and of the groups, increasing.
    allow_counts
        Whether whole numbers are welcome.

    Returns
    -------
    What was found.
    """
    scan = _scan(expression, cells)
    if scan.all_integers and scan.minimum >= 0 and scan.maximum > 0 and not allow_counts:
        raise CountsError(
            f"{expression.name} holds whole numbers only (up to {scan.maximum:g}): these look like counts, "
            f"and log-normalised expression is wanted. Run\n{expression.place.normalise()}\nfirst, or pass "
            "allow_counts=True if it is meant so."
        )
    if scan.minimum < 0:
        scaled = "log1p" in adata.uns or {"mean", "std"} <= set(expression.var.columns) or scan.standardised
        if scaled:
            warnings.warn(
                f"{expression.name} has negative values (down to {scan.minimum:g}) and looks like scaled "
                "or centred expression. The models were made for log-normalised expression without scaling: "
                "name it in layer= or use_raw= if you have it. Log fold changes of comparisons with such "
                "values are differences of means.",
                stacklevel=3,
            )
    elif not looks_logarithmic(scan.minimum, scan.maximum, expression.log_scale):
        warnings.warn(
            f"{expression.name} has values up to {scan.maximum:g}, which do not look logarithmic "
            "(sc.pp.log1p). Log fold changes of comparisons with such values are differences of means.",
            stacklevel=3,
        )
    return scan


def _scan(expression: Expression, cells: np.ndarray) -> Scan:
    n_genes = expression.shape[1]
    minimum, maximum, all_integers = np.inf, -np.inf, True
    failure: OSError | None = None
    total, squares, n_summed = np.zeros(n_genes), np.zeros(n_genes), 0
    for start in range(0, len(cells), _ROWS_AT_ONCE):
        chunk_cells = cells[start : start + _ROWS_AT_ONCE]
        try:
            chunk = expression.rows(chunk_cells)
        except OSError as error:  # the groups of these cells are skipped, once they are read
            failure = error
            continue
        low, high = extremes(chunk)
        if not (np.isfinite(low) and np.isfinite(high)):
            _raise_not_finite(expression, chunk, chunk_cells)
        minimum, maximum = min(minimum, low), max(maximum, high)
        if all_integers:
            values = chunk.data if is_sparse(chunk) else chunk
            all_integers = bool((values == np.floor(values)).all())
        if minimum < 0:
            n_summed += len(chunk_cells)
            # A gene with values so large is not standardised, whatever becomes of the sums.
            with np.errstate(over="ignore", invalid="ignore"):
                total += np.asarray(chunk.sum(axis=0, dtype=np.float64)).ravel()
                squared = chunk.multiply(chunk) if is_sparse(chunk) else np.square(chunk)
                squares += np.asarray(squared.sum(axis=0, dtype=np.float64)).ravel()
    if failure is not None and maximum < minimum:
        raise failure
    return Scan(minimum, maximum, all_integers, _standardised(total, squares, max(n_summed, 1)))


def _standardised(total: np.ndarray, squares: np.ndarray, n_cells: int) -> bool:
    """Return whether most genes have a mean near 0 and a standard deviation near 1."""
    mean = total / n_cells
    with np.errstate(over="ignore", invalid="ignore"):
        deviation = np.sqrt(np.maximum(squares / n_cells - mean**2, 0))
    return bool(np.mean((np.abs(mean) < 0.2) & (deviation > 0.7) & (deviation < 1.2)) > 0.5)


def _raise_not_finite(expression: Expression, chunk: Any, cells: np.ndarray) -> NoReturn:
    values = chunk.tocoo() if is_sparse(chunk) else chunk
    if is_sparse(chunk):
        bad = ~np.isfinite(values.data)
        rows, columns, found = values.row[bad], values.col[bad], values.data[bad]
    else:
        rows, columns = np.nonzero(~np.isfinite(values))
        found = values[rows, columns]
    raise InputError(
        f"{expression.name} holds NaN or infinite values ({len(found)} or more; one is {found[0]} in row "
        f"{cells[rows[0]]}, gene {str(expression.var_names[columns[0]])!r}). Remove those cells or genes, or "
        "set the values."
    )
