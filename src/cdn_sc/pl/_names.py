"""Names of groups and genes as a picture can hold them: short, on one line, and read as they are."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from cdn_sc._labels import printable
from cdn_sc.pl._figure import figure_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Letters of a name beside a row, column or point; letters of a title, at most and at least; and how many
# letters have room wherever there is a panel.
MOST_LETTERS, _MOST_OF_TITLE, _LEAST_OF_TITLE, _ALWAYS_FIT = 26, 72, 10, 20
# Pixels between two titles.
_GAP = 8


def shown_names(names: Sequence[str], most: int = MOST_LETTERS) -> list[str]:
    r"""Return names for a picture, each of them once.

    Parameters
    ----------
    names
        The names, which differ.
    most
        Of longer ones the beginning and the end are kept, so many letters in all.

    Returns
    -------
    The names, control characters written as `\\x1b`, with `$` escaped, which would begin a formula. Names
    that would be alike are numbered.
    """
    whole = [printable(name) for name in names]
    texts = [_shortened(text, most) for text in whole]
    number, seen = Counter(texts), Counter[str]()
    for place, text in enumerate(texts):
        if number[text] > 1:
            seen[text] += 1
            texts[place] = _numbered(whole[place], most, seen[text])
    return [text.replace("$", r"\$") for text in texts]


def _shortened(text: str, most: int, between: str = "…") -> str:
    if len(text) <= most:
        return text
    room = max(most - len(between), 2)
    head = (room + 1) // 2
    return text[:head] + between + text[len(text) - (room - head) :]


def _numbered(text: str, most: int, number: int) -> str:
    return f"{text} ({number})" if len(text) <= most else _shortened(text, most, f"…{number}…")


def set_titles(axes: "Sequence[Axes]", names: Sequence[str]) -> None:
    """Set the titles of panels, shortened until none runs into another or out of the figure."""
    most = _MOST_OF_TITLE
    titles = _set(axes, names, most)
    if max(map(len, titles)) <= _ALWAYS_FIT:
        return
    # The room is known once the layout is done, which leaves the width of titles out of account.
    figure_of(axes[0]).draw_without_rendering()
    rooms = _rooms(axes)
    while most > _LEAST_OF_TITLE and any(
        axis.title.get_window_extent().width > room for axis, room in zip(axes, rooms, strict=True)
    ):
        most -= 2
        _set(axes, names, most)


def _set(axes: "Sequence[Axes]", names: Sequence[str], most: int) -> list[str]:
    titles = shown_names(names, most)
    for axis, title in zip(axes, titles, strict=True):
        axis.set_title(title, fontsize=axis.title.get_fontsize())
    return titles


def _rooms(axes: "Sequence[Axes]") -> list[float]:
    """Width that the title of each panel may have, centred above it, in pixels."""
    boxes = [axis.get_window_extent() for axis in axes]
    width = figure_of(axes[0]).bbox.width
    rooms = []
    for box in boxes:
        centre = (box.x0 + box.x1) / 2
        beside = [
            abs(centre - (other.x0 + other.x1) / 2)
            for other in boxes
            if other is not box and other.y0 < box.y1 and box.y0 < other.y1
        ]
        rooms.append(float(np.min([*beside, 2 * centre, 2 * (width - centre)])) - _GAP)
    return rooms
