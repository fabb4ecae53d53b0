"""`cdn-sc predict`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cdn_sc.cli._files import check_destination, read, write_whole
from cdn_sc.errors import CountsError, InputError

if TYPE_CHECKING:
    from anndata import AnnData


def predict(
    source: Annotated[Path, typer.Argument(metavar="IN.H5AD", help="Cells by genes, log-normalised.")],
    groupby: Annotated[str, typer.Option(help="Column of obs that says which perturbation a cell had.")],
    control: Annotated[list[str], typer.Option(help="Label of the control cells; repeat for several.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write an h5ad file with the result.")
    ] = None,
    table: Annotated[Path | None, typer.Option(help="Write the ranked targets: .csv or .tsv (.gz).")] = None,
    groups: Annotated[
        list[str] | None, typer.Option(help="Label of a group to score; repeat for several. Default: all.")
    ] = None,
    model: Annotated[str, typer.Option(help="Name of a model, or file of weights.")] = "default",
    kind: Annotated[
        str | None, typer.Option(help="What the perturbations do: knockdown, activation, knockout, activity.")
    ] = None,
    layer: Annotated[str | None, typer.Option(help="Layer with the values. Default: X.")] = None,
    n_genes: Annotated[int, typer.Option(help="Candidate genes per group at most.")] = 1000,
    genes: Annotated[
        str, typer.Option(help="Candidate genes: per_group, or shared by all groups (faster in screens).")
    ] = "per_group",
    correlations: Annotated[
        str, typer.Option(help="Cells that tell how genes vary together: screen (all), or control.")
    ] = "screen",
    min_cells: Annotated[int, typer.Option(help="Cells that a group needs at least.")] = 10,
    seed: Annotated[int, typer.Option(help="Seed of the random numbers.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    precision: Annotated[
        str, typer.Option(help="Of the large matrix products: float32, tf32 (on CUDA) or bfloat16.")
    ] = "float32",
    n_jobs: Annotated[
        int | None,
        typer.Option(help="Groups worked on at once; -1 for all cores. Default: the cores, 8 at most."),
    ] = None,
    normalise: Annotated[
        bool, typer.Option("--normalise", help="The values are counts: normalise and log them first.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar, warnings only.")] = False,
) -> None:
    """Rank the genes of each group of cells by how likely they are what its perturbation acted on."""
    if output is None and table is None:
        raise InputError("nowhere to write the result: give --output OUT.H5AD, --table TARGETS.CSV or both.")
    if not source.is_file():
        raise InputError(f"there is no file {str(source)!r}.")
    check_destination(output, source, (".h5ad",))
    check_destination(table, source, (".csv", ".tsv", ".csv.gz", ".tsv.gz"))

    from cdn_sc import get, settings, tl

    if quiet:
        settings.verbosity = "warning"
    adata = read(source)
    scored = _normalised(adata, layer) if normalise else adata
    try:
        tl.predict_targets(
            scored,
            groupby,
            control[0] if len(control) == 1 else control,
            groups=groups or "all",
            model=model,
            kind=kind,
            layer=None if normalise else layer,
            n_genes=n_genes,
            genes=genes,
            correlations=correlations,
            min_cells=min_cells,
            device=device,
            precision=precision,
            n_jobs=n_jobs,
            rng=seed,
        )
    except CountsError as error:
        raise InputError(
            f"the values in {str(source)!r} look like counts, and log-normalised expression is wanted: give "
            "--normalise, or the --layer that holds it."
        ) from error
    if normalise:
        result = scored.uns["cdn_targets"]
        result["params"] |= {"layer": layer or "", "normalised": True}
        adata.uns["cdn_targets"] = result
    if table is not None:
        separator = "\t" if ".tsv" in table.name else ","
        frame = get.predicted_targets_df(adata)
        write_whole(table, lambda path: frame.to_csv(path, sep=separator, index=False))
    if output is not None:
        write_whole(output, adata.write_h5ad)


def _normalised(adata: "AnnData", layer: str | None) -> "AnnData":
    """Return another object with the normalised, logged values, so that the counts stay as they are."""
    import scanpy as sc
    from anndata import AnnData

    from cdn_sc.errors import MissingNameError, did_you_mean

    if layer is not None and layer not in adata.layers:
        raise MissingNameError(f"adata.layers has no {layer!r}. {did_you_mean(layer, adata.layers.keys())}")
    values = adata.X if layer is None else adata.layers[layer]
    if values is None:
        raise InputError("the file has no X: name a --layer with the counts.")
    normalised = AnnData(values.astype("float32"), obs=adata.obs, var=adata.var)
    sc.pp.normalize_total(normalised)
    sc.pp.log1p(normalised)
    return normalised
