"""What a chart is: its figures, labels and words, apart from how it is drawn.

A chart is described once. `svg.py` draws it for the page, in the reader's light or dark colours, and `figure.py`
through matplotlib for Python and for files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line through points.

    role: what it shows, which decides its colour: "training", "validation", "figure", or "run 0", "run 1"...
    band: (low, high) at each point, with a name of its own. whiskers: whether the band is drawn as a bar at each
    point instead. dots: mark each point. joined: draw the line itself.
    """

    x: Sequence[float]
    y: Sequence[float]
    label: str
    role: str
    band: Sequence[tuple[float, float]] | None = None
    band_label: str = ""
    whiskers: bool = False
    dots: bool = True
    joined: bool = True


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Upright bars: from `edges[i]` to `edges[i][1]` on the x-axis, as high as `heights[i]`."""

    edges: Sequence[tuple[float, float]]
    heights: Sequence[float]
    label: str


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Lying bars, the first on top: a name, a value in 0..1 (None: not defined) and its interval each."""

    names: Sequence[str]
    values: Sequence[float | None]
    intervals: Sequence[tuple[float, float] | None]


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A matrix of counts: row = true class, column = predicted class."""

    counts: Sequence[Sequence[int]]
    names: Sequence[str]


Mark = Line | Columns | Rows | Grid


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One pair of axes.

    x_range, y_range: what the axes span; None fits them to the marks. x_percent, y_percent: fractions, written as per
    cent. whole_x: only whole numbers on the x-axis. rule: a line straight up at x, with its label. diagonal: a line
    from (0, 0) to (1, 1), with this label.
    """

    x_label: str
    y_label: str
    marks: Sequence[Mark]
    x_range: tuple[float, float] | None = None
    y_range: tuple[float, float] | None = None
    x_percent: bool = False
    y_percent: bool = False
    whole_x: bool = False
    rule: tuple[float, str] | None = None
    diagonal: str = ""


@dataclass(frozen=True, kw_only=True)
class Chart:
    """title: what it shows. summary: what there is to be seen, in a sentence or two, for those who cannot see it."""

    title: str
    summary: str
    panels: Sequence[Panel]
