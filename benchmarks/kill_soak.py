"""Does a training that is killed again and again end as if it had not been?

    python benchmarks/kill_soak.py [--kills 100] [--terms 20] [--seed 0]

Runs `truefit train digits --resume --out RUN ...` and kills it at random instants (SIGKILL, then SIGTERM in
a second series), starting it again each time with the same words; then lets it finish, and compares with a run that
nobody disturbed: weights, history (but for its times), evaluation and the looks that the ledger sums up must be equal,
byte for byte, and nothing else may be in the folder. The run is finished and begun anew as often as it takes to come
to the number of kills.
Writes results/kill_soak.json.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from protocol import save

TRUEFIT = [sys.executable, "-c", "from truefit.commands import main; raise SystemExit(main())"]
EPOCHS, BATCH = 3, 32
WORDS = ["train", "digits", "--epochs", str(EPOCHS), "--batch-size", str(BATCH), "--ema.decay", "0.99", "--resume"]
WORDS += ["--checkpoint-every", "5steps", "--device", "cpu", "--no-report"]
# What the monitors found counts the steps of the last process alone.
WORDS += ["--doctor", "off"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--terms", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    draw = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as place:
        here = Path(place)
        start = time.perf_counter()
        finish(here / "undisturbed", 0)
        seconds = time.perf_counter() - start
        wanted = contents(here / "undisturbed")
        series = {}
        for number, count in ((signal.SIGKILL, options.kills), (signal.SIGTERM, options.terms)):
            series[number.name] = soak(here, number, count, seconds, wanted, draw)
    save(
        "kill_soak",
        f"truefit {' '.join(WORDS)} --out RUN, signalled at instants drawn uniformly from the time that the "
        f"undisturbed run took ({seconds:.1f} s), started again with the same words until the signals are used up; "
        "each finished run compared with the undisturbed one: every file, but for the times in the history",
        {"undisturbed_seconds": round(seconds, 1), "series": series},
    )


def soak(
    here: Path, number: signal.Signals, count: int, seconds: float, wanted: dict[str, bytes], draw: random.Random
) -> dict[str, int]:
    """`count` signals; gives how many met a living process, how many runs went on, and how many ended equal."""
    told = {"signals": 0, "in_training": 0, "went_on": 0, "runs_finished": 0, "runs_equal": 0}
    while told["signals"] < count:
        out = here / f"{number.name}-{told['runs_finished']}"
        while told["signals"] < count:
            process = started(out)
            try:
                process.wait(draw.uniform(0, seconds))
                break  # it has finished before the signal
            except subprocess.TimeoutExpired:
                process.send_signal(number)
            code = process.wait(60)
            told["signals"] += 1
            told["in_training"] += (out / "config.json").is_file()
            if number == signal.SIGTERM and code not in (143, -number, 0):
                sys.exit(f"SIGTERM ended the process with {code}: {process.stderr.read() if process.stderr else ''}")
        told["went_on"] = told["signals"]
        finish(out, told["signals"])
        found = contents(out)
        if found != wanted:
            different = sorted(name for name in {**wanted, **found} if wanted.get(name) != found.get(name))
            sys.exit(f"after {told['signals']} times {number.name} these files are not the same: {different}")
        told["runs_finished"] += 1
        told["runs_equal"] += 1
        print(f"{number.name}: {told}", flush=True)
    return told


def started(out: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*TRUEFIT, *WORDS, "--out", str(out)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def finish(out: Path, before: int) -> None:
    process = started(out)
    error = process.communicate(timeout=600)[1]
    if process.returncode != 0:
        sys.exit(f"after {before} signals the run did not go on: {error}")


def contents(run: Path) -> dict[str, bytes]:
    """Every file of a run, without the times of its history, and the sums of its ledger; left-overs show too."""
    found = {str(file.relative_to(run)): file.read_bytes() for file in run.rglob("*") if file.is_file()}
    lines = [json.loads(line) for line in found["history.jsonl"].splitlines()]
    for line in lines:
        del line["seconds"], line["images_per_second"]
    found["history.jsonl"] = json.dumps(lines).encode()
    # A training that SIGTERM broke off after an epoch notes that look, and the next ones later: more lines, one sum.
    looks: Counter[str] = Counter()
    for line in map(json.loads, found["ledger.jsonl"].splitlines()):
        looks[f"{line['split']} {line['by']} {line['chose']} {line['n']} {line['fingerprint']}"] += line["looks"]
    found["ledger.jsonl"] = json.dumps(sorted(looks.items())).encode()
    return found


if __name__ == "__main__":
    main()
