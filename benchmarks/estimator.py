"""`cross_val_score(truefit.Classifier(), X, y)` on digits, as a user of scikit-learn would write it.

.venv/bin/python benchmarks/estimator.py [--folds 5]
"""

from __future__ import annotations

import argparse
import time

from protocol import save
from sklearn.datasets import load_digits
from sklearn.model_selection import cross_val_score

from truefit import Classifier

PROTOCOL = (
    "cross_val_score(Classifier(), X, y, cv=folds) with scikit-learn's own folds (stratified, not "
    "shuffled) on load_digits: 1,797 images of 8 x 8 as a table. All other settings are the defaults."
)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=None)
    parser.add_argument("--name", default="estimator")
    options = parser.parse_args()
    X, y = load_digits(return_X_y=True)
    start = time.perf_counter()
    scores = cross_val_score(Classifier(epochs=options.epochs, device="cpu"), X, y, cv=options.folds)
    result = {
        "folds": options.folds,
        "epochs": options.epochs or "the recipe's",
        "accuracy": scores.tolist(),
        "mean": float(scores.mean()),
        "seconds": round(time.perf_counter() - start, 1),
    }
    print(result)
    save(options.name, PROTOCOL, result)


if __name__ == "__main__":
    main()
