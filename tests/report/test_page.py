"""What the page of a run says, and what it leaves out."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from made_up import config, epoch, evaluation, files, pictures, record
from PIL import Image

import truefit
from truefit import InputError
from truefit.report.build import write_report
from truefit.report.page import Sample, duration, page, plain_rows
from truefit.report.pictures import collect
from truefit.report.rows import cell_rows, confidence_of, least_sure_hits, surest_mistakes, worst_pairs
from truefit.runs.words import caution, percent, verdict


def plain(html: str) -> str:
    """The page's words."""
    body = html[html.index("<main") :]
    return " ".join(re.sub(r"<script.*?</script>|<[^>]+>", " ", body, flags=re.DOTALL).split())


def test_verdict_names_accuracy_interval_n_split_weights_and_selection():
    run = record()
    measured = run.evaluation
    low, high = measured.interval
    sentence = verdict(measured, "images")
    assert sentence == (
        f"{100 * measured.accuracy:.1f} % of 60 test images are classified correctly (95 % Wilson interval "
        f"{100 * low:.1f} to {100 * high:.1f} %), with the weights of epoch 2, selected on validation."
    )
    heading = re.search(r"<h1>(.*?)</h1>", page(run), re.DOTALL)[1]
    assert " ".join(re.sub(r"<[^>]+>", "", heading).split()) == sentence
    averaged = replace(measured, weights="best (epoch 2), averaged over steps")
    assert verdict(averaged, "images").endswith("with the averaged weights of epoch 2, selected on validation.")
    averaged = replace(measured, weights="last (epoch 3), averaged over steps", selected_on=None)
    assert verdict(averaged).endswith("with the averaged weights of the last epoch (3), which nothing selected.")


@pytest.mark.parametrize(
    ("about", "said"),
    [
        ({"weights": "last (epoch 3)", "selected_on": None}, "the last epoch (3), which nothing selected"),
        ({"weights": "as given", "selected_on": None}, "with the weights as given."),
    ],
)
def test_verdict_of_other_weights(about, said):
    assert said in verdict(evaluation(("a", "b"), **about))


def test_figure_on_the_split_that_selected_is_marked():
    assert "chosen on these very validation samples" in caution(evaluation(("a", "b"), split="validation"))
    assert "looked at test 3 times" in caution(evaluation(("a", "b"), looks=3))
    assert caution(evaluation(("a", "b"))) == ""


@pytest.mark.parametrize(
    ("fraction", "text"),
    [(0.8649, "86.5 %"), (0.99999, "> 99.9 %"), (1.0, "100.0 %"), (1e-5, "< 0.1 %"), (None, "n/a")],
)
def test_percent_never_rounds_to_certainty(fraction, text):
    assert percent(fraction) == text


@pytest.mark.parametrize(("seconds", "text"), [(3.14159, "3.14 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")])
def test_duration(seconds, text):
    assert duration(seconds) == text


def test_run_without_validation_has_curves_of_training_alone():
    run = record(history=[epoch(1, validated=False)], weights="last (epoch 1)", selected_on=None)
    text = plain(page(run))
    assert "training (with augmentation)" in page(run)
    assert "chosen:" not in text


@pytest.mark.parametrize("history", [[], [epoch(1)]])
def test_run_that_broke_off_says_that_there_is_no_figure(history):
    text = plain(page(record(history=history, evaluation=None, weights=None)))
    assert "No figure Training did not finish" in text
    assert "What is taken for what" not in text


def test_run_without_any_evaluation_says_why():
    run = record(evaluation=None, weights="last (epoch 3)")
    assert "neither validation nor test" in plain(page(run))


def test_two_classes_and_no_mistakes():
    classes = ("no", "yes")
    logits = np.eye(2)[np.arange(10) % 2] * 9
    of = type(evaluation(classes)).from_logits(logits, np.arange(10) % 2, classes=classes, split="test")
    text = plain(page(record(classes, evaluation=of)))
    assert "There are no mistakes." in text
    assert "Wrong, and sure of it" not in text


def test_tensors_have_no_pictures_and_it_is_said():
    html = page(record(images="tensors"))
    assert "data:image/jpeg" not in html
    assert "the data set gave tensors, not pictures" in html
    assert "60 test samples" in plain(html)


def test_data_that_is_gone_is_said(tmp_path):
    of = evaluation(("ant", "bee", "cat"))
    there = replace(of, paths=files(of, tmp_path / "data"))
    assert "data:image/jpeg" in page(record(evaluation=there))
    gone = replace(of, paths=tuple(f"{tmp_path}/gone/{row}.png" for row in range(of.n)))
    html = page(record(evaluation=gone))
    assert "data:image/jpeg" not in html
    assert "no longer where they were" in html


def test_some_files_that_are_gone_leave_the_others(tmp_path):
    of = evaluation(("ant", "bee", "cat"))
    there = replace(of, paths=files(of, tmp_path))
    Path(there.paths[0]).unlink()
    Path(there.paths[1]).write_bytes(b"no image")
    found = collect(record(evaluation=there), range(of.n))
    assert len(found.tiles) == of.n - 2
    assert found.missing.startswith("2 of 60 files")


def test_tile_shows_the_sample_it_stands_for():
    run = record()
    shown = pictures(run.evaluation)
    found = collect(run, [7, 3, 3, 20], shown)
    assert list(found.tiles) == [7, 3, 20]
    sprite = np.asarray(Image.open(BytesIO(base64.b64decode(found.uri.partition(",")[2]))))
    for row, tile in found.tiles.items():
        y, x = (tile // found.columns + 0.5) * found.side, (tile % found.columns + 0.5) * found.side
        assert abs(int(sprite[int(y), int(x), 0]) - int(shown.pixels[row, 0, 0, 0])) <= 3


def test_page_points_at_the_tile_of_each_sample():
    run = record()
    found = collect(run, range(60), pictures(run.evaluation))
    sample = Sample(run.evaluation, found)
    places = [(sample(row)["y"], sample(row)["x"]) for row in range(60)]
    assert places == [divmod(tile, found.columns) for tile in range(60)]
    assert max(places)[0] == found.lines - 1 > 0


def test_other_data_than_was_measured_is_not_shown():
    run = record()
    assert collect(run, [1], pictures(evaluation(("ant", "bee", "cat"), 30))).missing == "the data is not what it was"


def test_names_are_escaped_everywhere():
    bad = "</script><b title='x'>&"
    run = record((bad, "b", "c"), evaluation=evaluation((bad, "b", "c")))
    run.config["data"]["name"] = bad
    html = page(
        replace(
            run,
            more={
                bad: {bad: bad},
                "doctor": {"findings": [{"code": bad, "outcome": bad, "message": bad, "reason": bad, "fix": bad}]},
            },
        )
    )
    assert bad not in html
    assert html.count("</script>") == 2


def test_figure_of_a_metric_file_without_a_section_stands_in_a_table():
    run = record()
    run.evaluation.measures["top_of_all"] = {"value": 0.875, "interval": [0.75, 0.95], "method": "by hand"}
    run.evaluation.measures["plain_number"] = 7
    text = plain(page(run))
    assert "top of all 0.875 [0.75, 0.95]" in text
    assert "top of all: method by hand" in text
    assert "plain number 7" in text


def test_files_that_a_run_has_get_sections():
    ledger = [{"split": "validation", "by": "train", "looks": 3, "chose": ["best epoch"]}]
    doctor = {
        "findings": [{"code": "FIT101", "outcome": "warn", "message": "softmax", "reason": "", "fix": "remove it"}]
    }
    html = page(record(more={"ledger": ledger, "doctor": doctor, "learning_curve": [{"n": 10, "accuracy": 0.5}]}))
    text = plain(html)
    assert "validation train 3 best epoch" in text
    assert "FIT101 warn softmax" in text
    assert "learning curve" in text
    without = plain(page(record()))
    assert "doctor" not in without
    assert "What each split was used for" not in without


def test_matrix_gives_way_to_pairs_when_there_are_many_classes():
    classes = tuple(map(str, range(100)))
    html = page(record(classes, evaluation=evaluation(classes, 500)))
    assert '<table class="matrix' not in html
    of = evaluation(classes, 500)
    true, chosen, count = worst_pairs(of)[0]
    assert count == max(
        row[column] for at, row in enumerate(of.measures["confusion"]) for column in range(100) if at != column
    )
    assert f'data-cell="{true},{chosen}" data-count="{count}"' in html


def test_rows_are_ordered_as_they_are_called():
    of = evaluation(("a", "b", "c"), 200)
    confidence = confidence_of(of)
    wrong, right = surest_mistakes(of, 9), least_sure_hits(of, 9)
    assert (of.predicted[wrong] != of.label[wrong]).all()
    assert (of.predicted[right] == of.label[right]).all()
    assert (np.diff(confidence[wrong]) <= 0).all()
    assert (np.diff(confidence[right]) >= 0).all()
    assert confidence[wrong[0]] == confidence[of.predicted != of.label].max()
    cell = cell_rows(of, 0, 1, 100)
    assert sorted(cell) == np.flatnonzero((of.label == 0) & (of.predicted == 1)).tolist()


def test_page_can_be_made_of_a_run_folder_and_is_replaced(tmp_path):
    folder = tmp_path / "run"
    run = record()
    run.evaluation.save(folder)
    (folder / "config.json").write_text(json.dumps({"schema": 1, **config(("ant", "bee", "cat"))}))
    (folder / "history.jsonl").write_text("".join(json.dumps({"schema": 1, **row}) + "\n" for row in run.history))
    first = write_report([folder])
    assert first == folder / "report.html"
    assert write_report([folder]) == first
    (folder / "evaluations" / "more").mkdir(parents=True)
    run.evaluation.save(folder / "evaluations" / "more")
    write_report([folder])
    assert "more" in plain(first.read_text(encoding="utf-8"))
    assert write_report([folder], form="png").is_dir()
    assert {file.stem for file in (folder / "plots").iterdir()} == {
        "confusion", "curves", "learning_rate", "per_class", "reliability", "risk_coverage"
    }  # fmt: skip


def test_what_stands_in_the_way_is_not_replaced(tmp_path):
    mine = tmp_path / "mine.html"
    mine.write_text("mine")
    with pytest.raises(InputError, match="in the way"):
        write_report([record()], out=mine)
    assert mine.read_text() == "mine"
    write_report([record()], out=mine, overwrite=True)
    assert mine.read_text().startswith("<!doctype html>")
    with pytest.raises(InputError, match="takes one run"):
        write_report([record(), record()], form="md", out=tmp_path / "card.md")
    with pytest.raises(InputError, match="has no folder"):
        write_report([record()])


def test_runs_side_by_side_show_figures_curves_and_what_differs(tmp_path):
    other = record(("ant", "bee", "cat"), history=[epoch(1)], evaluation=evaluation(("ant", "bee", "cat"), seed=1))
    other.config["recipe"]["optimizer"]["lr"] = 0.5
    html = write_report([record(), other], out=tmp_path / "both.html").read_text(encoding="utf-8")
    text = plain(html)
    assert "made up (1)" in text
    assert "recipe.optimizer.lr 0.03 0.5" in text
    assert html.count('class="line s-run-0"') == 2
    assert "the highest accuracy" in text
    few = record(evaluation=evaluation(("ant", "bee", "cat"), 30))
    text = plain(write_report([record(), few], out=tmp_path / "few.html").read_text(encoding="utf-8"))
    assert "not known to have been measured on the same samples" in text


def test_pictures_of_a_known_data_set_are_found_by_its_name_and_only_if_it_is_what_it_was():
    data = truefit.load_data("digits")
    labels = data.test.labels
    logits = np.eye(10)[labels] * 3.0
    of = type(evaluation(("a", "b"))).from_logits(logits, labels, classes=data.test.classes, split="test")
    run = record(data.test.classes, evaluation=of)
    splits = {"test": {"n": 360, "fingerprint": data.test.fingerprint()}}
    run.config["data"] |= {"spec": "digits", "options": data.options, "splits": splits}
    assert list(collect(run, [5, 6]).tiles) == [5, 6]
    splits["test"]["fingerprint"] = "blake2b:other"
    assert collect(run, [5, 6]).tiles == {}


def test_nothing_is_downloaded_for_pictures(monkeypatch, tmp_path):
    monkeypatch.setenv("TRUEFIT_DATA", str(tmp_path))
    run = record()
    run.config["data"] |= {"spec": "cifar10", "options": {}}
    assert "would have to be downloaded" in collect(run, [1]).missing
    assert list(tmp_path.iterdir()) == []


def test_single_epoch_has_an_interval_too():
    html = page(record(history=[epoch(1)]))
    assert 'class="whisker s-validation"' in html
    assert "1 epoch." in html


def test_further_figures_stand_with_their_intervals_and_without_empty_ones():
    value = {
        "precision": 0.5,
        "precision_interval": [0.25, 0.75],
        "recall": 0.75,
        "seed": 3,
        "top_k": [],
        "value": 0.9,
        "interval": [0.8, 1.0],
        "undefined": None,
        "undefined_interval": None,
    }
    assert plain_rows("macro average", value) == [
        ("macro average: precision", "0.5  [0.25, 0.75]"),
        ("macro average: recall", "0.75"),
        ("macro average: seed", "3"),
        ("macro average", "0.9  [0.8, 1]"),
        ("macro average: undefined", "none"),
    ]
