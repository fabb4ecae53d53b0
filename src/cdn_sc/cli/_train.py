"""`cdn-sc train`."""

from pathlib import Path
from typing import Annotated

import typer

from cdn_sc._files import make_folder
from cdn_sc.cli._threads import limit_threads
from cdn_sc.errors import InputError


def train(
    config: Annotated[
        str, typer.Option(help="Configuration: a TOML file, or a name such as gene-transformer.")
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="Folder of the run; a run that was stopped goes on from it."),
    ],
    data: Annotated[
        Path | None,
        typer.Option(help="Folder of pairs in the published layout: the one that holds `data`."),
    ] = None,
    splits: Annotated[Path | None, typer.Option(help="Table of these pairs, such as perturbseq.csv.")] = None,
    initial_weights: Annotated[
        str | None, typer.Option(help="Model, or file of weights, to start from, in place of the config's.")
    ] = None,
    tracker: Annotated[
        list[str] | None, typer.Option(help="Follow the run elsewhere too: tensorboard or wandb.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    max_seconds: Annotated[
        float | None, typer.Option(min=0, help="Stop after about this time; the same command goes on.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Processor threads that PyTorch uses. Default: its own choice.")
    ] = None,
    workers: Annotated[
        int,
        typer.Option(min=0, help="Processes that prepare the next steps. Default: 0, all in this one."),
    ] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar, warnings only.")] = False,
) -> None:
    """Train a network on pairs simulated afresh at every step, or on a folder of real ones."""
    from tomllib import TOMLDecodeError

    from cdn_sc.train.config import locate_pairs, read_config

    overrides = {} if initial_weights is None else {"initial_weights": initial_weights}
    try:
        configuration = locate_pairs(read_config(config, overrides), data, splits)
    except TOMLDecodeError as error:
        raise InputError(f"{config!r} is no TOML file: {error}.") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"the configuration {config!r} cannot be used: {error!r}.") from error
    make_folder(output)

    from cdn_sc import settings
    from cdn_sc._device import resolve_device
    from cdn_sc.train import train as train_network

    if quiet:
        settings.verbosity = "warning"
    if threads is not None:
        limit_threads(threads)
    weights = train_network(
        configuration,
        output,
        device=resolve_device(device),
        max_seconds=max_seconds,
        workers=workers,
        progress=settings.show_progress,
        trackers=tracker or (),
    )
    typer.echo(f"Written: {weights}")
