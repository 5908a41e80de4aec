"""Charts of a run. To add one: a file here with `chart(record) -> Chart | None`; nothing else changes.

`truefit.plot(run, "NAME")` shows it and `truefit report RUN --format png` writes it, under the file's name. None:
the run has nothing for it to show.
"""

from __future__ import annotations

import importlib
import pkgutil

from truefit.errors import InputError, nearest
from truefit.report.chart import Chart
from truefit.runs.record import Record


def chart_names() -> list[str]:
    """All kinds of charts, by name."""
    return sorted(info.name for info in pkgutil.iter_modules(__path__))


def find_chart(name: str, record: Record) -> Chart | None:
    """The chart of a run; None where it has nothing to show. InputError where no chart is called so."""
    if name not in chart_names():
        raise InputError(f'no chart is called "{name}"', fix=nearest(name, chart_names()))
    chart: Chart | None = importlib.import_module(f"{__name__}.{name}").chart(record)
    return chart
