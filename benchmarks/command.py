"""What the command reaches: `truefit train DATA ... --seed S` for several seeds, each in a process of its own.

    python benchmarks/command.py digits digits --seeds 0 1 2 3 4
    python benchmarks/command.py cifar10_standard FOLDER --seeds 0 -- --epochs 10

Writes results/NAME.json: the command's own figures for each seed, their mean, and the seconds of the history.
FOLDER holds train/ and test/ of CIFAR-10, JPEG edition.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from protocol import RESULTS, cifar10, save


def main() -> None:
    words = sys.argv[1:]
    extra = words[words.index("--") + 1 :] if "--" in words else []
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("data")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    options = parser.parse_args(words[: len(words) - len(extra) - 1] if extra else words)
    data = "digits" if options.data == "digits" else str(cifar10(Path(options.data)))
    path = RESULTS / f"{options.name}.json"
    runs = json.loads(path.read_text())["runs"] if path.is_file() else {}
    for seed in options.seeds:
        with tempfile.TemporaryDirectory() as folder:
            command = ["truefit", "train", data, "--seed", str(seed), "--out", f"{folder}/run", "--json", *extra]
            start = time.perf_counter()
            done = subprocess.run(
                [str(Path(sys.executable).with_name("truefit")), *command[1:]], stdout=subprocess.PIPE, check=True
            )
            whole = time.perf_counter() - start
        told = json.loads(done.stdout)
        runs[str(seed)] = {
            **told["evaluation"],
            "epochs": told["epochs"],
            "history_seconds": told["seconds"],
            "process_seconds": round(whole, 1),
        }
        accuracies = [run["accuracy"] for run in runs.values()]
        save(
            options.name,
            f"truefit train {'digits' if data == 'digits' else 'FOLDER'} --seed SEED {' '.join(extra)}".strip()
            + "; test evaluated once at the end of each run"
            + ("" if data == "digits" else "; CIFAR-10, JPEG edition"),
            {
                "runs": runs,
                "mean_accuracy": statistics.mean(accuracies),
                "lowest_accuracy": min(accuracies),
                "seeds": len(accuracies),
            },
        )


if __name__ == "__main__":
    main()
