"""Draws a chart through matplotlib: for notebooks, and for files."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Any

from truefit.report.chart import Chart, Columns, Grid, Line, Panel, Rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, MUTED, RULE = "#20242b", "#5d6570", "#dfe1e5"
COLOURS = {"training": "#a85a12", "validation": "#1f5fae", "figure": "#1f5fae"}
# For runs side by side: dark enough on white, and told apart by readers with colour vision deficiencies.
RUNS = ("#1f5fae", "#a85a12", "#23775a", "#8a3f8f", "#5d6570", "#b3323c")


def draw(chart: Chart) -> Figure:
    """A matplotlib figure with an axes for each panel, made without pyplot: it leaves no global state."""
    from truefit.report.shown import ShownFigure

    grids = [mark for panel in chart.panels for mark in panel.marks if isinstance(mark, Grid | Rows)]
    rows = max((len(mark.names) for mark in grids), default=0)
    width = 4.5 * len(chart.panels) if not grids else max(6.0, 0.42 * rows + 2 if _is_grid(grids[0]) else 6.0)
    figure = ShownFigure(figsize=(width, max(3.4, 0.36 * rows + 1.4) if grids else 3.4), layout="constrained")
    for axes, panel in zip(figure.subplots(1, len(chart.panels), squeeze=False)[0], chart.panels, strict=True):
        _panel(axes, panel)
    figure.suptitle(_plain(chart.title), x=0.01, ha="left", fontsize=11, color=INK)
    return figure


def _is_grid(mark: Grid | Rows) -> bool:
    return isinstance(mark, Grid)


def _plain(text: str) -> str:
    """Text as it stands: matplotlib takes what is between two dollar signs for a formula.

    Signs that its font does not have are named (":dog face:", else "U+72AC"): they would be empty boxes, all alike.
    """
    from matplotlib.font_manager import FontProperties, findfont, get_font

    font = get_font(findfont(FontProperties()))
    return "".join(char if font.get_char_index(ord(char)) else _named(char) for char in text).replace("$", r"\$")


def _named(char: str) -> str:
    kind = unicodedata.category(char)
    if kind in ("Cf", "Mn", "Me"):  # joins or modifies its neighbour; without a glyph there is nothing to be seen of it
        return ""
    name = unicodedata.name(char, "") if kind == "So" else ""
    return f":{name.lower()}:" if name else f"U+{ord(char):04X}"


def _panel(axes: Any, panel: Panel) -> None:
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    axes.set_axisbelow(True)
    axes.grid(color=RULE, lw=0.8, axis="y")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(MUTED)
    axes.tick_params(colors=MUTED, length=0, labelsize=9)
    if panel.diagonal:
        axes.plot([0, 1], [0, 1], color=MUTED, lw=1, ls=(0, (3, 3)), label=_plain(panel.diagonal))
    for mark in panel.marks:
        match mark:
            case Line():
                _line(axes, mark)
            case Columns():
                widths = [high - low for low, high in mark.edges]
                axes.bar(
                    [low for low, _ in mark.edges], mark.heights, widths, align="edge", color=COLOURS["figure"], ec="w"
                )
            case Rows():
                _rows(axes, mark)
            case Grid():
                _grid(axes, mark)
    for axis, bounds, percent in (("x", panel.x_range, panel.x_percent), ("y", panel.y_range, panel.y_percent)):
        if bounds is not None:
            getattr(axes, f"set_{axis}lim")(*bounds)
        if percent:
            getattr(axes, f"{axis}axis").set_major_formatter(PercentFormatter(1.0, symbol=" %"))
    if panel.whole_x:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if panel.rule is not None:
        at, label = panel.rule
        axes.axvline(at, color=MUTED, lw=1, ls=(0, (3, 3)), label=_plain(label))
    axes.set_xlabel(panel.x_label, color=MUTED)
    axes.set_ylabel(panel.y_label, color=MUTED)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=9, labelcolor=INK)


def _line(axes: Any, line: Line) -> None:
    number = int(line.role.split()[1]) if line.role.startswith("run ") else None
    colour = COLOURS[line.role] if number is None else RUNS[number % len(RUNS)]
    style = {"color": colour, "label": _plain(line.label), "marker": "." if line.dots else None}
    if line.band is not None and line.whiskers:
        reach = [
            [y - low for y, (low, _) in zip(line.y, line.band, strict=True)],
            [high - y for y, (_, high) in zip(line.y, line.band, strict=True)],
        ]
        style["marker"] = "o"
        axes.errorbar(line.x, line.y, yerr=reach, ls="-" if line.joined else "", ms=4, lw=1.2, **style)
        return
    axes.plot(line.x, line.y, lw=1.6 if line.dots else 0.9, **style)
    if line.band:
        low, high = zip(*line.band, strict=True)
        axes.fill_between(line.x, low, high, color=colour, alpha=0.15, lw=0, label=line.band_label)


def _rows(axes: Any, rows: Rows) -> None:
    at = range(len(rows.names))
    values = [value or 0.0 for value in rows.values]
    axes.barh(at, values, height=0.62, color=COLOURS["validation"], alpha=0.35)
    for row, bounds in zip(at, rows.intervals, strict=True):
        if bounds is not None:
            axes.plot(bounds, [row, row], color=COLOURS["validation"], lw=1.6)
    axes.set_yticks(at, [_plain(name) for name in rows.names])
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.grid(color=RULE, lw=0.8, axis="x")


def _grid(axes: Any, grid: Grid) -> None:
    import numpy as np

    counts = np.asarray(grid.counts)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.grid(visible=False)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1.25)
    names = [_plain(name) for name in grid.names]
    axes.set_xticks(range(len(names)), names, rotation=90 if max(map(len, names)) > 3 else 0)
    axes.set_yticks(range(len(names)), names)
    axes.spines["bottom"].set_visible(False)
    if len(names) <= 25:
        for (row, column), count in np.ndenumerate(counts):
            if count:
                shade = "white" if share[row, column] > 0.6 else INK
                axes.text(column, row, f"{count:,}", ha="center", va="center", fontsize=8, color=shade)
