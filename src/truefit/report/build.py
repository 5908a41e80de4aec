"""Which report of which runs goes into which file?"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Literal

from truefit.atomic import write_whole
from truefit.data.imageset import ImageSet
from truefit.errors import InputError
from truefit.report import learning_curve, repeated, search
from truefit.report.card import card
from truefit.report.charts import chart_names, find_chart
from truefit.report.comparison import page as comparison_page
from truefit.report.of_folder import FolderReport
from truefit.report.page import page
from truefit.runs.files import write_text
from truefit.runs.record import Record

Format = Literal["html", "md", "png"]
# Folders that hold more than a run.
OF_FOLDERS = (repeated.report_of, learning_curve.report_of, search.report_of)


def write_report(
    runs: Sequence[str | Path | Record],
    *,
    out: str | Path | None = None,
    form: Format = "html",
    overwrite: bool = False,
    images: ImageSet | None = None,
) -> Path:
    """Write the report of a run, of several side by side, or of a folder of seeds, folds, a learning curve or a search;
    returns where it is.

    form: "html" is one page that needs nothing else; "md" a model card for one run; "png" a folder of plots.
    out: None takes report.html, model_card.md or plots/ in the run's folder, and comparison.html where one stands for
    several runs. overwrite: replace a file that is there; a run's own report.html always is. images: the split that
    was evaluated, where it is in memory; otherwise pictures are read from where the data lay.

    Raises InputError: no run, damaged files, several runs for a format that takes one, a file in the way.
    """
    if len(runs) == 1 and not isinstance(runs[0], Record):
        folder = Path(runs[0])
        for report_of in OF_FOLDERS:
            report = report_of(folder)
            if report is not None:
                return _write_of_folder(report, folder, out, form, overwrite)
    records = [run if isinstance(run, Record) else Record.read(run) for run in runs]
    if not records:
        raise InputError("no run is named", fix="truefit report RUN")
    if form != "html" and len(records) > 1:
        raise InputError(f"--format {form} takes one run", found=f"{len(records)} runs", fix="name one, or use html")
    place = _place([record.folder for record in records], out, form, overwrite)
    if form == "png":
        _write_plots(records[0], place)
        return place
    if form == "md":
        text = card(records[0])
    else:
        text = page(records[0], images) if len(records) == 1 else comparison_page(records)
    _write(place, text)
    return place


def _write(place: Path, text: str) -> None:
    try:
        write_text(place, text)
    except OSError as error:
        raise InputError("the report can't be written", where=place, found=error, fix="name another --out") from error


def _write_of_folder(report: FolderReport, folder: Path, out: str | Path | None, form: Format, overwrite: bool) -> Path:
    if form == "md":
        raise InputError("a model card speaks of one model", where=folder, found=report.found, fix=report.one_run)
    place = _place([folder], out, form, overwrite)
    if form == "html":
        _write(place, report.page())
        return place
    from truefit.report.figure import draw

    write_whole(place / "accuracy.png", partial(draw(report.chart).savefig, dpi=160))
    return place


def _place(folders: Sequence[Path | None], out: str | Path | None, form: Format, overwrite: bool) -> Path:
    folder = folders[0] if len(folders) == 1 else Path()
    if out is None:
        if folder is None:
            raise InputError("this run has no folder", wanted="a place for the report", fix="name it: out=...")
        page_name = "report.html" if len(folders) == 1 else "comparison.html"
        place = folder / {"html": page_name, "md": "model_card.md", "png": "plots"}[form]
    else:
        place = Path(out)
    own = out is None and form == "html" and len(folders) == 1
    if form == "png":
        if place.exists() and not place.is_dir():
            raise InputError("the folder for plots is a file", where=place, fix="name another --out")
        if place.is_dir() and any(place.iterdir()) and not overwrite:
            raise InputError("the folder for plots is not empty", where=place, fix="name another --out, or --overwrite")
    elif place.is_dir():
        raise InputError("the report would be a folder", where=place, fix="name a file as --out")
    elif place.exists() and not own and not overwrite:
        raise InputError("there is a file in the way", where=place, fix="name another --out, or say --overwrite")
    return place


def _write_plots(record: Record, folder: Path) -> None:
    from truefit.report.figure import draw

    for name in chart_names():
        chart = find_chart(name, record)
        if chart is not None and (record.history or name != "curves"):
            write_whole(folder / f"{name}.png", partial(draw(chart).savefig, dpi=160))
