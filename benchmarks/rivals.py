"""Time one tool on one screen in a process of its own; the other benchmarks start it with each tool's Python.

    python benchmarks/rivals.py cdn-sc screen.h5ad --repeats 3

The file holds counts in ``layers["counts"]``, their logarithms in ``X``, labels of the perturbations in
``obs["perturbation"]`` (the name of the target gene, or ``control``) and the true targets in
``uns["targets"]``. The last line printed is JSON: seconds of each repeat, from the object in memory (from the
file with ``--backed``) to ranked genes; peak memory in GB; and of cdn-sc the rank of each target, 0 where it
is none of the candidates.
"""

import argparse
import json
import resource
import sys
import warnings
from collections.abc import Callable
from time import perf_counter

import anndata as ad
import numpy as np

CONTROL = "control"


def cdn_sc(
    path: str, backed: bool, n_groups: int | None, options: dict
) -> tuple[Callable[[], object], object]:
    """Return the call, and what it works on."""
    import cdn_sc

    cdn_sc.settings.verbosity = "warning"

    def call() -> ad.AnnData:
        adata = ad.read_h5ad(path, backed="r") if backed else loaded
        labels = sorted(set(adata.obs["perturbation"]) - {CONTROL})
        groups = "all" if n_groups is None else labels[:n_groups]
        cdn_sc.tl.predict_targets(adata, "perturbation", CONTROL, groups=groups, progress=False, **options)
        return adata

    loaded = None if backed else ad.read_h5ad(path)
    return call, loaded


def rank_tests(path: str) -> Callable[[], object]:
    """Wilcoxon and Kolmogorov-Smirnov tests of every group, as they are among what cdn-sc computes."""
    from cdn_sc.features._rank_tests import rank_tests as tests
    from cdn_sc.features._rank_tests import sort_genes, tie_sums

    adata = ad.read_h5ad(path)
    labels = adata.obs["perturbation"].astype(str).to_numpy()

    def call() -> list[object]:
        control = sort_genes(adata.X[labels == CONTROL].toarray())
        ties = tie_sums(control)
        groups = sorted(set(labels) - {CONTROL})
        return [tests(control, sort_genes(adata.X[labels == group].toarray()), ties) for group in groups]

    return call


def cipher(path: str) -> Callable[[], object]:
    """Reverse prediction with the settings that serve it best, all genes scored."""
    from cipher.data import load_dataset
    from cipher.reverse import reverse_prediction

    data = load_dataset(
        path, pert_key="perturbation", control_label=CONTROL, expression_threshold=0.0, min_samples=2
    )
    return lambda: reverse_prediction(data, normalization="pflog", method="pip", progress=False)


def illico(path: str, threads: int) -> Callable[[], object]:
    """Wilcoxon tests of every group against the control cells, once in memory."""
    from illico import asymptotic_wilcoxon

    adata = ad.read_h5ad(path)
    return lambda: asymptotic_wilcoxon(
        adata, is_log1p=True, group_keys="perturbation", reference=CONTROL, n_threads=threads
    )


def scanpy(path: str, n_groups: int | None) -> Callable[[], object]:
    """Wilcoxon tests of scanpy, of the first groups where a number is given."""
    import scanpy as sc

    adata = ad.read_h5ad(path)
    labels = sorted(set(adata.obs["perturbation"]) - {CONTROL})
    groups = "all" if n_groups is None else labels[:n_groups]
    return lambda: sc.tl.rank_genes_groups(
        adata, "perturbation", groups=groups, reference=CONTROL, method="wilcoxon", tie_correct=True
    )


def target_ranks(adata: ad.AnnData) -> dict[str, list[list[int]]]:
    """Of each group the ranks of its targets, 0 for none, and the number of ranked genes."""
    table = adata.uns["cdn_targets"]["table"]
    found = {}
    for group, rows in table.groupby("group", observed=True):
        ranks = dict(zip(rows["gene"].astype(str), rows["rank"], strict=True))
        targets = np.atleast_1d(adata.uns["targets"][str(group)])
        found[str(group)] = [[int(ranks.get(str(gene), 0)) for gene in targets], [len(rows)]]
    return found


def main(arguments: list[str]) -> None:
    """Run the tool."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tool", choices=["cdn-sc", "rank-tests", "cipher", "illico", "scanpy"])
    parser.add_argument("path")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--groups", type=int, default=None, help="the first ones alone")
    parser.add_argument("--backed", action="store_true")
    parser.add_argument("--options", type=json.loads, default={}, help="of predict_targets, JSON")
    chosen = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    loaded = None
    if chosen.tool == "cdn-sc":
        call, loaded = cdn_sc(chosen.path, chosen.backed, chosen.groups, chosen.options)
    elif chosen.tool == "rank-tests":
        call = rank_tests(chosen.path)
    elif chosen.tool == "cipher":
        call = cipher(chosen.path)
    elif chosen.tool == "illico":
        call = illico(chosen.path, chosen.threads)
    else:
        call = scanpy(chosen.path, chosen.groups)
    seconds = []
    for repeat in range(chosen.repeats + (chosen.repeats > 1)):
        started = perf_counter()
        result = call()
        if repeat or chosen.repeats == 1:  # the first call of several compiles
            seconds.append(perf_counter() - started)
    found = {"seconds": seconds, "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}
    if chosen.tool == "cdn-sc":
        adata = result if loaded is None else loaded
        if "targets" in adata.uns:
            found["ranks"] = target_ranks(adata)
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1:])
