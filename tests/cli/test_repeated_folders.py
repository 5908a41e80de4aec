"""Folders of seeds and of folds: reported as a whole, compared as what they are, refused where one run is meant."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from fruit import SMALL

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
