"""truefit evaluate: the figure of a run, measured once more."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from fruit import COLOURS, SMALL, draw, draw_classes

from truefit.runs.evaluation import Evaluation


@pytest.fixture
def run(trained, tmp_path) -> Path:
    """A copy of the trained run that a test may write into."""
    return shutil.copytree(trained.folder, tmp_path / "run")


def assert_same_figures(line: dict, figures: dict) -> None:
    for name in ("split", "selected_on", "weights", "averaging", "n", "correct", "accuracy", "interval"):
        assert line[name] == figures[name]
    # Equal to the last bit: JSON writes floats so that they come back exactly.
    assert line["loss"] == figures["loss"]


def test_a_new_process_finds_the_very_same_figures(command, run, tmp_path):
    before = json.loads((run / "evaluation.json").read_text())
    answer = command("evaluate", run, "--json", cwd=tmp_path)
    assert answer.code == 0, answer.err
    assert_same_figures(answer.json["evaluation"], before)
    with np.load(run / "predictions.npz") as was, np.load(run / "evaluations" / "test" / "predictions.npz") as now:
        for name in was.files:
            assert np.array_equal(was[name], now[name]), name


def test_digits_trained_with_two_threads_are_measured_the_same_where_one_is_set(invoke, digits, tmp_path):
    run = shutil.copytree(digits.folder, tmp_path / "run")
    answer = invoke("evaluate", run, "--json")
    assert answer.code == 0, answer.err
    assert_same_figures(answer.json["evaluation"], digits.read("evaluation.json"))


def test_result_is_written_beside_earlier_ones_and_looks_go_up(invoke, run):
    files = {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and path.name != "ledger.jsonl"}
    for number, name in ((2, "test"), (3, "test-2"), (4, "test-3")):
        answer = invoke("evaluate", run)
        assert answer.code == 0, answer.err
        assert "n = 6 (test)" in answer.out
        assert f"looks at test so far: {number}" in answer.out
        assert Evaluation.load(run / "evaluations" / name).looks == number
    assert {path: path.read_bytes() for path in files} == files
    assert sorted(path.name for path in (run / "evaluations").iterdir()) == ["test", "test-2", "test-3"]


def test_name_chooses_the_folder_and_never_overwrites(invoke, run):
    assert invoke("evaluate", run, "--name", "later", "--quiet").out == ""
    assert invoke("evaluate", run, "--name", "later", "--quiet").code == 0
    assert sorted(path.name for path in (run / "evaluations").iterdir()) == ["later", "later-2"]


@pytest.mark.parametrize("name", ["a/b", "../../outside", "..", "../evaluation"])
def test_name_that_is_no_plain_name_is_an_error_and_nothing_is_written_elsewhere(invoke, run, name):
    before = sorted(run.parent.rglob("*"))
    answer = invoke("evaluate", run, "--name", name)
    outside = [path for path in sorted(run.parent.rglob("*")) if path not in before]
    assert answer.code == 2
    assert all(path == run / "evaluations" for path in outside)


def test_figure_on_validation_says_that_it_was_selected_there(invoke, run, trained):
    answer = invoke("evaluate", run, "--split", "validation")
    assert "n = 6 (validation, selected on validation)" in answer.out
    best = max(trained.history, key=lambda r: (r["validation_accuracy"], -r["validation_loss"], -r["epoch"]))
    figures = Evaluation.load(run / "evaluations" / "validation")
    assert (figures.correct, figures.loss) == (best["validation_correct"], best["validation_loss"])


def test_looks_at_validation_count_those_of_the_epochs(invoke, run):
    figures = invoke("evaluate", run, "--split", "validation", "--json").json["evaluation"]
    assert figures["looks"] == 3  # two epochs, and this one


def test_validation_named_by_its_folder_is_still_the_split_that_the_model_was_selected_on(invoke, tmp_path):
    folder = tmp_path / "split"
    draw_classes(folder / "train", 8)
    draw_classes(folder / "val", 3, 100)
    assert invoke("train", folder, *SMALL, "--quiet", "--out", "run").code == 0
    answer = invoke("evaluate", "run", folder, "--split", "validation")
    assert answer.code == 0, answer.err
    assert "selected on validation" in answer.out


def test_another_folder_is_measured_without_touching_the_runs_own_figure(invoke, run, tmp_path):
    other = draw_classes(tmp_path / "other", 4, first=500)
    before = (run / "evaluation.json").read_bytes()
    answer = invoke("evaluate", run, other, "--json")
    assert answer.code == 0, answer.err
    figures = answer.json["evaluation"]
    assert (figures["split"], figures["n"], figures["looks"]) == ("test", 12, 1)
    assert Path(answer.json["folder"]) == run / "evaluations" / "other-test"
    assert (run / "evaluation.json").read_bytes() == before


def test_images_that_the_run_was_trained_on_are_told_of(invoke, run, fruit, tmp_path):
    config = json.loads((run / "config.json").read_text())
    seen = {split: about["n"] for split, about in config["data"]["splits"].items()}
    answer = invoke("evaluate", run, shutil.copytree(fruit, tmp_path / "copy"))
    assert answer.code == 0, answer.err
    said = " ".join((answer.out + answer.err).split())
    assert f"{seen['train']} of these 60 images are among those that the run was trained on (train)" in said
    assert f"{seen['validation']} of these 60 images are among those that the run was chosen on (validation)" in said
    assert "(test): figures" not in said
    new = draw_classes(tmp_path / "new", 4, first=500)
    answer = invoke("evaluate", run, new)
    assert "are among those" not in answer.out + answer.err


def test_another_folder_may_lack_a_class_and_labels_follow_the_run(invoke, run, tmp_path):
    other = draw_classes(tmp_path / "two", 3, 500, {name: COLOURS[name] for name in ("banana", "cherry")})
    answer = invoke("evaluate", run, other, "--json")
    assert answer.code == 0, answer.err
    found = Evaluation.load(run / "evaluations" / "two-test")
    assert found.label.tolist() == [1, 1, 1, 2, 2, 2]
    assert found.classes == tuple(COLOURS)
    assert [Path(path).parent.name for path in found.paths] == ["banana"] * 3 + ["cherry"] * 3


def test_class_that_the_run_does_not_know_is_named(invoke, run, tmp_path):
    other = draw_classes(tmp_path / "other", 2, 500)
    draw(other / "durian" / "0.png", (120, 160, 60), 0)
    answer = invoke("evaluate", run, other)
    assert answer.code == 2
    assert "durian" in answer.err
    assert "apple, banana, cherry" in answer.err
    assert not (run / "evaluations").exists()


def test_split_of_another_folder_can_be_chosen(invoke, run, tmp_path):
    other = tmp_path / "parts"
    draw_classes(other / "train", 5, 500)
    draw_classes(other / "val", 2, 600)
    assert invoke("evaluate", run, other, "--json").json["evaluation"]["n"] == 6
    assert invoke("evaluate", run, other, "--split", "train", "--json").json["evaluation"]["n"] == 15
    refused = invoke("evaluate", run, other, "--split", "test")
    assert refused.code == 2
    assert "no test split" in refused.err


def test_split_that_the_run_lacks_is_an_error_that_lists_those_it_has(invoke, fruit, tmp_path):
    folder = tmp_path / "split"
    draw_classes(folder / "train", 6)
    draw_classes(folder / "val", 2, 100)
    assert invoke("train", folder, *SMALL, "--epochs", "1", "--quiet", "--out", "run").code == 0
    answer = invoke("evaluate", "run", "--split", "test")
    assert answer.code == 2
    assert "no test split" in answer.err
    assert "train, validation" in answer.err


def change_a_pixel(folder: Path) -> None:
    for name in COLOURS:
        for file in sorted((folder / name).iterdir()):
            draw(file, COLOURS[name], 999)


def remove_an_image(folder: Path) -> None:
    for name in COLOURS:
        (folder / name / "3.png").unlink()


def remove_all(folder: Path) -> None:
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def own(trained, fruit, tmp_path_factory) -> Path:
    """A run with data of its own beside it."""
    place = tmp_path_factory.mktemp("own")
    shutil.copytree(fruit, place / "fruit")
    shutil.copytree(trained.folder, place / "run")
    config = (place / "run" / "config.json").read_text().replace(str(fruit), str(place / "fruit"))
    (place / "run" / "config.json").write_text(config)
    return place


@pytest.mark.parametrize("change", [change_a_pixel, remove_an_image, remove_all])
def test_data_that_changed_since_the_run_is_an_error(invoke, own, tmp_path, change):
    place = shutil.copytree(own, tmp_path / "place")
    config = (place / "run" / "config.json").read_text().replace(str(own), str(place))
    (place / "run" / "config.json").write_text(config)
    assert invoke("evaluate", place / "run").code == 0
    shutil.rmtree(place / "run" / "evaluations")
    change(place / "fruit")
    answer = invoke("evaluate", place / "run")
    assert answer.code == 2
    assert str(place / "fruit") in answer.err
    assert not (place / "run" / "evaluations").exists()


def test_unreadable_images_of_another_folder_are_listed_or_skipped(invoke, run, tmp_path):
    other = draw_classes(tmp_path / "other", 3, 500)
    (other / "apple" / "bad.jpg").write_text("text")
    (other / "cherry" / "empty.png").write_bytes(b"")
    refused = invoke("evaluate", run, other)
    assert refused.code == 2
    assert "apple/bad.jpg" in refused.err
    assert "cherry/empty.png" in refused.err
    assert invoke("evaluate", run, other, "--skip-unreadable", "--json").json["evaluation"]["n"] == 9


@pytest.mark.parametrize("place", ["nowhere", "."])
def test_what_is_no_run_is_an_error(invoke, place):
    answer = invoke("evaluate", place)
    assert answer.code == 2
    assert "not a run folder" in answer.err


def test_unavailable_device_is_an_error(invoke, run):
    answer = invoke("evaluate", run, "--device", "abacus")
    assert answer.code == 2
    assert "abacus" in answer.err


def test_damaged_weights_are_an_error(invoke, run):
    weights = run / "model" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    answer = invoke("evaluate", run)
    assert answer.code == 2
    assert "weights.safetensors" in answer.err


@pytest.mark.parametrize("words", [("evaluate",), ("evaluate", "--name", "later"), ("calibrate",)])
def test_run_without_the_right_to_write_is_refused_before_anything_is_measured(invoke, run, monkeypatch, words):
    looks = (run / "ledger.jsonl").read_bytes()
    monkeypatch.setattr(os, "access", lambda *_: False)
    answer = invoke(words[0], run, *words[1:])
    assert answer.code == 2
    assert f"found:  no right to write in {run}" in answer.err
    assert "fix:    give the right to write there, or copy the run to where you have it" in answer.err
    assert "--out" not in answer.err
    assert "n = " not in answer.out
    assert (run / "ledger.jsonl").read_bytes() == looks


@pytest.mark.parametrize("what", ["evaluate", "calibrate"])
def test_what_is_refused_while_it_is_written_says_where_and_speaks_of_no_resume(invoke, run, monkeypatch, what):
    def fails(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir" if what == "evaluate" else "replace", fails)
    answer = invoke(what, run)
    assert answer.code == 1
    assert "found:  Permission denied" in answer.err
    assert "give the right to write there" in answer.err
    assert "--resume" not in answer.err
