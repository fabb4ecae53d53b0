"""Texts that others wrote, before they are shown or stored."""

from __future__ import annotations


def printable(text: str, keep: str = "") -> str:
    """Return a text in which every character that does not print is written as its escape sequence.

    Control characters in the name of a file or model could otherwise clear a terminal or forge its lines.

    Parameters
    ----------
    text
        Any text.
    keep
        Characters that stay as they are, such as the end of a line.
    """
    return "".join(c if c.isprintable() or c in keep else repr(c)[1:-1] for c in text)
