"""The command `cdn-sc`: thin, on the same functions that Python users call."""

import sys
import warnings
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from cdn_sc._logging import logger
from cdn_sc.cli._demo import demo
from cdn_sc.cli._evaluate import evaluate
from cdn_sc.cli._predict import predict
from cdn_sc.cli._train import train
from cdn_sc.cli._words import in_shell_words
from cdn_sc.errors import CdnScError

__all__ = ["app", "main"]

# Wrong options, misspelt commands and the like: typer exports this base class by no name, and only some
# versions of it bring click along.
_UsageError: Any = typer.BadParameter.__mro__[1]

_INTERRUPTED = 130

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


for _command in (predict, evaluate, train, demo):
    app.command()(_command)


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
            code = app(args=arguments, standalone_mode=False)
    except _UsageError as error:
        _fail(error.format_message(), 2)
    except (typer.Abort, KeyboardInterrupt):
        _fail("stopped.", _INTERRUPTED)
    except (CdnScError, OSError, ValueError, FloatingPointError) as error:
        logger.debug("The error in full:", exc_info=True)
        _fail(in_shell_words(str(error), _options_of_all()), 1)
    # newer versions of typer return the code of an interrupt instead of raising
    if code == _INTERRUPTED:
        _fail("stopped.", _INTERRUPTED)


def _tell_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    if isinstance(message, DeprecationWarning):  # for those who write packages, not for those who use them
        return
    told = " ".join(in_shell_words(str(message), _options_of_all()).split())
    typer.echo(f"cdn-sc: warning: {told}", err=True)


def _options_of_all() -> list[Any]:
    commands: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    options = [option for command in commands.values() for option in command.params]
    # the same names mean the same in all commands
    return list({option.name: option for option in options}.values())


def _fail(message: str, code: int) -> None:
    typer.echo(f"cdn-sc: {' '.join(message.split())}", err=True)
    sys.exit(code)
