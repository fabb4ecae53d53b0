"""The networks: plain torch, no AnnData, no files.

`ARCHITECTURES` maps the name of an architecture to its configuration and its network; saved weights carry
the name, so that they find their way back.
"""

from torch import nn

from cdn_sc.nn.batch import ArmBatch, CDNBatch, collate, collate_arms, draw_permutations
from cdn_sc.nn.cdn import CDN, SEA
from cdn_sc.nn.config import CDNConfig, SEAConfig
from cdn_sc.nn.gene_transformer import GeneBatch, GeneTransformer, GeneTransformerConfig, collate_genes

ARCHITECTURES: dict[str, tuple[type, type[nn.Module]]] = {
    "cdn": (CDNConfig, CDN),
    "sea": (SEAConfig, SEA),
    "gene_transformer": (GeneTransformerConfig, GeneTransformer),
}

__all__ = [
    "ARCHITECTURES",
    "CDN",
    "SEA",
    "ArmBatch",
    "CDNBatch",
    "CDNConfig",
    "GeneBatch",
    "GeneTransformer",
    "GeneTransformerConfig",
    "SEAConfig",
    "collate",
    "collate_arms",
    "collate_genes",
    "draw_permutations",
]
