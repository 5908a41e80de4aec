"""Folders of seeds and of folds: reported as a whole, compared as what they are, refused where one run is meant."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from fruit import SMALL

from truefit import InputError, Trainer
from truefit.checkpoint.saver import Saver
from truefit.commands import main

Call = Callable[..., Any]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("repeated")


@pytest.fixture(scope="module")
def made(place: Path, fruit: Path) -> dict[str, Any]:
    """Two seeds, and twice two folds, with the line of --json of each."""
    found = {}
    for name, words in {
        "seeds": ("--seeds", "2", "--seed", "3"),
        "folds": ("--folds", "2"),
        "other": ("--folds", "2", "--seed", "1"),
    }.items():
        more = ("--epochs", "1", *words, "--no-report", "--quiet", "--json", "--out", str(place / name))
        with redirect_stdout(StringIO()) as out:
            assert main(["train", str(fruit), *SMALL, *more]) == 0
        found[name] = json.loads(out.getvalue())
    return found


def test_all_kinds_of_training_call_their_folder_run(made: dict[str, Any]) -> None:
    assert {name: Path(line["run"]).name for name, line in made.items()} == {name: name for name in made}


@pytest.mark.parametrize(("name", "kind", "numbers"), [("seeds", "seed", ["3", "4"]), ("folds", "fold", ["1", "2"])])
def test_a_folder_of_runs_has_a_page_with_table_and_plot(
    made: dict[str, Any], place: Path, invoke: Call, name: str, kind: str, numbers: list[str]
) -> None:
    answer = invoke("report", place / name, "--json")
    assert answer.code == 0, answer.err
    page = Path(answer.json["report"]).read_text()
    assert answer.json["report"] == str(place / name / "report.html")
    assert f"2 {kind}s of one recipe" in page
    assert re.findall(r'<tr><th scope="row">(\d+)</th>', page) == numbers
    assert page.count("<svg") == 1
    figure = made[name]["mean_accuracy"] if name == "seeds" else made[name]["evaluation"]["accuracy"]
    assert f'<span class="sentence">{100 * figure:.1f} %' in page
    assert invoke("report", place / name, "--format", "png").code == 0
    assert (place / name / "plots" / "accuracy.png").read_bytes()[:4] == b"\x89PNG"
    card = invoke("report", place / name, "--format", "md")
    assert (card.code, "one of them, such as" in card.err) == (2, True)


def test_seeds_go_on_beside_a_report(made: dict[str, Any], place: Path, invoke: Call, fruit: Path) -> None:
    assert invoke("report", place / "seeds").code == 0
    words = ("--seeds", "2", "--seed", "3", "--no-report", "--out", place / "seeds")
    answer = invoke("train", fruit, *SMALL, "--epochs", "1", *words)
    assert (answer.code, "seed 3: complete already" in answer.out) == (0, True), answer.err


@pytest.mark.parametrize(("name", "one"), [("seeds", "seed-3"), ("folds", "fold-1")])
@pytest.mark.parametrize("what", ["evaluate", "calibrate"])
def test_what_takes_one_run_names_one(
    made: dict[str, Any], place: Path, invoke: Call, what: str, name: str, one: str
) -> None:
    answer = invoke(what, place / name)
    assert answer.code == 2
    assert f"this folder holds several {name}" in answer.err
    assert f"such as {place / name / one}" in answer.err


def test_a_comparison_of_folds_does_not_speak_of_two_models(made: dict[str, Any], place: Path, invoke: Call) -> None:
    answer = invoke("compare", place / "folds", place / "other")
    assert answer.code == 0, answer.err
    assert "two models" not in answer.out
    assert "This speaks of the models of these folds together" in answer.out
    line = invoke("compare", place / "folds", place / "other", "--json").json
    assert line["pairs"][0]["speaks_of"] == "the models of these folds"
    assert line["pairs"][0]["n"] == 54


def test_unfinished_folds_are_refused(made: dict[str, Any], place: Path, invoke: Call) -> None:
    folder = place / "broken"
    folder.mkdir()
    plan = json.loads((place / "folds" / "folds.json").read_text())
    (folder / "folds.json").write_text(json.dumps(plan))
    for words in (("report", folder), ("compare", folder, folder)):
        answer = invoke(*words)
        assert (answer.code, "this cross-validation is not finished" in answer.err) == (2, True), answer.err


@pytest.mark.parametrize("many", ["--folds", "--seeds"])
@pytest.mark.parametrize("wrong", [("--lr", "1e38"), ("--image-size", "7"), ("--device", "cuda")])
def test_many_trainings_of_which_none_came_to_anything_leave_nothing(
    fruit: Path, invoke: Call, many: str, wrong: tuple[str, str]
) -> None:
    if wrong[1] == "cuda" and torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    answer = invoke("train", fruit, *SMALL, "--epochs", "1", many, "2", *wrong, "--out", "made/out")
    assert answer.code == 2, answer.err
    assert not Path("made").exists()
    Path("out").mkdir()
    assert invoke("train", fruit, *SMALL, "--epochs", "1", many, "2", *wrong, "--out", "out").code == 2
    assert list(Path("out").iterdir()) == []


def test_folds_that_are_complete_stay_where_a_later_one_fails(
    fruit: Path, invoke: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit = Trainer.fit

    def fails_in_the_second(self: Trainer, *data: Any, **options: Any) -> Any:
        if options["out"].name == "fold-2":
            raise InputError("something else")
        return fit(self, *data, **options)

    words = ("train", fruit, *SMALL, "--epochs", "1", "--folds", "2", "--no-report", "--out", "out")
    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "fit", fails_in_the_second)
        assert invoke(*words).code == 2
    assert sorted(path.name for path in Path("out").iterdir()) == ["fold-1", "folds.json"]
    # Another recipe is refused, and touches nothing.
    assert invoke(*words, "--lr", "1e38").code == 2
    assert sorted(path.name for path in Path("out").iterdir()) == ["fold-1", "folds.json"]
    answer = invoke(*words)
    assert (answer.code, "fold 1 of 2: complete already" in answer.out) == (0, True), answer.err


@pytest.mark.parametrize(("many", "which"), [("--folds", "fold 1"), ("--seeds", "seed 0")])
def test_an_interruption_of_many_trainings_names_what_goes_on(
    fruit: Path, invoke: Call, monkeypatch: pytest.MonkeyPatch, many: str, which: str
) -> None:
    words = ("train", fruit, *SMALL, "--epochs", "3", many, "2", "--no-report", "--out", "out")
    with monkeypatch.context() as patched:
        patched.setattr(Saver, "end_of_epoch", _interrupted_after_an_epoch)
        answer = invoke(*words)
    assert answer.code == 130
    said = f"interrupted by SIGINT: saved; the same command again, with --out out, goes on from {which}, epoch 2"
    assert said in answer.err
    assert "--resume" not in answer.err
    answer = invoke(*words)
    assert answer.code == 0, answer.err


def _interrupted_after_an_epoch(saver: Saver) -> None:
    saver.signals.ends_with = signal.SIGINT
    saver._due = True
    saver._between_steps()


def test_seeds_that_replace_others_go_on_without_overwrite(
    fruit: Path, invoke: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Saver, "end_of_epoch", _interrupted_after_an_epoch)
    answer = invoke("train", fruit, *SMALL, "--epochs", "3", "--seeds", "2", "--overwrite", "--out", "out")
    assert "the same command again, with --out out and without --overwrite, goes on from seed 0, epoch 2" in answer.err
