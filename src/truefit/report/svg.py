"""Draws a chart for the page: SVG whose colours are the page's own, light or dark. No figure needs a picture file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from truefit.report.chart import Chart, Columns, Line, Panel

WIDTH, HEIGHT = 440, 280
LEFT, RIGHT, TOP, BOTTOM = 54, 14, 30, 44
TICKS = 5


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A panel as SVG, and what its colours mean: (class of the key, label) each."""

    svg: Markup
    legend: list[tuple[str, str]]


def draw(chart: Chart, name: str) -> list[Drawing]:
    """Each panel of a chart. `name` makes the ids on a page unique; it is a plain word."""
    return [_draw(chart, panel, f"{name}-{number}") for number, panel in enumerate(chart.panels)]


def _draw(chart: Chart, panel: Panel, name: str) -> Drawing:
    marks = [mark for mark in panel.marks if isinstance(mark, Line | Columns)]
    x_range, y_range = _ranges(panel, marks)
    scale = _Scale(x_range, y_range)
    parts = _axes(panel, scale)
    legend: list[tuple[str, str]] = []
    if panel.diagonal:
        parts.append(_path([scale.point(*_corner(scale, 0)), scale.point(*_corner(scale, 1))], "diagonal"))
        legend.append(("diagonal", panel.diagonal))
    for mark in marks:
        if isinstance(mark, Columns):
            parts += [_column(scale, edges, height) for edges, height in zip(mark.edges, mark.heights, strict=True)]
            legend.append(("column", mark.label))
        else:
            drawn, key = _line(scale, mark)
            parts += drawn
            legend += key
    if panel.rule is not None:
        parts.append(_rule(scale, *panel.rule))
    text = f"{chart.title}: {panel.y_label} against {panel.x_label}" if panel.y_label else chart.title
    svg = (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="{name}-title {name}-text">'
        f'<title id="{name}-title">{escape(text)}</title><desc id="{name}-text">{escape(chart.summary)}</desc>'
        + "".join(parts)
        + "</svg>"
    )
    return Drawing(svg=Markup(svg), legend=legend)


class _Scale:
    """From figures to places on the drawing."""

    def __init__(self, x: tuple[float, float], y: tuple[float, float]) -> None:
        self.x, self.y = x, y

    def point(self, x: float, y: float) -> tuple[float, float]:
        across = (x - self.x[0]) / (self.x[1] - self.x[0])
        up = (y - self.y[0]) / (self.y[1] - self.y[0])
        return (
            round(LEFT + across * (WIDTH - LEFT - RIGHT), 2),
            round(HEIGHT - BOTTOM - min(max(up, 0.0), 1.0) * (HEIGHT - TOP - BOTTOM), 2),
        )


def _corner(scale: _Scale, which: int) -> tuple[float, float]:
    return scale.x[which], scale.y[which]


def _ranges(panel: Panel, marks: Sequence[Line | Columns]) -> tuple[tuple[float, float], tuple[float, float]]:
    x: list[float] = []
    y: list[float] = []
    for mark in marks:
        if isinstance(mark, Columns):
            x += [edge for edges in mark.edges for edge in edges]
            y += [0.0, *mark.heights]
        else:
            x += mark.x
            y += [*mark.y, *(bound for bounds in mark.band or () for bound in bounds)]
    y = [value for value in y if math.isfinite(value)]
    return panel.x_range or _fit(x, 0.0), panel.y_range or _fit(y, 0.04, ceiling=1.0 if panel.y_percent else None)


def _fit(values: Sequence[float], margin: float, ceiling: float | None = None) -> tuple[float, float]:
    """A range around the values, a little wider; of one value, or none, some range all the same."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if low == high:
        low, high = low - 0.5, high + 0.5
    room = (high - low) * margin
    bottom = max(0.0, low - room) if low >= 0 else low - room
    top = high + room
    if ceiling is not None and high <= ceiling:
        top = min(top, ceiling)
    return bottom, top


def ticks(low: float, high: float, most: int = TICKS, whole: bool = False) -> list[float]:
    """Round figures (1, 2 or 5 times a power of ten apart) within low..high: between two and `most` + 1 of them."""
    step = 10 ** math.floor(math.log10((high - low) / most))
    for factor in (1, 2, 5, 10, 20):
        if (high - low) / (step * factor) <= most:
            step *= factor
            break
    if whole:
        step = max(1, round(step))
    first = math.ceil(low / step - 1e-9)
    found = []
    while first * step <= high + 1e-9 * step:
        found.append(first * step)
        first += 1
    return found


def _texts(values: Sequence[float], percent: bool) -> list[str]:
    """The ticks' labels, all with the decimals that the finest needs."""
    factor = 100.0 if percent else 1.0
    step = abs(values[1] - values[0]) * factor if len(values) > 1 else abs(values[0] * factor) if values else 1.0
    decimals = max(0, -math.floor(math.log10(step) + 1e-9)) if step else 0
    if decimals > 4:
        return [f"{value * factor:.0e}" if value else "0" for value in values]
    return [f"{value * factor:,.{decimals}f}" + (" %" if percent else "") for value in values]


def _axes(panel: Panel, scale: _Scale) -> list[str]:
    parts = []
    across, up = ticks(*scale.x, whole=panel.whole_x), ticks(*scale.y)
    for value, text in zip(up, _texts(up, panel.y_percent), strict=True):
        x, y = scale.point(scale.x[0], value)
        parts.append(f'<path class="grid" d="M{x} {y}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text class="tick" x="{x - 8}" y="{y + 4}" text-anchor="end">{escape(text)}</text>')
    bottom = HEIGHT - BOTTOM
    for value, text in zip(across, _texts(across, panel.x_percent), strict=True):
        x, _ = scale.point(value, scale.y[0])
        anchor = "end" if x > WIDTH - RIGHT - 12 else "middle"
        end = WIDTH if anchor == "end" else x
        parts.append(f'<text class="tick" x="{end}" y="{bottom + 18}" text-anchor="{anchor}">{escape(text)}</text>')
    parts.append(f'<path class="axis" d="M{LEFT} {bottom}H{WIDTH - RIGHT}"/>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(
        f'<text class="label" x="{middle}" y="{HEIGHT - 6}" text-anchor="middle">{escape(panel.x_label)}</text>'
    )
    parts.append(f'<text class="label" x="0" y="14">{escape(panel.y_label)}</text>')
    return parts


def _line(scale: _Scale, line: Line) -> tuple[list[str], list[tuple[str, str]]]:
    kind = "s-" + line.role.replace(" ", "-")
    points = [scale.point(x, y) for x, y in zip(line.x, line.y, strict=True) if math.isfinite(y)]
    parts, legend = [], []
    whiskers = line.whiskers or len(line.x) == 1
    if line.band is not None and whiskers:
        for x, (low, high) in zip(line.x, line.band, strict=True):
            parts.append(_path([scale.point(x, low), scale.point(x, high)], f"whisker {kind}"))
    elif line.band is not None:
        lows = [scale.point(x, low) for x, (low, _) in zip(line.x, line.band, strict=True)]
        highs = [scale.point(x, high) for x, (_, high) in zip(line.x, line.band, strict=True)]
        parts.append(_path([*lows, *reversed(highs)], f"band {kind}", closed=True))
    if line.joined and len(points) > 1:
        parts.append(_path(points, f"line {kind}"))
    if line.dots or len(points) == 1:
        radius = 4 if not line.joined else 3 if len(points) <= 30 else 1.5
        parts += [f'<circle class="dot {kind}" cx="{x}" cy="{y}" r="{radius}"/>' for x, y in points]
    legend.append((f"{'line' if line.joined else 'dot'} {kind}", line.label))
    if line.band is not None and line.band_label:
        legend.append((f"{'whisker' if whiskers else 'band'} {kind}", line.band_label))
    return parts, legend


def _column(scale: _Scale, edges: tuple[float, float], height: float) -> str:
    left, top = scale.point(edges[0], height)
    right, bottom = scale.point(edges[1], scale.y[0])
    width = max(1.0, right - left - 2)
    return f'<rect class="column" x="{left + 1}" y="{top}" width="{width:.2f}" height="{bottom - top:.2f}" rx="1.5"/>'


def _rule(scale: _Scale, at: float, label: str) -> str:
    x, _ = scale.point(at, scale.y[0])
    anchor = "end" if x > WIDTH - 110 else "start" if x < LEFT + 60 else "middle"
    return (
        f'<path class="rule" d="M{x} {TOP - 8}V{HEIGHT - BOTTOM}"/>'
        f'<text class="rule-label" x="{min(x, WIDTH - 2)}" y="{TOP - 14}" text-anchor="{anchor}">{escape(label)}</text>'
    )


def _path(points: Sequence[tuple[float, float]], kind: str, closed: bool = False) -> str:
    return f'<path class="{kind}" d="M' + "L".join(f"{x} {y}" for x, y in points) + ("Z" if closed else "") + '"/>'
