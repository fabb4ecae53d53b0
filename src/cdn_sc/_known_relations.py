"""Relations between the genes of a panel that are known beforehand: who regulates whom, or did elsewhere."""

from dataclasses import dataclass

import numpy as np

# Weights beyond count as these
SMALLEST, LARGEST = 1e-30, 1e30


@dataclass(frozen=True)
class KnownRelations:
    """Signed relations between genes, each pair once, none of a gene with itself.

    Parameters
    ----------
    n_genes
        Number of genes.
    sources, targets
        Places of the regulating (or perturbed) and of the regulated (or responding) genes, int64.
    weights
        Above 0 where more of the source means more of the target; NaN where the sign is not known. float32.
    """

    n_genes: int
    sources: np.ndarray
    targets: np.ndarray
    weights: np.ndarray

    def __len__(self) -> int:
        """Number of relations."""
        return self.sources.size

    @classmethod
    def of_entries(
        cls, n_genes: int, sources: np.ndarray, targets: np.ndarray, weights: np.ndarray
    ) -> "KnownRelations":
        """From entries of a table: of a repeated pair the mean of the known weights, none of one gene alone.

        Parameters
        ----------
        n_genes, sources, targets, weights
            See :class:`KnownRelations`; pairs may repeat and weights be 0, which says no more than NaN.
        """
        weights = np.asarray(weights, dtype=np.float64)
        code = np.asarray(sources, dtype=np.int64) * n_genes + np.asarray(targets, dtype=np.int64)
        code, inverse = np.unique(code, return_inverse=True)
        signed = np.isfinite(weights) & (weights != 0)
        total = np.bincount(inverse, np.where(signed, weights, 0.0), minlength=code.size)
        number = np.bincount(inverse, signed, minlength=code.size)
        mean = np.divide(total, number, out=np.full(code.size, np.nan), where=number > 0)
        mean[mean == 0] = np.nan
        # in single precision none is infinite or 0
        mean = np.sign(mean) * np.clip(np.abs(mean), SMALLEST, LARGEST)
        first, second = np.divmod(code, max(n_genes, 1))
        kept = first != second
        return cls(n_genes, first[kept], second[kept], mean[kept].astype(np.float32))

    def among(self, genes: np.ndarray) -> "KnownRelations":
        """The relations between some of the genes, counted by their place among these."""
        place = np.full(self.n_genes, -1)
        place[genes] = np.arange(len(genes))
        sources, targets = place[self.sources], place[self.targets]
        kept = (sources >= 0) & (targets >= 0)
        return KnownRelations.of_entries(len(genes), sources[kept], targets[kept], self.weights[kept])
