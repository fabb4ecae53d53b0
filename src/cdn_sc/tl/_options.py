"""Options that only some models take."""

import warnings
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cdn_sc.errors import InputError

if TYPE_CHECKING:
    from cdn_sc.predictors import Predictor

MIN_DETECTION = 0.01
# Those of `predict_targets`: what nobody set calls for no warning.
_DEFAULTS = {
    "kind": "",
    "relations": "",
    "n_subsets": 50,
    "estimator": "fci",
    "test": "fisherz",
    "correlations": "screen",
}
_WHY = {
    "kind": "cannot be told the kind",
    "relations": "takes no relations",
    "correlations": "reads no correlations",
} | dict.fromkeys(("n_subsets", "estimator", "test"), "uses no local graphs")


def check_options(kind: str | None, estimator: str, test: str, correlations: str = "screen") -> None:
    """Raise if one of these is unknown, or the estimator does not have the test."""
    from cdn_sc.graphs.estimate import ESTIMATORS, TESTS
    from cdn_sc.predictors import KINDS

    for name, value, choices in (
        ("kind", kind, KINDS),
        ("estimator", estimator, ESTIMATORS),
        ("test", test, TESTS),
        ("correlations", correlations, ("screen", "control")),
    ):
        if value not in choices and not (name == "kind" and value is None):
            raise InputError(f"{name} is one of {', '.join(map(repr, choices))}, not {value!r}.")
    if estimator == "fci" and test != "fisherz":
        raise InputError(
            f"test={test!r} needs estimator='causal-learn': estimator='fci' has the test 'fisherz' alone."
        )


def options_with_effect(
    predictor: "Predictor",
    kind: str | None,
    n_subsets: int,
    estimator: str,
    test: str,
    correlations: str = "screen",
    relations: pd.DataFrame | None = None,
) -> dict[str, str | int]:
    """Return those options of models as they are recorded, and warn of those that were set to no effect."""
    most = predictor.max_subsets
    if most is not None and n_subsets > most:
        raise InputError(f"n_subsets={n_subsets}, but the model {predictor.name} takes {most} at most.")
    given: dict[str, str | int] = {
        "kind": kind or "",
        "n_subsets": int(n_subsets),
        "estimator": estimator,
        "test": test,
        "correlations": correlations,
        "relations": "" if relations is None else f"{len(relations)} entries",
    }
    ignored = [] if predictor.takes_kind else ["kind"]
    ignored += [] if predictor.uses_graphs else ["n_subsets", "estimator", "test"]
    ignored += [] if predictor.uses_correlations else ["correlations"]
    ignored += [] if predictor.takes_relations else ["relations"]
    set_in_vain = [name for name in ignored if given[name] != _DEFAULTS[name]]
    if set_in_vain:
        listed = ", ".join(f"{name}={given[name]!r}" for name in set_in_vain)
        why = " and ".join(dict.fromkeys(_WHY[name] for name in set_in_vain))
        warnings.warn(f"{listed} without effect: the model {predictor.name} {why}.", stacklevel=3)
    return given | {name: -1 if name == "n_subsets" else "" for name in ignored}


def warn_of_idle_rules(
    predictor: "Predictor", mask: np.ndarray | None, n_genes: int | None, min_detection: float
) -> None:
    """Warn of rules for the choice of genes that were set to no effect.

    Parameters
    ----------
    predictor
        The model.
    mask
        Genes of the user's choice; then no other rule is asked.
    n_genes, min_detection
        As given to `predict_targets`.
    """
    of_model = predictor.max_genes is not None
    idle = {
        "n_genes": n_genes is not None and mask is not None,
        "min_detection": min_detection != MIN_DETECTION and (of_model or mask is not None),
    }
    values = {"n_genes": n_genes, "min_detection": min_detection}
    if any(idle.values()):
        listed = ", ".join(f"{name}={values[name]!r}" for name, is_idle in idle.items() if is_idle)
        why = f"the model {predictor.name} chooses its genes for each group, as published"
        if mask is not None:
            why = "mask_var says which genes are scored"
        warnings.warn(f"{listed} without effect: {why}.", stacklevel=3)


def number_of_genes(
    predictor: "Predictor", mask: np.ndarray | None, n_genes: int | None, n_all: int
) -> int | None:
    """Return how many genes are scored at most, None for all; raise if the model takes fewer than asked."""
    most = predictor.max_genes
    if most is None:
        return n_genes
    if mask is not None and mask.sum() > most:
        raise InputError(
            f"mask_var selects {int(mask.sum())} genes, but the model {predictor.name} takes {most} at most."
        )
    if n_genes is None:
        return most
    if mask is None and min(n_genes, n_all) > most:
        raise InputError(
            f"n_genes={n_genes}, but the model {predictor.name} takes {most} genes at most: "
            f"pass n_genes={most}."
        )
    return n_genes
