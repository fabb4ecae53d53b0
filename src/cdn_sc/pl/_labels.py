"""Names beside points, placed so that none covers another."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from cdn_sc.pl._figure import figure_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# All in points.
_FONT, _LINE, _MARKER = 8.0, 9.5, 3.5
_SIDEWAYS, _LINES_AWAY = (7.0, 14.0, 26.0, 40.0), 9

Box = tuple[float, float, float, float]


def name_points(
    axis: "Axes",
    x: np.ndarray,
    y: np.ndarray,
    names: Sequence[str],
    *,
    bold: Sequence[bool],
    others: np.ndarray,
) -> None:
    """Write names beside points, with a line to the point where the name had to move away.

    The first names get the best places; a name for which there is no place is left out. The layout and the
    limits of the axes are final when this is called.

    Parameters
    ----------
    axis
        The axes.
    x, y
        The points, in data coordinates.
    names
        Their names.
    bold
        Which names to set in bold.
    others
        Further points that no name should cover, shape (number, 2).
    """
    points_per_pixel = 72 / figure_of(axis).dpi
    frame = axis.get_window_extent()
    corner = np.array([frame.x0, frame.y0])
    points = np.concatenate([np.column_stack([x, y]), others])
    places = (axis.transData.transform(points) - corner) * points_per_pixel
    room = (2.0, 0.0, frame.width * points_per_pixel, frame.height * points_per_pixel + _LINE / 2)
    taken: list[Box] = [(px - _MARKER, py - _MARKER, px + _MARKER, py + _MARKER) for px, py in places]
    offsets = _offsets()
    for point, place, name, heavy in zip(zip(x, y, strict=True), places[: len(x)], names, bold, strict=True):
        weight = "bold" if heavy else "normal"
        width = _width(name, weight)
        for sideways, up in offsets:
            left = place[0] + sideways - (width if sideways < 0 else 0)
            box = (left, place[1] + up - _LINE / 2, left + width, place[1] + up + _LINE / 2)
            if _inside(box, room) and not any(_overlap(box, other) for other in taken):
                break
        else:
            continue
        taken.append(box)
        axis.annotate(
            name,
            point,
            xytext=(sideways, up),
            textcoords="offset points",
            ha="left" if sideways > 0 else "right",
            va="center",
            fontsize=_FONT,
            fontweight=weight,
            arrowprops=None if up == 0 else _LINE_TO_POINT,
            annotation_clip=False,
        )


_LINE_TO_POINT = {"arrowstyle": "-", "color": "0.6", "lw": 0.6, "shrinkA": 0, "shrinkB": 3}


def _offsets() -> list[tuple[float, float]]:
    """Offsets of a name from its point, the nearest first."""
    offsets = [
        (side * sideways, sign * lines * _LINE)
        for lines in range(_LINES_AWAY)
        for sideways in _SIDEWAYS
        for sign in (1, -1)[: 2 if lines else 1]
        for side in (1, -1)
        # Level with the point, but away from it, is where the line would run through the name.
        if lines or sideways == _SIDEWAYS[0]
    ]
    return sorted(offsets, key=lambda offset: float(np.hypot(*offset)))


def _width(name: str, weight: str) -> float:
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    outline = TextPath((0, 0), name, size=_FONT, prop=FontProperties(weight=weight))
    return float(outline.get_extents().width) + 2


def _inside(box: Box, room: Box) -> bool:
    return box[0] >= room[0] and box[1] >= room[1] and box[2] <= room[2] and box[3] <= room[3]


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
