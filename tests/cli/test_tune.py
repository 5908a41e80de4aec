"""truefit tune: killed in the middle it goes on, and in the end says whether the best is better."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

from fruit import draw_classes

from truefit.recipes.lookup import find_recipe

WORDS = ("--trials", "4", "--epochs", "1", "--device", "cpu", "--out", "search")


def finished(database: Path) -> int:
    """How many trials are stored as done, as another program sees it."""
    try:
        with sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=5) as opened:
            return int(
                opened.execute("select count(*) from trials where state in ('COMPLETE', 'PRUNED')").fetchone()[0]
            )
    except sqlite3.OperationalError:
        return 0


def test_a_search_killed_in_the_middle_goes_on_and_finishes(command, tmp_path):
    data = draw_classes(tmp_path / "data", 20)
    words = [Path(sys.executable).with_name("truefit"), "tune", data, *WORDS]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    process = subprocess.Popen(words, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    database = tmp_path / "search" / "study.db"
    limit = time.monotonic() + 150
    while finished(database) < 1 and process.poll() is None and time.monotonic() < limit:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    _, said = process.communicate()
    done = finished(database)
    assert process.returncode == -signal.SIGKILL, said
    assert 1 <= done < 4
    assert not (tmp_path / "search" / "tune.json").exists()

    answer = command("tune", data, *WORDS, "--json", cwd=tmp_path)
    assert answer.code == 0, answer.err
    trials = answer.json["trials"]
    assert sum(trial["state"] in ("complete", "pruned") for trial in trials) == 4
    # The first trial is the default, and it was not done twice.
    assert trials[0]["lr"] == answer.json["default"]["lr"] == find_recipe("standard").optimizer.lr
    assert [trial["state"] for trial in trials].count("running") == 0
    best = max((trial for trial in trials if trial["state"] == "complete"), key=lambda trial: trial["accuracy"])
    assert answer.json["settings"]["lr"] == best["lr"]
    improved = answer.json["settings"] != answer.json["default"]
    assert (answer.json["comparison"] is not None) == improved
    if improved:
        config = json.loads((tmp_path / "search" / "best" / "config.json").read_text())
        assert config["recipe"]["optimizer"]["lr"] == best["lr"]
    else:
        assert "no trial was better" in answer.json["sentence"]
    looks = [json.loads(line) for line in (tmp_path / "search" / "ledger.jsonl").read_text().splitlines()]
    assert {look["split"] for look in looks} == {"validation"}
    assert all(look["chose"] == ["settings"] for look in looks)
    assert (tmp_path / "search" / "tune.svg").stat().st_size > 0

    other = command("tune", data, *WORDS, "--seed", "1", cwd=tmp_path)
    assert other.code == 2
    assert "other settings" in other.err
