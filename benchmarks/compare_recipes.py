"""Is a recipe better than the class with its defaults? Five runs a side, and one against one, on CIFAR-10's test.

    python benchmarks/compare_recipes.py RECIPE=FOLDER... --against FOLDER

The first FOLDERs hold seed-0, seed-1..., as `truefit train FOLDER --val-fraction 0 --seeds 5` writes them, or are one
run; the one after --against is that of `class_door.py --keep`. Writes results/compare_recipes.json.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from protocol import save

from truefit import compare

WORDS = """Runs on all 50,000 images of CIFAR-10 (JPEG edition) against ConvolutionalNeuralNet(ConvNet()) with its
defaults on the same images, 10 epochs; the same 10,000 test images, nothing chosen on them by the recipes. B is the
class. Several seeds a side: Student's t with the spread between seeds and between samples; one a side: McNemar's exact
test and the interval of Agresti and Min."""


def seeds(folder: Path) -> list[str | Path]:
    """The runs in a folder, a seed each; or the folder itself, where it is a run."""
    return sorted(folder.glob("seed-*")) or [folder]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="+")
    parser.add_argument("--against", type=Path, required=True)
    given = parser.parse_args()
    found: dict[str, Any] = {}
    for word in given.recipes:
        name, folder = word.split("=", 1)
        one, other = seeds(Path(folder)), seeds(given.against)
        sides = (one, other) if len(one) > 1 else (one[0], other[0])
        comparison = compare(*sides)  # type: ignore[arg-type]
        pair = comparison.pairs[0]
        found[name] = {
            "accuracies": [[evaluation.accuracy for evaluation in side.evaluations] for side in comparison.sides],
            "remarks": list(comparison.remarks),
            **pair.to_json(),
        }
        print(name, *comparison.sides, pair.verdict, *comparison.remarks, sep="\n  ")
    save("compare_recipes", " ".join(WORDS.split()), {"comparisons": found})


if __name__ == "__main__":
    main()
