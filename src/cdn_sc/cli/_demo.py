"""`cdn-sc demo`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cdn_sc._files import make_folder, replacing, writing

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

_TOP = 3


def demo(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for demo.h5ad and predicted_targets.png.")
    ] = Path("demo_output"),
    model: Annotated[str, typer.Option(help="Name of a model, or file of weights.")] = "default",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
) -> None:
    """Simulate a small screen with known targets, predict them, and show both side by side."""
    make_folder(output)
    import scanpy as sc

    from cdn_sc import datasets, tl
    from cdn_sc.cli._objects import write_object

    adata = datasets.simulated_screen()
    adata.layers["counts"] = adata.X.copy()
    sc.pp.normalize_total(adata)
    sc.pp.log1p(adata)
    tl.predict_targets(adata, groupby="perturbation", control="control", model=model, device=device)

    comparison = compare_with_truth(adata)
    typer.echo(f"\n{comparison.to_string(index=False)}\n")
    ours, wilcoxon = ((comparison[column] == 1).sum() for column in ("rank", "rank by Wilcoxon"))
    typer.echo(
        f"The true target is ranked first in {ours} of {len(comparison)} groups, "
        f"by the Wilcoxon test in {wilcoxon}."
    )
    paths = output / "demo.h5ad", output / "predicted_targets.png"
    with replacing(*paths) as (object_part, picture_part), writing(*paths):
        write_object(adata, object_part)
        _draw(adata, picture_part)
    typer.echo(f"Written: {paths[0]}, {paths[1]}")


def compare_with_truth(adata: "AnnData") -> "pd.DataFrame":
    """Return the true target of each simulated group next to the predicted ones.

    Parameters
    ----------
    adata
        A simulated screen, log-normalised, with a result of `predict_targets`.

    Returns
    -------
    One row per group: `group`, `kind`, `true target`, `predicted top 3`, `rank` of the true target, and its
    `rank by Wilcoxon`.
    """
    import pandas as pd

    from cdn_sc.get import predicted_targets_df

    tests = _wilcoxon_ranks(adata)
    rows = []
    for group, targets in adata.uns["targets"].items():
        table = predicted_targets_df(adata, group)
        hit = table.loc[table["gene"].isin(list(targets)), "rank"]
        rows.append(
            {
                "group": group,
                "kind": adata.obs.loc[adata.obs["perturbation"] == group, "kind"].iloc[0],
                "true target": "+".join(targets),
                f"predicted top {_TOP}": ", ".join(table["gene"].head(_TOP)),
                "rank": int(hit.min()),
                "rank by Wilcoxon": int(tests[group][list(targets)].min()),
            }
        )
    return pd.DataFrame(rows)


def _wilcoxon_ranks(adata: "AnnData") -> "dict[str, pd.Series]":
    """Rank of each gene by the absolute z of scanpy's Wilcoxon test against the control cells."""
    import scanpy as sc

    result = sc.tl.rank_genes_groups(
        adata,
        "perturbation",
        reference="control",
        method="wilcoxon",
        tie_correct=True,
        key_added="wilcoxon",
        copy=True,
    )
    ranks = {}
    for group in adata.uns["targets"]:
        table = sc.get.rank_genes_groups_df(result, group, key="wilcoxon").set_index("names")
        ranks[group] = table["scores"].abs().rank(ascending=False, method="min")
    return ranks


def _draw(adata: "AnnData", path: Path) -> None:
    import matplotlib as mpl
    from matplotlib import pyplot as plt

    from cdn_sc import pl

    mpl.use("Agg")
    truth = adata.uns["targets"]
    panels = pl.predicted_targets(adata, list(truth), n_genes=5, targets=truth, show=False)
    figure: Any = panels[0].get_figure() if isinstance(panels, list) else None
    figure.savefig(path, dpi=110)
    plt.close(figure)
