"""Tiny configurations of both architectures."""

from cdn_sc.train.config import config_from_dict

GENE_TRANSFORMER = {
    "architecture": "gene_transformer", "channels": 8, "heads": 2, "layers": 1, "edge_channels": 4,
    "mixing_channels": 2, "dropout": 0.1,
}  # fmt: skip
CDN = {
    "architecture": "cdn", "num_vars": 12, "max_subsets": 60, "channels": 8, "heads": 2, "blocks": 1,
    "encoder_ffn": 4, "comparison_ffn": 8,
}  # fmt: skip
SCM = {"type": "scm", "options": {"genes": [6, 8], "n_control": [40, 60], "n_perturbed": [30, 40]}}
SCREEN = {
    "type": "screen",
    "weight": 2,
    "options": {
        "genes": [8, 10],
        "control_cells": [30, 50],
        "n_perturbed": [10, 20],
        "groups": 2,
        "selected": 0.5,
    },
}


def tiny_config(architecture="gene_transformer", **changes):
    network, sources = (
        (GENE_TRANSFORMER, [SCM, SCREEN]) if architecture == "gene_transformer" else (CDN, [SCM])
    )
    values = {
        "name": "tiny", "network": network, "sources": sources, "steps": 6, "genes_per_batch": 20,
        "max_pairs_per_batch": 3, "warmup_steps": 2, "validate_every": 2, "checkpoint_every": 3,
        "validation_pairs": 2, "n_subsets": [4, 8], "recommended_for": "tests",
    }  # fmt: skip
    return config_from_dict(values | changes)
