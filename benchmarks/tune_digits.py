"""Does `truefit tune` on digits go on after a kill -9, and is its best trial better than the default?

    python benchmarks/tune_digits.py FOLDER [--trials 20] [--kill-after 8]

FOLDER is new. The command is started, killed once so many trials are stored, and started again. Writes
results/tune_digits.json: the trials before and after, and what the comparison on test says, whatever it says.
"""

from __future__ import annotations

import argparse
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

from protocol import save

from truefit.runs.files import read_json


def stored(database: Path) -> int:
    """Trials that are done, as they stand on the disk."""
    if not database.is_file():
        return 0
    try:
        with sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=5) as opened:
            rows = opened.execute("select count(*) from trials where state in ('COMPLETE', 'PRUNED')")
            return int(rows.fetchone()[0])
    except sqlite3.OperationalError:
        return 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--kill-after", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--name", default="tune_digits")
    asked = parser.parse_args()
    tool = Path(sys.executable).with_name("truefit")
    options = ["--trials", str(asked.trials), "--epochs", str(asked.epochs), "--device", "cpu"]
    words = [str(tool), "tune", "digits", *options, "--out", str(asked.folder)]
    process = subprocess.Popen(words)
    while stored(asked.folder / "study.db") < asked.kill_after and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    killed = process.wait() == -signal.SIGKILL
    before = stored(asked.folder / "study.db")
    subprocess.run(words, check=True)
    found = read_json(asked.folder / "tune.json")
    result = {
        "killed_by_signal_9": killed,
        "trials_before_the_kill": before,
        "trials_in_the_end": stored(asked.folder / "study.db"),
        "settings": found["settings"],
        "default": found["default"],
        "sentence": found["sentence"],
        "comparison": found["comparison"],
    }
    print(result["sentence"])
    save(
        asked.name,
        "truefit tune on digits, killed with signal 9 once so many trials were stored, the same command again; default "
        "and best trained anew and compared on test, paired by sample",
        result,
    )


if __name__ == "__main__":
    main()
