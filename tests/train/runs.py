"""Tiny configurations of both architectures, and what runs of them leave behind."""

import csv

import torch

from cdn_sc import models
from cdn_sc.train import train
from cdn_sc.train.config import config_from_dict

GENE_TRANSFORMER = {
    "architecture": "gene_transformer", "channels": 8, "heads": 2, "layers": 1, "points": 3,
    "message_channels": 4, "message_heads": 2, "dropout": 0.1,
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


def run(config, folder, **options):
    return train(config, folder, progress=False, **options)


def rows(folder):
    with (folder / "log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def without_time(table):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in table]


def checkpoint(folder):
    return torch.load(folder / "checkpoint.pt", weights_only=True)


def assert_same_run(first, second):
    a, b = checkpoint(first), checkpoint(second)
    for part in ("network", "average"):
        assert a[part].keys() == b[part].keys()
        for name in a[part]:
            assert torch.equal(a[part][name], b[part][name]), (part, name)
    for part in ("step", "pairs", "recent", "last_map", "config"):
        assert a[part] == b[part], part
    assert without_time(rows(first)) == without_time(rows(second))
    weights = [models.load(folder / "tiny.safetensors").state_dict() for folder in (first, second)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
