"""The command `cdn-sc`: thin, on the same functions that Python users call."""

import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import uuid4

import typer

from cdn_sc._logging import logger
from cdn_sc.errors import CdnScError, InputError

if TYPE_CHECKING:
    from anndata import AnnData

# Wrong options, misspelt commands and the like: typer exports this base class by no name, and only some
# versions of it bring click along.
_UsageError: Any = typer.BadParameter.__mro__[1]

app = typer.Typer(
    name="cdn-sc",
    help="Which genes were hit? Perturbation targets from single-cell data.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.callback(invoke_without_command=True)
def _options(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        from cdn_sc import __version__

        typer.echo(__version__)
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
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
    min_cells: Annotated[int, typer.Option(help="Cells that a group needs at least.")] = 10,
    seed: Annotated[int, typer.Option(help="Seed of the random numbers.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    n_jobs: Annotated[int, typer.Option(help="Groups worked on at once; -1 for all cores.")] = 1,
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
    _check_destination(output, source, (".h5ad",))
    _check_destination(table, source, (".csv", ".tsv", ".csv.gz", ".tsv.gz"))

    from cdn_sc import get, settings, tl

    if quiet:
        settings.verbosity = "warning"
    adata = _read(source)
    if normalise:
        layer = _normalise(adata, layer)
    tl.predict_targets(
        adata,
        groupby,
        control[0] if len(control) == 1 else control,
        groups=groups or "all",
        model=model,
        kind=kind,
        layer=layer,
        n_genes=n_genes,
        min_cells=min_cells,
        device=device,
        n_jobs=n_jobs,
        rng=seed,
    )
    if normalise and layer is not None:
        del adata.layers[layer]
    if table is not None:
        separator = "\t" if ".tsv" in table.name else ","
        frame = get.predicted_targets_df(adata)
        _write_whole(table, lambda path: frame.to_csv(path, sep=separator, index=False))
    if output is not None:
        _write_whole(output, adata.write_h5ad)


def _check_destination(path: Path | None, source: Path, endings: Sequence[str]) -> None:
    if path is None:
        return
    if not path.name.lower().endswith(tuple(endings)):
        raise InputError(f"the name {str(path)!r} ends in none of {', '.join(endings)}.")
    if path.exists() and path.samefile(source):
        raise InputError(f"{str(path)!r} is the input, which is never overwritten: give another name.")
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise InputError(f"cannot write {str(path)!r}: there is no folder {str(path.absolute().parent)!r}.")


def _read(source: Path) -> "AnnData":
    from anndata import read_h5ad

    try:
        return read_h5ad(source)
    except Exception as error:  # whatever a file that is no h5ad makes h5py and anndata raise
        raise InputError(f"cannot read {str(source)!r} as an h5ad file: {error}") from error


def _normalise(adata: "AnnData", layer: str | None) -> str:
    """Add a temporary layer with the normalised, logged values, so that the counts stay as they are."""
    import scanpy as sc

    from cdn_sc.errors import MissingNameError, did_you_mean

    if layer is not None and layer not in adata.layers:
        raise MissingNameError(f"adata.layers has no {layer!r}. {did_you_mean(layer, adata.layers.keys())}")
    added = f"cdn_sc_log_normalised_{uuid4().hex}"
    values = adata.X if layer is None else adata.layers[layer]
    adata.layers[added] = values.astype("float32")
    sc.pp.normalize_total(adata, layer=added)
    sc.pp.log1p(adata, layer=added)
    return added


def _write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file under another name first, so that the name never stands for half a file."""
    part = path.with_name(f".{uuid4().hex}.{path.name}")
    try:
        write(part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command, and end with 0, with 2 for wrong options, or with 1 for data that cannot be used.

    Parameters
    ----------
    arguments
        What follows `cdn-sc` on the command line; that of this process by default.
    """
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _tell_warning
            app(args=arguments, standalone_mode=False)
    except _UsageError as error:
        _fail(error.format_message(), 2)
    except (typer.Abort, KeyboardInterrupt):
        _fail("stopped.", 130)
    except (CdnScError, OSError, ValueError) as error:
        logger.debug("The error in full:", exc_info=True)
        _fail(str(error), 1)


def _tell_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    typer.echo(f"cdn-sc: warning: {' '.join(str(message).split())}", err=True)


def _fail(message: str, code: int) -> None:
    typer.echo(f"cdn-sc: {' '.join(message.split())}", err=True)
    sys.exit(code)
