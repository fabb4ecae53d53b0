"""Whether values are counts."""

from typing import Any

import numpy as np
from scipy import sparse

_ROWS_AT_ONCE, _VALUES_AT_ONCE = 4096, 1 << 22


def are_counts(values: Any) -> bool:
    """Return whether all values are whole numbers of at least 0, some above 0, whatever their type.

    Parameters
    ----------
    values
        Cells x genes, a numpy array or a scipy sparse matrix or array.
    """
    stored: np.ndarray = values.data if bool(sparse.issparse(values)) else np.asarray(values)
    if stored.dtype.kind not in "biuf":
        return False
    step = _ROWS_AT_ONCE if stored.ndim > 1 else _VALUES_AT_ONCE
    some = False
    for start in range(0, len(stored), step):
        part = stored[start : start + step]
        if part.dtype.kind == "f" and not (np.isfinite(part) & (part == np.floor(part))).all():
            return False
        if (part < 0).any():
            return False
        some = some or bool(part.any())
    return some
