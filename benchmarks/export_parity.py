"""Does an exported run give the same answers on every image of a folder, and is a broken preprocessing caught?

    python benchmarks/export_parity.py RUN FOLDER [--to onnx int8 torch openvino] [--name export_parity-cifar10]

RUN is a run folder; FOLDER has class folders of the run's classes, or train/, val/, test/ (of which --split is taken).
For each target the file is written and compared on all images; then once more to `--broken` (torch) with a
preprocessing that was broken on purpose (the standard deviation 1 % too large; red and blue swapped), which must fail.
Writes results/NAME.json; differing images are listed there by margin.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from protocol import save

from truefit import load
from truefit.export import program
from truefit.export.export import ParityError, export_run
from truefit.export.targets import target_names
from truefit.loading import labelled_images


def wrong_std(graph: Any) -> None:
    graph.prepare = replace(graph.prepare, std=tuple(1.01 * value for value in graph.prepare.std))


def swapped_channels(graph: Any) -> None:
    prepare = graph.prepare
    graph.prepare = lambda images, rows, draw: prepare(images.flip(3), rows, draw)


def broken_is_caught(export: Callable[[], object], breaks: Callable[[Any], None]) -> list[str]:
    """What the check says of a graph that was broken; exits where it says nothing."""
    made = program.Graph.__init__

    def breaking(self: Any, predictor: Any) -> None:
        made(self, predictor)
        breaks(self)

    program.Graph.__init__ = breaking  # type: ignore[method-assign]
    try:
        export()
    except ParityError as error:
        return error.parity.failures
    finally:
        program.Graph.__init__ = made  # type: ignore[method-assign]
    sys.exit(f"{breaks.__name__} was not caught")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--split", choices=("train", "validation", "test"))
    parser.add_argument("--to", nargs="*", default=target_names())
    parser.add_argument("--broken", default="torch")
    parser.add_argument("--name", default="export_parity")
    asked = parser.parse_args()
    run = load(asked.run, device="cpu")
    images = labelled_images(run, asked.folder, asked.split)
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for to in [*asked.to]:
            suffix = {"torch": ".pt2", "openvino": ".xml"}.get(to, ".onnx")
            try:
                parity = export_run(run, to, out=Path(scratch) / f"{to}{suffix}", data=images).parity
            except ParityError as error:
                parity = error.parity
            found[to] = parity.to_json()
            for differing in found[to]["differing"]:
                differing["path"] = Path(differing["path"]).relative_to(asked.folder.absolute()).as_posix()
            print(to, "passed" if not parity.failures else parity.failures, parity.largest_difference)
        suffix = {"torch": ".pt2", "openvino": ".xml"}.get(asked.broken, ".onnx")
        broken = {
            breaks.__name__: broken_is_caught(
                lambda: export_run(run, asked.broken, out=Path(scratch) / f"broken{suffix}", data=images), breaks
            )
            for breaks in (wrong_std, swapped_channels)
        }
    print(broken)
    save(
        asked.name,
        f"every image of the folder ({len(images):,}) through the run in float32 on the CPU and through the exported "
        "file in its own runtime; broken: what the check says of a preprocessing broken on purpose",
        {"model": run.config["model"]["name"], "targets": found, "broken": broken},
    )


if __name__ == "__main__":
    main()
