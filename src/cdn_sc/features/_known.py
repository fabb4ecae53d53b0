"""What known relations say about a gene: whether the genes that it regulates change as the table has it.

Relations are taken as they are, and as far as the control cells bear them out: a stated relation whose genes
do not correlate counts less.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from scipy import sparse
from torch import Tensor

from cdn_sc._known_relations import KnownRelations
from cdn_sc._sparse_rows import SparseRows
from cdn_sc.features._deconvolution import explain, without_programmes
from cdn_sc.features._relations import TIE
from cdn_sc.features._scales import rank_features, squash

if TYPE_CHECKING:
    from cdn_sc.features.control import ControlSummary

KNOWN_FEATURES = (
    "known_projection", "known_residual_projection", "known_free_projection", "known_supported_projection",
    "known_energy", "known_deconvolved", "known_regulators", "known_agreement", "known_share_agreeing",
    "n_known_targets", "n_known_sources", "relations_given", "known_projection_rank",
    "known_free_projection_rank", "known_supported_projection_rank", "known_deconvolved_rank",
)  # fmt: skip
KNOWN_EDGE_FEATURES = ("known_target", "known_source")
# Weights of a gene's relations count up to so many times their median
LARGEST_WEIGHT = 4.0


@dataclass(frozen=True)
class KnownWeights:
    """Known relations beside the correlations of the control cells.

    Parameters
    ----------
    of_sources
        Genes x genes, scipy CSR, rows of unit length: row j what more of gene j means for the others; where
        the table does not know the sign, that of the correlation.
    supported
        The same, each relation times the size of its correlation where that has the same sign, rows of about
        unit length.
    correlation
        Of each stored relation, in the order of `of_sources`.
    """

    of_sources: sparse.csr_array
    supported: sparse.csr_array
    correlation: np.ndarray
    device: torch.device

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        """Sparse tensors of the products, on the device."""
        squares = self.of_sources.copy()
        squares.data = squares.data**2
        matrices = {
            "forward": self.of_sources,
            "back": self.of_sources.T.tocsr(),
            "squares": squares,
            "supported": self.supported,
        }
        return {name: SparseRows.of(each).to(self.device).tensor() for name, each in matrices.items()}

    @cached_property
    def norm(self) -> float:
        """Largest singular value of the weights, or a little more."""
        vector = np.ones(self.of_sources.shape[0], dtype=np.float32)
        norm = 1.0
        for _ in range(12):
            vector = self.of_sources.T @ (
                self.of_sources @ (vector / max(float(np.linalg.norm(vector)), 1e-9))
            )
            norm = float(np.linalg.norm(vector))
        # power iteration approaches from below; no matrix of unit rows has less than 1, or all of them are 0
        return max(1.0, 1.05 * float(np.sqrt(norm)))


def weigh_relations(relations: KnownRelations, correlation: Tensor) -> KnownWeights:
    """Set known relations beside the correlations of the control cells.

    Parameters
    ----------
    relations
        Of the same genes.
    correlation
        Genes x genes.
    """
    n_genes = relations.n_genes
    sources = torch.from_numpy(relations.sources).to(correlation.device)
    targets = torch.from_numpy(relations.targets).to(correlation.device)
    observed = correlation[sources, targets].cpu().numpy()
    observed = np.where(np.abs(observed) < TIE, 0.0, observed)
    size = np.abs(relations.weights)
    # magnitudes beyond a few times the gene's usual one count as that
    signed = np.isfinite(size)
    usual = np.full(n_genes, 1.0, dtype=np.float32)
    medians = pd.Series(size[signed]).groupby(relations.sources[signed]).median()
    usual[medians.index] = medians
    size = np.where(signed, size / usual[relations.sources], 1.0)
    weights = np.minimum(size, LARGEST_WEIGHT) * np.where(
        signed, np.sign(relations.weights), np.sign(observed)
    )
    matrix = _rows_of_unit_length(weights, relations)
    agreeing = np.where(weights * observed > 0, np.abs(observed), 0.0)
    supported = _rows_of_unit_length(weights * agreeing, relations, least=0.05)
    return KnownWeights(matrix, supported, observed.astype(np.float32), correlation.device)


def _rows_of_unit_length(
    weights: np.ndarray, relations: KnownRelations, least: float = 1e-6
) -> sparse.csr_array:
    length = np.sqrt(np.bincount(relations.sources, weights**2, minlength=relations.n_genes))
    scaled = weights / np.maximum(length, least)[relations.sources]
    starts = np.concatenate([[0], np.cumsum(np.bincount(relations.sources, minlength=relations.n_genes))])
    return sparse.csr_array(
        (scaled.astype(np.float32), relations.targets, starts), (relations.n_genes, relations.n_genes)
    )


def no_known_features(shape: torch.Size, device: torch.device) -> dict[str, Tensor]:
    """The features of ``KNOWN_FEATURES`` where nothing is known: 0."""
    return dict.fromkeys(KNOWN_FEATURES, torch.zeros(shape, dtype=torch.float32, device=device))


def known_features(
    control: ControlSummary, known: KnownWeights, change: Tensor, residual: Tensor
) -> dict[str, Tensor]:
    """Features of ``KNOWN_FEATURES``, groups x genes each.

    Parameters
    ----------
    control
        The control arm.
    known
        Relations of its genes.
    change
        Signed change of each gene in standard errors, groups x genes.
    residual
        What the regressions on all other genes leave of it, groups x genes.
    """
    tensors = known.tensors

    def product(name: str, values: Tensor) -> Tensor:
        return (tensors[name] @ values.T.contiguous()).T

    projection = product("forward", change)
    specific = without_programmes(control, change)
    free, supported = product("forward", specific), product("supported", specific)
    effects, _ = explain(
        lambda effects: product("back", effects), lambda left: product("forward", left), change, known.norm
    )
    shape = change.shape
    weights = known.of_sources
    rows = np.repeat(np.arange(shape[1]), np.diff(weights.indptr))
    agreement = np.bincount(rows, weights.data * known.correlation, minlength=shape[1])
    strength = np.sqrt(np.bincount(rows, known.correlation**2, minlength=shape[1]))
    of_genes = {
        "known_agreement": np.sign(agreement)
        * np.log1p(np.abs(agreement) * np.sqrt(control.n_relation_cells)),
        "known_share_agreeing": agreement / np.maximum(strength, 0.02),
        "n_known_targets": np.log1p(np.diff(weights.indptr)) / 2.0,
        "n_known_sources": np.log1p(np.bincount(weights.indices, minlength=shape[1])) / 2.0,
        "relations_given": np.ones(shape[1]),
    }
    ranks = {
        "known_projection_rank": projection.abs(),
        "known_free_projection_rank": free.abs(),
        "known_supported_projection_rank": supported.abs(),
        "known_deconvolved_rank": effects.abs(),
    }
    return (
        {
            "known_projection": squash(projection),
            "known_residual_projection": squash(product("forward", residual)),
            "known_free_projection": squash(free),
            "known_supported_projection": squash(supported),
            "known_energy": torch.log1p(product("squares", change**2)),
            "known_deconvolved": squash(effects),
            "known_regulators": squash(product("back", change)),
        }
        | {
            name: torch.from_numpy(values.astype(np.float32)).to(change.device).expand(shape)
            for name, values in of_genes.items()
        }
        | rank_features(ranks)
    )


def known_edges(known: KnownWeights | None, neighbours: Tensor) -> Tensor:
    """Of each gene and its neighbours: the sign of what is known of the pair, forth and back.

    Genes x neighbours x 2, float32; 0 where nothing is known, or there is no neighbour.
    """
    shape = (*neighbours.shape, len(KNOWN_EDGE_FEATURES))
    if known is None or not neighbours.numel() or not known.of_sources.nnz:
        return torch.zeros(shape, dtype=torch.float32, device=neighbours.device)
    index = neighbours.cpu().numpy()
    genes = np.broadcast_to(np.arange(len(index))[:, None], index.shape)
    there = np.maximum(index, 0)
    signs = known.of_sources.sign()
    pairs = [signs[genes.ravel(), there.ravel()], signs[there.ravel(), genes.ravel()]]
    found = np.stack([np.asarray(each).reshape(index.shape) for each in pairs], axis=-1)
    found = np.where(index[..., None] >= 0, found, 0.0).astype(np.float32)
    return torch.from_numpy(found).to(neighbours.device)
