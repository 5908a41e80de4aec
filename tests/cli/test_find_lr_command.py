"""truefit find-lr: what it writes, and what it refuses."""

from __future__ import annotations

from pathlib import Path

from fruit import draw_classes


def test_a_plot_is_not_replaced_unless_that_is_said(invoke, tmp_path):
    folder = draw_classes(tmp_path / "few", 8)
    words = ("find-lr", folder, "--batch-size", "8", "--steps", "10", "--device", "cpu", "--out", "lr.svg")
    Path("lr.svg").write_text("mine")
    answer = invoke(*words)
    assert answer.code == 2
    assert "where:  lr.svg" in answer.err
    assert "--overwrite" in answer.err
    assert Path("lr.svg").read_text() == "mine"
    answer = invoke(*words, "--overwrite")
    assert answer.code == 0, answer.err
    assert "<svg" in Path("lr.svg").read_text()


def test_a_seed_that_no_generator_takes_is_refused(invoke):
    answer = invoke("find-lr", "digits", "--seed", "9" * 23)
    assert answer.code == 2
    assert "seed is out of range" in answer.err
    assert "from 0 to below 2^63" in answer.err
