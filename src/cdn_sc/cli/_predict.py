"""`cdn-sc predict`."""

import tempfile
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cdn_sc._files import replacing, writing
from cdn_sc._read import check_there, read_object
from cdn_sc.cli._destination import check_destination
from cdn_sc.errors import CountsError, InputError, WriteError

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

_KEY = "cdn_targets"
_TABLES = (".csv", ".tsv", ".csv.gz", ".tsv.gz")


def predict(
    source: Annotated[
        Path,
        typer.Argument(metavar="IN.H5AD", help="Cells by genes, log-normalised: h5ad, .zarr or .zarr.zip."),
    ],
    groupby: Annotated[str, typer.Option(help="Column of obs that says which perturbation a cell had.")],
    control: Annotated[list[str], typer.Option(help="Label of the control cells; repeat for several.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write the object with the result: .h5ad, .zarr or .zarr.zip."),
    ] = None,
    table: Annotated[Path | None, typer.Option(help="Write the ranked targets: .csv or .tsv (.gz).")] = None,
    groups: Annotated[
        list[str] | None, typer.Option(help="Label of a group to score; repeat for several. Default: all.")
    ] = None,
    model: Annotated[str, typer.Option(help="Name of a model, or file of weights.")] = "default",
    kind: Annotated[
        str | None, typer.Option(help="What the perturbations do: knockdown, activation, knockout, activity.")
    ] = None,
    relations: Annotated[
        Path | None,
        typer.Option(help="Known relations: .csv or .tsv (.gz) with columns source, target and weight."),
    ] = None,
    relations_key: Annotated[
        str | None, typer.Option(help="Column of var with the names that the relations use.")
    ] = None,
    layer: Annotated[str | None, typer.Option(help="Layer with the values. Default: X.")] = None,
    use_raw: Annotated[bool, typer.Option("--use-raw", help="Take the values from raw.")] = False,
    mask_var: Annotated[
        str | None,
        typer.Option(help="Column of var with True for the genes to score, in place of --n-genes."),
    ] = None,
    n_genes: Annotated[
        int | None, typer.Option(help="Genes to score at most, the most changed ones. Default: all.")
    ] = None,
    min_detection: Annotated[
        float, typer.Option(help="Share of the control cells in which a gene must be detected.")
    ] = 0.01,
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
    from cdn_sc.cli._objects import ENDINGS, add_result, write_object

    check_there(source)
    check_destination(output, source, ENDINGS)
    check_destination(table, source, _TABLES)

    from cdn_sc import get, settings, tl

    if quiet:
        settings.verbosity = "warning"
    adata = read_object(source)
    scored = _normalised(adata, source, layer, use_raw) if normalise else adata
    options: dict[str, Any] = {
        "groups": groups or "all",
        "model": model,
        "kind": kind,
        "relations": None if relations is None else _read_relations(relations),
        "relations_key": relations_key,
        "layer": None if normalise else layer,
        "use_raw": use_raw and not normalise,
        "mask_var": mask_var,
        "n_genes": n_genes,
        "min_detection": min_detection,
        "correlations": correlations,
        "min_cells": min_cells,
        "device": device,
        "precision": precision,
        "n_jobs": n_jobs,
        "rng": seed,
    }
    frame = None
    try:
        paths = {"output": output, "table": table}
        given = {name: path for name, path in paths.items() if path is not None}
        with replacing(*given.values()) as parts:
            part = dict(zip(given, parts, strict=True))
            if output is not None:
                # what cannot be written, and a disk that is full, show before the work and not after it
                earlier = adata.uns.pop(_KEY, None)
                with writing(output):
                    write_object(adata, part["output"])
                if earlier is not None:
                    adata.uns[_KEY] = earlier
            try:
                tl.predict_targets(
                    scored, groupby, control[0] if len(control) == 1 else control, key_added=_KEY, **options
                )
            except CountsError as error:
                raise InputError(
                    f"the values in {_place(layer, use_raw)}{str(source)!r} look like counts, and "
                    "log-normalised expression is wanted: give --normalise, or the --layer that holds it."
                ) from error
            frame = get.predicted_targets_df(scored, key=_KEY)
            result = scored.uns[_KEY]
            if normalise:
                result["params"] |= {"layer": layer or "", "use_raw": use_raw, "normalised": True}
            with writing(*given.values()):
                if table is not None:
                    _write_table(frame, part["table"])
                if output is not None:
                    add_result(part["output"], _KEY, result)
    except Exception as error:
        if frame is None:
            raise
        raise WriteError(f"{error} {_rescued(frame, given)}") from error


def _read_relations(path: Path) -> "pd.DataFrame":
    import pandas as pd

    if path.is_dir() or not path.name.endswith(_TABLES):
        raise InputError(f"{str(path)!r} is no table of relations: a file {', '.join(_TABLES)} is wanted.")
    check_there(path)
    try:
        # a gene may be called NA
        return pd.read_csv(
            path,
            sep="\t" if ".tsv" in path.name else ",",
            keep_default_na=False,
            na_values={"weight": ["", "NA", "N/A", "nan", "NaN", "None", "null", "NULL"]},
        )
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"the relations in {str(path)!r} cannot be read: {error}") from None


def _place(layer: str | None, use_raw: bool) -> str:
    return "raw of " if use_raw else "" if layer is None else f"layer {layer!r} of "


def _write_table(frame: "pd.DataFrame", path: Path) -> None:
    frame.to_csv(path, sep="\t" if ".tsv" in path.name else ",", index=False)


def _rescued(frame: "pd.DataFrame", given: Mapping[str, Path]) -> str:
    """Keep the table somewhere after all, and say where: the scoring may have taken hours."""
    beside = [path.with_name(f"{path.name[:200]}.targets.csv") for path in given.values()]
    wanted = [given["table"]] if "table" in given else []
    for candidate in (*wanted, *beside, Path(tempfile.gettempdir()) / "cdn-sc.targets.csv"):
        path = candidate
        numbers = count(2)
        while path not in wanted and path.exists():
            path = candidate.with_name(f"{candidate.name.removesuffix('.csv')}.{next(numbers)}.csv")
        try:
            with replacing(path) as (part,):
                _write_table(frame, part)
        except OSError:
            continue
        return f"The ranked targets are in {str(path)!r}."
    return "The ranked targets cannot be written either."


def _normalised(adata: "AnnData", source: Path, layer: str | None, use_raw: bool) -> "AnnData":
    """Return another object with the normalised, logged values, so that the counts stay as they are."""
    import scanpy as sc
    from anndata import AnnData

    from cdn_sc._counts import are_counts
    from cdn_sc.errors import MissingNameError, did_you_mean

    if layer is not None and use_raw:
        raise InputError("give either --layer or --use-raw, not both.")
    if layer is not None and layer not in adata.layers:
        there = [name for name in adata.layers.keys() if name is not None]  # noqa: SIM118
        raise MissingNameError(f"there is no layer {layer!r}. {did_you_mean(layer, there)}")
    if use_raw and adata.raw is None:
        raise InputError(f"{str(source)!r} has no raw: leave --use-raw out.")
    place = adata.raw if use_raw else adata
    values = place.X if layer is None else adata.layers[layer]
    if values is None:
        raise InputError("the file has no X: name a --layer with the counts.")
    if not are_counts(values):
        noted = " (uns['log1p'] says that they were logged)" if "log1p" in adata.uns else ""
        raise InputError(
            f"the values in {_place(layer, use_raw)}{str(source)!r} are no counts, since they are not whole "
            f"numbers of at least 0{noted}: --normalise would normalise and log them again. Leave it out if "
            "they are log-normalised, or name the --layer with the counts."
        )
    normalised = AnnData(values.astype("float32"), obs=adata.obs, var=place.var)
    sc.pp.normalize_total(normalised)
    sc.pp.log1p(normalised)
    return normalised
