"""How many of the near-duplicates across train and test are none: a sample of pairs, for somebody to look at.

    python benchmarks/pairs_by_eye.py FOLDER SHEETS [--pairs 100] [--seed 0] [--other 26 75]

FOLDER holds train/ and test/ of CIFAR-10, JPEG edition. Pairs are drawn from all that `truefit doctor data` lists, and
written as pictures of 20 pairs each into SHEETS; a mirrored one is mirrored back. --other: the numbers of the pairs
that show different things; the judgement is then saved with the names of all files in results/pairs_by_eye.json.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

from audit_faults import audit
from PIL import Image, ImageDraw, ImageOps
from protocol import cifar10, save

from truefit.metrics.intervals import wilson

COLUMNS, ROWS, SIDE, GAP = 4, 5, 150, 16


def sampled(folder: Path, pairs: int, seed: int) -> tuple[list[dict[str, str]], int]:
    """So many of the pairs across splits, and how many there are in all."""
    told, _ = audit(folder)
    rows = [row for row in told["suspects"] if row["what"] == "near-duplicate across splits"]
    rows.sort(key=lambda row: (row["file"], row["other_file"]))
    return random.Random(seed).sample(rows, pairs), len(rows)


def draw(sheet: list[dict[str, str]], first: int) -> Image.Image:
    picture = Image.new("RGB", (COLUMNS * (2 * SIDE + GAP), ROWS * (SIDE + GAP + 6)), "white")
    for place, row in enumerate(sheet):
        x, y = place % COLUMNS * (2 * SIDE + GAP), place // COLUMNS * (SIDE + GAP + 6)
        one, other = (Image.open(row[name]).convert("RGB") for name in ("file", "other_file"))
        if "mirrored" in row["note"]:
            other = ImageOps.mirror(other)
        for left, image in ((x, one), (x + SIDE + 2, other)):
            picture.paste(image.resize((SIDE, SIDE), Image.Resampling.BICUBIC), (left, y + GAP))
        text = f"{first + place} {row['class']}/{row['other_class']} {row['note']}"
        ImageDraw.Draw(picture).text((x + 2, y + 2), text, fill="black")
    return picture


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("sheets", type=Path)
    parser.add_argument("--pairs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--other", type=int, nargs="*")
    options = parser.parse_args()
    folder = cifar10(options.folder).resolve()
    options.sheets.mkdir(parents=True, exist_ok=True)
    drawn, found = sampled(folder, options.pairs, options.seed)
    for first in range(0, len(drawn), COLUMNS * ROWS):
        draw(drawn[first : first + COLUMNS * ROWS], first).save(options.sheets / f"pairs-{first:03}.png")
    if options.other is None:
        return
    right = len(drawn) - len(set(options.other))
    save(
        "pairs_by_eye",
        f"{len(drawn)} of the {found} pairs across train and test that truefit doctor data lists on CIFAR-10, JPEG "
        f"edition, drawn with seed {options.seed}, each looked at once: is it the same picture, but for its crop, "
        "colours, mirroring or retouching?",
        {
            "pairs": len(drawn),
            "found": found,
            "same_picture": right,
            "precision": right / len(drawn),
            "interval": list(wilson(right, len(drawn))),
            "judged": [
                {
                    "train": str(Path(row["file"]).relative_to(folder)),
                    "test": str(Path(row["other_file"]).relative_to(folder)),
                    "likeness": row["note"],
                    "same_picture": number not in options.other,
                }
                for number, row in enumerate(drawn)
            ],
        },
    )


if __name__ == "__main__":
    main()
