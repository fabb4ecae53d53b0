"""Messages for Python users, said again in the words of the shell."""

import re
from collections.abc import Iterable
from typing import Any

# `adata.X`, and not the calls and assignments of a remedy in Python
_PLACES = re.compile(r"\badata\.(?=(?:X|obs|var|uns|raw|layers|obs_names|var_names)\b(?!\s*=[^=])(?!\())")
_VALUE = r"(?P<value>'[^']*'|\"[^\"]*\"|[\w.+-]*\w)?"


def in_shell_words(message: str, options: Iterable[Any]) -> str:
    """Return a message with the options of a command in place of the arguments of a function.

    Parameters
    ----------
    message
        What an error or a warning says.
    options
        Parameters of the commands: with `name`, such as ``min_cells``, and `opts`, ``["--min-cells"]``.

    Returns
    -------
    The message with ``--min-cells 10`` for ``min_cells=10``, ``--use-raw`` for ``use_raw=True``,
    ``--n-genes`` for ``n_genes``, and ``obs`` for ``adata.obs``.
    """
    message = _PLACES.sub("", message)
    for option in options:
        shown = next((name for name in option.opts if name.startswith("--")), None)
        if shown is None:
            continue
        name = re.escape(option.name)

        def said(found: re.Match[str], shown: str = shown) -> str:
            value = found["value"] or ""
            return shown if value in ("", "True") else f"{shown} {value}"

        message = re.sub(rf"(?<![\w.(-]){name}={_VALUE}", said, message)
        if "_" in option.name:  # other names are words, too
            message = re.sub(rf"(?<![\w.'\"/-]){name}(?![\w'\"/(=])(?!\.\w)", shown, message)
    return message
