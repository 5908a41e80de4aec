"""What temperature scaling does to a run: calibration error and loss on test before and after, classes unchanged.

    python benchmarks/calibration.py NAME=RUN...

RUN is a folder that truefit train wrote; it is calibrated on its own validation split, in a copy.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from protocol import save

from truefit import load
from truefit.config import to_plain
from truefit.loading import calibrate, evaluate_run


def measured(folder: Path) -> dict[str, Any]:
    """The figures of one run."""
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place) / "run"
        shutil.copytree(folder, copy)
        before, _ = evaluate_run(load(copy))
        _, found = calibrate(load(copy))
        after, _ = evaluate_run(load(copy))
        train = load(copy).config["data"]["splits"]["train"]["n"]
        recipe = load(copy).config["recipe"]
    ece = "expected_calibration_error"
    return {
        "recipe": {name: recipe[name] for name in ("name", "epochs", "optimizer", "loss", "augment", "averaging")},
        "training_images": train,
        "n": after.n,
        "split": after.split,
        "accuracy": after.accuracy,
        "temperature": found.temperature,
        "validation": {"n": found.n, "before": found.before, "after": found.after, "selected_on": found.split},
        "test_calibration_error": [before.measures["calibration"][ece], after.measures["calibration"][ece]],
        "test_loss": [before.loss, after.loss],
        "changed_classes": int(np.sum(before.predicted != after.predicted)),
        "sure": [to_plain(promise) | {"test": on_test(after, promise)} for promise in found.sure],
    }


def on_test(evaluation: Any, promise: Any) -> dict[str, float | int | None]:
    """What the threshold gave on test."""
    if promise.threshold is None:
        return {"answered": 0, "accuracy": None}
    answered = evaluation.probabilities.max(axis=1) >= np.float32(promise.threshold)
    right = evaluation.predicted == evaluation.label
    return {"answered": int(answered.sum()), "accuracy": float(right[answered].mean())}


def main() -> None:
    runs = {name: measured(Path(run)) for name, run in (word.split("=") for word in sys.argv[1:])}
    save(
        "calibration",
        "each run is evaluated on test, calibrated on its validation split, and evaluated on test again; "
        "[before, after]; CIFAR-10, JPEG edition",
        {"runs": runs},
    )


if __name__ == "__main__":
    main()
