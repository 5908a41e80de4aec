"""Which report of which runs goes into which file?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

from truefit.atomic import write_whole
from truefit.data.imageset import ImageSet
from truefit.errors import InputError
from truefit.report import learning_curve, repeated, search
from truefit.report.card import card
from truefit.report.chart import Chart
from truefit.report.charts import chart_names, find_chart
from truefit.report.comparison import page as comparison_page
from truefit.report.page import page
from truefit.report.repeated import is_repeated
from truefit.runs.files import write_text
from truefit.runs.record import Record

Format = Literal["html", "md", "png"]


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
        if is_repeated(runs[0]):
            return _write_repeated(Path(runs[0]), out, form, overwrite)
        if learning_curve.is_learning_curve(runs[0]):
            return _write_learning_curve(Path(runs[0]), out, form, overwrite)
        if search.is_search(runs[0]):
            return _write_search(Path(runs[0]), out, form, overwrite)
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


def _write_repeated(folder: Path, out: str | Path | None, form: Format, overwrite: bool) -> Path:
    """The report of a folder of seeds or folds."""
    runs = repeated.read_repeated(folder)
    if form == "md":
        inside = folder / next(iter(runs.folders.values()))
        raise _no_card(folder, f"{len(runs.evaluations)} {runs.kind}s", f"name one of them, such as {inside}")
    place = _place([folder], out, form, overwrite)
    _write_one(place, form, repeated.chart(runs), lambda: repeated.page(runs))
    return place


def _write_learning_curve(folder: Path, out: str | Path | None, form: Format, overwrite: bool) -> Path:
    """The report of a learning curve."""
    curve = learning_curve.read_learning_curve(folder)
    if form == "md":
        raise _no_card(folder, "a learning curve", "name a run")
    place = _place([folder], out, form, overwrite)
    name = folder.resolve().name
    _write_one(place, form, learning_curve.chart(curve), lambda: learning_curve.page(name, curve))
    return place


def _write_search(folder: Path, out: str | Path | None, form: Format, overwrite: bool) -> Path:
    """The report of a search."""
    found = search.read_search(folder)
    if form == "md":
        raise _no_card(folder, "a search", f"name {folder / 'default'}")
    place = _place([folder], out, form, overwrite)
    _write_one(place, form, search.chart(found), lambda: search.page(folder.resolve().name, found))
    return place


def _no_card(folder: Path, found: str, fix: str) -> InputError:
    return InputError("a model card speaks of one model", where=folder, found=found, fix=fix)


def _write_one(place: Path, form: Format, chart: Chart, page_of: Callable[[], str]) -> None:
    """A page, or its one chart as a picture."""
    if form == "html":
        _write(place, page_of())
        return
    from truefit.report.figure import draw

    write_whole(place / "accuracy.png", partial(draw(chart).savefig, dpi=160))


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
        if chart is not None:
            write_whole(folder / f"{name}.png", partial(draw(chart).savefig, dpi=160))
