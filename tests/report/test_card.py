"""The model card: front matter that the hub reads, and text that stays text."""

from __future__ import annotations

import yaml
from made_up import evaluation, record

from truefit.report.card import card


def front(text: str) -> dict:
    _, matter, _ = text.split("---\n", 2)
    return yaml.safe_load(matter)


def test_front_matter_has_the_figure_with_its_interval():
    of = evaluation(("ant", "bee", "cat"))
    matter = front(card(record(evaluation=of)))
    assert matter["pipeline_tag"] == "image-classification"
    (model,) = matter["model-index"]
    (result,) = model["results"]
    assert result["task"]["type"] == "image-classification"
    assert result["dataset"] == {"type": "made up", "name": "made up", "split": "test"}
    accuracy = result["metrics"][0]
    assert (accuracy["type"], accuracy["value"]) == ("accuracy", of.accuracy)
    assert accuracy["args"]["interval"] == list(of.interval)
    assert accuracy["args"]["n"] == 60


def test_card_says_the_verdict_and_the_figures_of_each_class():
    text = card(record())
    assert "of 60 test images are classified correctly" in text
    assert "| ant |" in text
    assert 'truefit.load("path/to/this/folder")' in text


def test_card_without_an_evaluation_claims_nothing():
    text = card(record(evaluation=None))
    assert "model-index" not in front(text)
    assert "has not been evaluated" in text


def test_names_cannot_break_the_card():
    bad = "a|b\n---\n<script>`x`: - *y*"
    text = card(record((bad, "b"), evaluation=evaluation((bad, "b"))))
    assert front(text)["library_name"] == "truefit"
    assert "<script>" not in text
    rows = [line for line in text.splitlines() if "&lt;script&gt;" in line and line.startswith("|")]
    assert len(rows) == 1
    assert rows[0].replace("\\|", "").count("|") == 6
