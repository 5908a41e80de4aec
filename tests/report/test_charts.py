"""Charts: described once, drawn for the page and by matplotlib."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up import epoch, evaluation, record

import truefit
from truefit import InputError
from truefit.report import svg
from truefit.report.chart import Chart, Grid, Line, Panel, Rows
from truefit.report.charts import chart_names, find_chart
from truefit.report.figure import draw

DRAWN = ("curves", "learning_rate", "reliability", "risk_coverage")
SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize("name", DRAWN)
def test_drawing_is_whole_and_says_what_it_shows(name):
    chart = find_chart(name, record())
    for drawing in svg.draw(chart, name):
        root = ElementTree.fromstring(str(drawing.svg).replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1))
        assert root.find(f"{SVG}title").text
        assert root.find(f"{SVG}desc").text == chart.summary
        assert "nan" not in str(drawing.svg)
        # Colours belong to the page.
        assert not [part for part in root.iter() if set(part.attrib) & {"fill", "stroke", "style"}]


@pytest.mark.parametrize("name", chart_names())
def test_matplotlib_draws_every_chart(name, tmp_path):
    figure = truefit.plot(record(), name)
    figure.savefig(tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 3000


def test_signs_that_the_font_lacks_are_named_and_not_warned_about(tmp_path):
    names = ("🐶", "❤️ cat", "猫", "cost $5")
    chart = Chart(
        title="🐶", summary="", panels=[Panel(x_label="", y_label="", marks=[Grid(counts=[[1] * 4] * 4, names=names)])]
    )
    figure = draw(chart)
    figure.savefig(tmp_path / "plot.png")  # a warning is an error here
    shown = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert shown == [":dog face:", names[1], "U+732B", r"cost \$5"]


@pytest.mark.parametrize("name", ["confusion", "per_class", "reliability", "risk_coverage"])
def test_plot_takes_an_evaluation_alone(name):
    assert truefit.plot(evaluation(("a", "b")), name).axes


@pytest.mark.parametrize(
    ("what", "kind", "match"),
    [
        (record(), "confusoin", 'did you mean "confusion"'),
        (record(evaluation=None), "confusion", "nothing to show"),
        (evaluation(("a", "b")), "curves", "nothing to show"),
        ({"training_loss_per_batch": []}, "confusion", "curves and nothing else"),
    ],
)
def test_what_cannot_be_shown_is_an_input_error(what, kind, match):
    with pytest.raises(InputError, match=match):
        truefit.plot(what, kind)


def test_names_that_look_like_formulas_are_drawn_as_text(tmp_path):
    names = (r"$\frac{", "$x$", "a_b")
    truefit.plot(evaluation(names), "confusion").savefig(tmp_path / "plot.png")
    truefit.plot(evaluation(names), "per_class").savefig(tmp_path / "plot.png")


def test_chosen_epoch_is_marked():
    loss, accuracy = find_chart("curves", record()).panels
    assert loss.rule == accuracy.rule == (2.0, "chosen: epoch 2")
    assert "chosen: epoch 2" in svg.draw(find_chart("curves", record()), "x")[0].svg


def test_curves_name_another_split_than_validation():
    rows = [{**epoch(1), "validation_split": "test"}]
    _, accuracy = find_chart("curves", record(history=rows)).panels
    assert accuracy.marks[1].label.startswith("test (selected on test)")


def test_points_of_the_reliability_diagram_are_those_of_the_measure():
    of = evaluation(("a", "b", "c"), 300)
    (line,) = find_chart("reliability", record(evaluation=of)).panels[0].marks
    assert isinstance(line, Line)
    bins = of.measures["calibration"]["curve"]
    assert list(line.y) == [bin["accuracy"] for bin in bins]
    assert all(low <= y <= high for y, (low, high) in zip(line.y, line.band, strict=True))


def test_risk_at_full_coverage_is_the_error_and_ties_do_not_depend_on_order():
    of = evaluation(("a", "b", "c"), 300)
    (line,) = find_chart("risk_coverage", record(evaluation=of)).panels[0].marks
    assert line.x[-1] == 1
    assert line.y[-1] == pytest.approx(1 - of.accuracy)
    half = line.y[len(line.y) // 2]
    assert half < line.y[-1]
    # All equally sure: no part of them is better than the whole.
    labels = np.arange(10) % 2
    same = type(of).from_logits(np.tile([1.0, 0.0], (10, 1)), labels, classes=("a", "b"), split="test")
    (line,) = find_chart("risk_coverage", record(evaluation=same)).panels[0].marks
    assert line.y == pytest.approx([0.5] * 10)


def test_worst_class_comes_first_and_one_without_samples_is_left_out():
    of = evaluation(("a", "b", "c", "never"), 300)
    labels = np.where(of.label == 3, 0, of.label)
    of = type(of).from_logits(np.log(of.probabilities), labels, classes=of.classes, split="test")
    (rows,) = find_chart("per_class", record(evaluation=of)).panels[0].marks
    assert isinstance(rows, Rows)
    assert "never" not in rows.names
    assert list(rows.values) == sorted(rows.values)


def test_matrix_is_the_measure_and_is_refused_for_a_thousand_classes():
    of = evaluation(("a", "b"))
    (grid,) = find_chart("confusion", record(evaluation=of)).panels[0].marks
    assert isinstance(grid, Grid)
    assert grid.counts == of.measures["confusion"]
    many = tuple(map(str, range(100)))
    assert find_chart("confusion", record(evaluation=evaluation(many, 200))) is None


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6), st.booleans())
def test_ticks_are_round_few_and_inside(low, width, whole):
    high = low + width
    if low == high:
        return
    found = svg.ticks(low, high, whole=whole)
    assert len(found) <= svg.TICKS + 1
    # A whole number counts as inside where rounding alone has put it outside.
    near = 1e-6 * (max(1.0, width) if whole else width)
    assert all(low - near <= tick <= high + near for tick in found)
    if whole:
        assert all(tick == round(tick) for tick in found)


@pytest.mark.parametrize("epochs", [0, 1, 2, 300])
def test_any_number_of_epochs_can_be_drawn(epochs):
    chart = find_chart("curves", record(history=[epoch(at) for at in range(1, epochs + 1)]))
    assert len(svg.draw(chart, "x")) == 2


def test_notebook_shows_the_sentence():
    html = evaluation(("a", "b"))._repr_html_()
    assert "of 60 test samples are classified correctly" in html
