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


def test_a_table_with_missing_files_is_refused_before_anything_is_written(invoke: Call, tmp_path: Path) -> None:
    table = written(tmp_path / "fruit")
    (tmp_path / "fruit" / "apple" / "3.png").unlink()
    answer = invoke("train", table, *SMALL, "--out", "run")
    assert answer.code == 2
    assert "apple/3.png" in answer.err
    assert not Path("run").exists()
