"""Guides, antibodies and hashtags among the genes, which give the answer away."""

import re
import warnings

import numpy as np

from cdn_sc._labels import column_of
from cdn_sc.tl._expression import Expression
from cdn_sc.tl._groups import Arms

# The column that files of 10x Genomics have, and what it says of genes and of other harmless features.
_TYPES, _GENE, _HARMLESS = "feature_types", "Gene Expression", ("Gene Expression", "Peaks")
_NAME = re.compile(
    r"sg[A-Z0-9]|(?i:(.*[-_. ])?(s?gRNA|crRNA|protospacer)([-_. \d].*)?$"
    r"|.*TotalSeq|(HTO|hashtag)[-_. ]?\w?\d)"
)
_NUMBER_OF_GUIDE = re.compile(r"[-_.](sg|g|gRNA|sgRNA)?\d+$")


def warn_of_guides(expression: Expression, mask: np.ndarray | None, arms: Arms) -> None:
    """Warn if features that are scored are, by their type or name, no genes but what tells the groups apart.

    Parameters
    ----------
    expression
        Has the names of the features, and what their columns say.
    mask
        Those that are scored; None: all.
    arms
        Labels of the cells.

    Warns
    -----
    UserWarning
        Once, with their number and some names.
    """
    suspects = _other_types(expression) | _named_as_guides(expression, arms)
    if mask is not None:
        suspects &= mask
    if not suspects.any():
        return
    number = int(suspects.sum())
    some = ", ".join(repr(str(name)) for name in expression.var_names[suspects][:5])
    warnings.warn(
        f"{number} of the {expression.shape[1]} features of {expression.name} seem to be guides, antibodies "
        f"or hashtags, not genes ({some}{' and others' if number > 5 else ''}): they tell the groups apart "
        "by themselves and come first in the ranking. Score the genes alone, with mask_var=.",
        stacklevel=3,
    )


def _other_types(expression: Expression) -> np.ndarray:
    """Features that are no genes by the column of their types."""
    none = np.zeros(expression.shape[1], dtype=bool)
    if _TYPES not in expression.var.columns:
        return none
    types = column_of(expression.var, _TYPES, "var").astype(object)
    if not (types == _GENE).any():
        return none
    return (types.notna() & ~types.isin(_HARMLESS)).to_numpy(dtype=bool)


def _named_as_guides(expression: Expression, arms: Arms) -> np.ndarray:
    """Features with names that guides have: a pattern, that of the control, or a gene's with a number.

    A label that is the name of a gene is no sign: that is how targets are usually named.
    """
    names = expression.var_names.astype(str)
    genes, labels = set(names), {*arms.control_labels, *arms.conditions}
    return np.array(
        [
            _NAME.match(name) is not None
            or name in arms.control_labels
            or (name in labels and (stem := _NUMBER_OF_GUIDE.sub("", name)) != name and stem in genes)
            for name in names
        ],
        dtype=bool,
    )
