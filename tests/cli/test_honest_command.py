"""--select-on, --calibrate, --folds, --learning-curve, calibrate and predict --sure as commands."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from fruit import SMALL, draw_classes


@pytest.fixture
def overlapping(tmp_path):
    """val/ and test/ share one image."""
    folder = tmp_path / "overlap"
    for split, first in (("train", 0), ("val", 10), ("test", 20)):
        draw_classes(folder / split, 6, first=first)
    shutil.copy(folder / "test/apple/20.png", folder / "val/apple/copy.png")
    return folder


def test_a_validation_folder_with_an_image_of_test_is_refused_unless_said(invoke, overlapping):
    answer = invoke("train", overlapping, *SMALL, "--out", "run")
    assert answer.code == 2
    assert "shares samples with the test set" in answer.err
    assert "1 samples" in answer.err
    answer = invoke("train", overlapping, *SMALL, "--out", "run", "--select-on", "test")
    assert answer.code == 0, answer.err
    assert answer.out.count("selected on test") >= 4  # the note, each epoch, the table, the figure
    answer = invoke("evaluate", "run", "--json")
    assert answer.json["evaluation"]["label"] == "selected on test"
    assert "n = 18 (test, selected on test)" in answer.err
    answer = invoke("evaluate", "run", "--split", "validation")
    assert answer.code == 2
    answer = invoke("calibrate", "run")
    assert answer.code == 2
    assert "no validation split" in answer.err


def test_calibrate_and_predict_sure(invoke, fruit, trained, tmp_path):
    run = shutil.copytree(trained.folder, tmp_path / "run")
    answer = invoke("predict", run, fruit, "--sure", "0.8")
    assert answer.code == 2
    assert "truefit calibrate" in answer.err
    before = invoke("predict", run, fruit, "--json").json["predictions"]
    answer = invoke("calibrate", run, "--json")
    assert answer.code == 0, answer.err
    assert answer.json["calibration"]["split"] == "validation"
    after = invoke("predict", run, fruit, "--json").json["predictions"]
    assert [one["predicted"] for one in before] == [one["predicted"] for one in after]
    assert [one["probability"] for one in before] != [one["probability"] for one in after]
    # Six validation images promise nothing.
    assert "no threshold promises" in invoke("predict", run, fruit, "--sure", "0.8").err
    path = run / "model/model.json"
    model = json.loads(path.read_text())
    middle = sorted(one["probability"] for one in after)[len(after) // 2]
    model["predictor"]["sure"][0] |= {"threshold": middle, "answered": 3, "correct": 3, "bound": 0.8}
    path.write_text(json.dumps(model))
    sure = invoke("predict", run, fruit, "--sure", "0.8", "--json").json
    assert sure["guarantee"]["accuracy"] == 0.8
    for one in sure["predictions"]:
        assert one["answer"] == (one["predicted"] if one["probability"] >= middle else "not sure")
    assert invoke("predict", run, fruit, "--sure", "0.8").out.count("not sure") == len(after) // 2
    answer = invoke("calibrate", run, "--select-on", "test")
    assert answer.code == 0, answer.err
    assert "selected on test" in answer.out
    assert "(test, selected on test)" in invoke("evaluate", run).out


def test_looks_of_other_runs_are_told(invoke, trained, tmp_path, monkeypatch):
    monkeypatch.setenv("TRUEFIT_CACHE", str(tmp_path / "cache"))
    for name in ("a", "b"):
        run = shutil.copytree(trained.folder, tmp_path / name)
        answer = invoke("evaluate", run)
    assert "looks at test so far: 2 (on this machine: 2 looks by 2 runs)" in answer.out


def test_folds_by_command_go_on_and_can_be_evaluated(invoke, fruit):
    words = ("train", fruit, "--epochs", "1", "--batch-size", "16", "--device", "cpu", "--folds", "2", "--out", "cv")
    answer = invoke(*words, "--json")
    assert answer.code == 0, answer.err
    figures = answer.json["evaluation"]
    assert (figures["split"], figures["n"]) == ("out-of-fold", 54)
    assert "approximate" in answer.err
    again = invoke(*words)
    assert again.code == 0, again.err
    assert "fold 2 of 2: complete already" in again.out
    one = invoke("evaluate", "cv/fold-2", "--json")
    assert one.code == 0, one.err
    assert one.json["evaluation"]["correct"] == answer.json["folds"][1]["correct"]
    assert invoke(*words, "--group-pattern", "^.").code == 2
    for unfit in (["--select-on", "test"], ["--seeds", "2"]):
        assert invoke(*words, *unfit).code == 2


def test_folds_and_curve_refuse_weights_that_have_seen_what_is_held_out(invoke, trained):
    data = trained.read("config.json")["data"]["spec"]
    for what in (["--folds", "2"], ["--learning-curve"]):
        answer = invoke("train", data, "--device", "cpu", "--from", trained.folder, *what, "--out", "out")
        assert answer.code == 2
        assert "weights that were trained on the same data" in answer.err
    assert not Path("out").exists()


def test_looks_at_another_folder_are_not_those_at_the_runs_own_test(invoke, fruit, trained, tmp_path, monkeypatch):
    monkeypatch.setenv("TRUEFIT_CACHE", str(tmp_path / "cache"))
    run = shutil.copytree(trained.folder, tmp_path / "run")
    assert invoke("evaluate", run, "--json").json["looks_on_this_machine"] == {"looks": 1, "runs": 1}
    other = invoke("evaluate", run, fruit, "--json").json
    assert other["evaluation"]["n"] != 0
    assert other["looks_on_this_machine"] is None


def test_learning_curve_by_command(invoke, fruit):
    words = ("--epochs", "1", "--batch-size", "16", "--device", "cpu", "--learning-curve", "--out", "curve")
    answer = invoke("train", fruit, *words, "--json")
    assert answer.code == 0, answer.err
    assert [point["n"] for point in answer.json["points"]] == [6, 12, 24, 48]
    assert "Can't say whether more data would help" in answer.err
    assert "selected on validation" in answer.err
