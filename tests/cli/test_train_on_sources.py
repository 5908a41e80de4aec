"""The command on data that is no folder: trained, measured again, repeated from the report's command."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fruit import SMALL, draw_classes

Call = Callable[..., Any]


def written(folder: Path, header: tuple[str, str] = ("path", "label")) -> Path:
    """A table beside class folders with 20 images each."""
    draw_classes(folder, 20)
    with (folder / "fruit.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [header, *((f"{p.parent.name}/{p.name}", p.parent.name) for p in folder.glob("*/*"))]
        )
    return folder / "fruit.csv"


def test_a_table_is_trained_on_and_measured_again(invoke: Call, tmp_path: Path) -> None:
    table = written(tmp_path / "fruit", ("where", "what"))
    names = ("--columns.image", "where", "--columns.label", "what")
    answer = invoke("train", table, *names, *SMALL, "--epochs", "1", "--out", "run", "--json")
    assert answer.code == 0, answer.err
    assert answer.json["evaluation"]["n"] == 6
    config = json.loads(Path("run/config.json").read_text())
    assert config["data"]["options"]["columns"]["image"] == "where"
    assert "--columns.image where --columns.label what" in Path("run/report.html").read_text()
    again = invoke("evaluate", "run", "--json")
    assert again.json["evaluation"]["correct"] == answer.json["evaluation"]["correct"]
    other = invoke("evaluate", "run", table, "--json")
    assert other.json["evaluation"]["n"] == 60


def test_several_label_columns_end_in_a_report_and_in_predicted_labels(invoke: Call, tmp_path: Path) -> None:
    folder = draw_classes(tmp_path / "fruit", 20)
    with (folder / "labels.csv").open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(("path", "red", "sweet"))
        for place in sorted(folder.glob("*/*.png")):
            name = place.parent.name
            lines.writerow((f"{name}/{place.name}", int(name != "banana"), int(name != "apple")))
    names = ("--columns.label", "red", "sweet")
    answer = invoke("train", folder / "labels.csv", *names, *SMALL, "--out", "run")
    assert answer.code == 0, answer.err
    assert "average_precision macro (mAP)" in answer.out
    assert "thresholds of the 2 labels" in answer.out
    page = Path("run/report.html").read_text()
    assert "have all their labels right" in page
    assert "mean average precision" in page
    assert "What is taken for what" not in page
    assert invoke("report", "run", "--format", "md").code == 0
    assert "mean average precision" in Path("run/model_card.md").read_text()
    assert invoke("report", "run", "--format", "png").code == 0
    again = invoke("evaluate", "run", "--json").json["evaluation"]
    assert (again["task"], again["n"]) == ("multi-label", 6)
    predicted = invoke("predict", "run", folder / "apple" / "0.png", "--json").json["predictions"][0]
    assert set(predicted["labels"]) <= {"red", "sweet"}
    assert invoke("compare", "run", "run").code == 2
    calibrated = invoke("calibrate", "run")
    assert (calibrated.code, "one class to each image" in calibrated.err) == (2, True)
    for more in (("--folds", "2"), ("--learning-curve",), ("--calibrate",)):
        refused = invoke("train", folder / "labels.csv", *names, *SMALL, *more, "--out", "other")
        assert (refused.code, "class" in refused.err) == (2, True), refused.err
    assert not Path("other").exists()


def test_a_table_with_missing_files_is_refused_before_anything_is_written(invoke: Call, tmp_path: Path) -> None:
    table = written(tmp_path / "fruit")
    (tmp_path / "fruit" / "apple" / "3.png").unlink()
    answer = invoke("train", table, *SMALL, "--out", "run")
    assert answer.code == 2
    assert "apple/3.png" in answer.err
    assert not Path("run").exists()
