"""How long until truefit answers: `--help`, `import truefit`, and the first training step of digits after torch.

    python benchmarks/import_time.py [--rounds 11]

Each point is a fresh process, in turns. Writes results/import_time.json: medians and spread in seconds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

from protocol import save

FIRST_STEP = """
import json, sys, time
import torch
torch.zeros(1) + 1
start = time.perf_counter()
import truefit
from truefit.data.lookup import load_data
moment = []
def watch(event):
    if type(event).__name__ == "StepFinished" and not moment:
        moment.append(time.perf_counter() - start)
truefit.Trainer("convnet", epochs=1, observers=[watch]).fit(load_data("digits", default_image_size=32))
print(json.dumps(moment[0]))
"""
IMPORT = """
import json, sys, time
start = time.perf_counter()
import truefit
taken = time.perf_counter() - start
assert "torch" not in sys.modules
print(json.dumps(taken))
"""


def inside(code: str) -> float:
    """Seconds that the code measured in a fresh process."""
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True)
    return float(json.loads(done.stdout.splitlines()[-1]))


def help_command() -> float:
    """Seconds of `truefit --help`, process start included."""
    start = time.perf_counter()
    subprocess.run([str(Path(sys.executable).with_name("truefit")), "--help"], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


POINTS = {
    "truefit_help_process": help_command,
    "import_truefit": lambda: inside(IMPORT),
    "first_step_of_digits_after_import_torch": lambda: inside(FIRST_STEP),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--name", default="import_time")
    options = parser.parse_args()
    found: dict[str, list[float]] = {name: [] for name in POINTS}
    for _ in range(options.rounds):
        for name, measured in POINTS.items():
            found[name].append(round(measured(), 4))
    result = {
        name: {"median": statistics.median(values), "least": min(values), "most": max(values)}
        for name, values in found.items()
    }
    print(json.dumps(result, indent=2))
    save(options.name, f"{options.rounds} rounds in turns, a fresh process each; seconds", {"seconds": result})


if __name__ == "__main__":
    main()
