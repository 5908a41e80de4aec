"""What do all figures of an evaluation cost, in seconds and memory?

    python benchmarks/figures_cost.py

Writes results/figures_cost.json. Needs no data. Each size runs in a process of its own, on one thread.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
import tracemalloc

SIZES = ((360, 10), (10_000, 10), (50_000, 1000))
ROUNDS = 3


def one(n: int, classes: int) -> dict[str, float]:
    """The figures of random predictions: median of the rounds, and how far the peak of memory rose."""
    import numpy as np

    from truefit.metrics import measure_all

    draw = np.random.default_rng(0)
    labels = draw.integers(0, classes, n)
    probabilities = draw.standard_gamma(1.0, size=(n, classes), dtype=np.float32)
    probabilities[np.arange(n), labels] += 2
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    predicted = probabilities.argmax(axis=1)
    measure_all(probabilities[:20].astype(np.float64), labels[:20], predicted[:20])  # imports
    seconds = []
    for _ in range(ROUNDS):
        start = time.process_time()
        measure_all(probabilities.astype(np.float64), labels, predicted)
        seconds.append(time.process_time() - start)
    tracemalloc.start()
    measure_all(probabilities.astype(np.float64), labels, predicted)
    peak = tracemalloc.get_traced_memory()[1]
    return {
        "median_seconds": statistics.median(seconds),
        "slowest_seconds": max(seconds),
        "predictions_mib": probabilities.nbytes / 2**20,
        "peak_above_predictions_mib": peak / 2**20,
    }


def main() -> None:
    from protocol import save

    found = {}
    for n, classes in SIZES:
        done = subprocess.run([sys.executable, __file__, str(n), str(classes)], stdout=subprocess.PIPE, check=True)
        found[f"n {n}, K {classes}"] = json.loads(done.stdout)
    save(
        "figures_cost",
        f"all figures of truefit.metrics from random predictions in float32, {ROUNDS} rounds a process, median of "
        "CPU seconds on one thread; peak_above_predictions_mib: most memory allocated at once, float64 copy included",
        {"sizes": found},
    )


if __name__ == "__main__":
    if len(sys.argv) == 3:
        print(json.dumps(one(int(sys.argv[1]), int(sys.argv[2]))))
    else:
        main()
