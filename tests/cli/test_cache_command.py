"""truefit cache ls and rm, on a cache that a real command filled."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fruit import draw_classes

from truefit.data.lookup import load_data


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRUEFIT_CACHE", str(tmp_path / "decoded"))
    return tmp_path / "decoded"


@pytest.fixture
def filled(place: Path, tmp_path: Path) -> Path:
    """Two entries: the same folder in two sizes."""
    folder = draw_classes(tmp_path / "fruit", 5)
    for size in (16, 24):
        load_data(folder, memory_share=0, image_size=size)
    return place


def test_an_empty_cache(invoke, place):
    answer = invoke("cache", "ls")
    assert (answer.code, answer.out) == (0, f"0 entries, 0.0 MiB, in {place}\n")
    assert invoke("cache", "rm", "--all").out == "removed: 0 entries, 0.0 MiB\n"
    assert not place.exists()


def test_ls_says_what_is_there(invoke, filled, tmp_path):
    answer = invoke("cache", "ls")
    assert answer.code == 0
    *lines, last = answer.out.splitlines()
    assert len(lines) == 2
    assert all("15 images" in line and os.path.realpath(tmp_path / "fruit") in line for line in lines)
    assert any("24 x 24 (crop)" in line for line in lines)
    assert last.startswith("2 entries")
    told = invoke("cache", "ls", "--json").json
    assert told["folder"] == str(filled)
    assert sorted(entry["image_size"] for entry in told["ls"]) == [16, 24]
    assert {Path(entry["path"]).stat().st_size for entry in told["ls"]} == {entry["bytes"] for entry in told["ls"]}


def test_a_damaged_entry_is_named_and_can_be_removed(invoke, filled):
    path = min(filled.iterdir())
    path.write_bytes(path.read_bytes()[:-9])
    assert f"{path.stem}  " in invoke("cache", "ls").out
    assert invoke("cache", "ls").out.count("  damaged\n") == 1
    assert invoke("cache", "rm", path.stem).code == 0
    assert not path.exists()


def test_rm_removes_one_or_all(invoke, filled):
    key = json.loads(invoke("cache", "ls", "--json").out)["ls"][0]["key"]
    answer = invoke("cache", "rm", key[:6], "--json")
    assert (answer.code, [entry["key"] for entry in answer.json["rm"]]) == (0, [key])
    assert [path.stem == key for path in filled.iterdir()] == [False]
    (filled / "0-1-dead.unfinished").write_bytes(b"what a process that was killed has left")
    (filled / "mine.txt").write_text("not ours")
    assert invoke("cache", "rm", "--all").out.startswith("removed: 1 entries")
    assert [path.name for path in filled.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("words", [("rm",), ("rm", "zz"), ("rm", "zz", "--all"), ("rm", ""), ("ls", "zz"), ("clear",)])
def test_wrong_words_remove_nothing(invoke, filled, words):
    answer = invoke("cache", *words)
    assert answer.code == 2
    assert answer.out == ""
    assert "truefit cache" in answer.err
    assert len(list(filled.iterdir())) == 2


def test_off(invoke, monkeypatch):
    monkeypatch.setenv("TRUEFIT_CACHE", "off")
    assert invoke("cache", "ls").out == "0 entries, 0.0 MiB, in no folder: TRUEFIT_CACHE is off\n"
    assert invoke("cache", "rm", "--all").code == 0


def test_it_does_not_import_torch(filled):
    code = "import sys; from truefit.commands import main; main(['cache', 'ls']); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"
