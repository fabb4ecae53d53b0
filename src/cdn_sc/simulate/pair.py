"""One simulated comparison: control cells, perturbed cells, and the truth."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from cdn_sc._known_relations import KnownRelations


@dataclass(frozen=True)
class Pair:
    """Control and perturbed values of the same genes, with the genes that were hit.

    Parameters
    ----------
    control
        Values of the control arm, cells x genes, float32.
    perturbed
        Values of the perturbed arm, cells x genes, float32.
    targets
        Indices of the genes that were intervened on; none where the choice of genes left all of them out.
    attributes
        What is known about the pair (mechanism, intervention, kind, sizes, seed ...), for tables.
    graph
        The true causal graph, genes x genes, ``graph[i, j]`` true for an edge i -> j; None if unknown.
    contrasts
        How the cells of the other conditions of the same screen vary within these, contrasts x genes: see
        :func:`cdn_sc.features.summarize_control`. None where there are none, or they play no part.
    n_missing
        Further targets that are measured but are none of these genes: they count as ranked last.
    directions
        Of each target: 1 where what it does grew, -1 where it was lost; None where that is not known.
    relations
        What is known beforehand of which gene regulates which; None where nothing is.
    """

    control: np.ndarray
    perturbed: np.ndarray
    targets: np.ndarray
    attributes: dict[str, str | int | float] = field(default_factory=dict)
    graph: np.ndarray | None = None
    contrasts: np.ndarray | None = None
    n_missing: int = 0
    directions: np.ndarray | None = None
    relations: "KnownRelations | None" = None

    def __repr__(self) -> str:
        """Sizes, not values: a notebook that shows a pair should not fill with numbers."""
        known = "".join(f", {name}={value!r}" for name, value in self.attributes.items())
        return (
            f"Pair({self.control.shape[0]} control and {self.perturbed.shape[0]} perturbed cells, "
            f"{self.control.shape[1]} genes, targets {self.targets.tolist()}{known})"
        )
