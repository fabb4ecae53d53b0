"""Small arms of correlated, partly silent genes."""

import numpy as np

from cdn_sc.features import GeneInputs, gene_inputs, summarize_control


def correlated_values(rng, n_cells, n_genes, *, silent=0.3, shift=None):
    """Cells x genes: a chain of genes, each following the one before, and a share of zeros."""
    z = rng.standard_normal((n_cells, n_genes))
    for gene in range(1, n_genes):
        z[:, gene] = 0.7 * z[:, gene - 1] + 0.7 * z[:, gene]
    if shift is not None:
        z += shift
    values = np.exp(0.5 * z)
    values[rng.random(values.shape) < silent] = 0
    return values.astype(np.float32)


def inputs_of(control, perturbed):
    """Inputs of one group, as arrays: genes x features, genes x neighbours, genes x neighbours x edges."""
    return one_group(gene_inputs(summarize_control(control), perturbed))


def one_group(inputs):
    """The same from inputs of one group."""
    (features,), (edges,) = inputs.features.numpy(), inputs.edges.numpy()
    return GeneInputs(features, inputs.neighbours.numpy(), edges)
