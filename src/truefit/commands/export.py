"""`truefit export RUN --to onnx`: a file for another runtime, and the proof that it gives the same answers."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import tyro

from truefit.commands.arguments import parse

if TYPE_CHECKING:
    from truefit.export.parity import Parity

SHOWN = 20


@dataclass(frozen=True, kw_only=True)
class ExportCommand:
    """Write a run as one file for another runtime, with its preprocessing inside, and compare the two on real images.
    A file that fails is not kept, and the exit code is 1."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """A folder that truefit train wrote."""
    to: str = "onnx"
    """onnx, torch (a program of torch.export), int8 (quantised ONNX), openvino."""
    out: Path | None = None
    """The file. By default RUN/export/model.onnx, .pt2, .int8.onnx, .xml."""
    data: str | None = None
    """A folder of images to compare on, as for evaluate. By default the run's own."""
    split: str | None = None
    """By default validation, without one test, without that train."""
    tolerance: float = 1e-3
    """In logits: how far they may differ, and below which margin between the two highest the class may change."""
    max_drop: float = 0.01
    """How much accuracy int8 may lose, 0..1."""
    model: str | None = None
    """package.module:callable that makes the network, where the run's is not one of truefit's own."""
    overwrite: bool = False
    """Replace the file where there is one."""
    json: bool = False
    """Print one machine-readable line on stdout; everything else goes to stderr."""
    quiet: bool = False
    """Print nothing but errors and the line of --json."""


def main(arguments: Sequence[str]) -> int:
    """Parse, export, report."""
    command = parse(ExportCommand, "export", arguments)

    from truefit.commands.output import human_stream, print_json
    from truefit.commands.supplied import supplied_network
    from truefit.export.export import ParityError, export_run
    from truefit.loading import load
    from truefit.progress import Bar

    run = load(command.run, network=supplied_network(command.model), device="cpu")
    if not command.quiet:
        print("making the file, then asking it and the run about the same images ...", file=sys.stderr, flush=True)
    bar = Bar()
    path: Path | None = None
    error: ParityError | None = None
    try:
        exported = export_run(
            run,
            command.to,
            out=command.out,
            data=command.data,
            split=command.split,
            tolerance=command.tolerance,
            max_drop=command.max_drop,
            overwrite=command.overwrite,
            on_progress=None if command.quiet else bar.reading,
        )
        path, parity = exported.path, exported.parity
    except ParityError as failed:
        error, parity = failed, failed.parity
    finally:
        bar.close()
    if not command.quiet:
        _print(parity, path, human_stream(command.json))
    if command.json:
        print_json({"run": str(command.run), "file": None if path is None else str(path), "parity": parity.to_json()})
    if error is not None:
        raise error
    return 0


def _print(parity: Parity, path: Path | None, stream: TextIO) -> None:
    from truefit.commands.output import one_line

    low, high = parity.interval
    latency, speed = parity.latency_ms, parity.images_per_second
    images = f"n = {parity.n:,} images ({parity.split}), {parity.threads} threads"
    tolerance = f" (tolerance {parity.tolerance:g})" if parity.exact else ""
    accuracy = f"run {parity.correct / parity.n:.2%}, file {parity.exported_correct / parity.n:.2%}"
    change = f"{100 * parity.change:+.2f} points [{100 * low:.2f}, {100 * high:.2f}]"
    differing = f"another class: {len(parity.differing):,}"
    one = f"run {latency['run']:.2f} ms, file {latency['exported']:.2f} ms"
    lines = [
        f"{parity.target} in {parity.runtime} and the run, on {images}",
        f"  logits differ by up to {parity.largest_difference:.2e}{tolerance}; {differing}",
        f"  accuracy: {accuracy}; difference {change}",
        f"  one image: {one}; all: {speed['run']:,.0f} and {speed['exported']:,.0f} images/s",
    ]
    for image in parity.differing[:SHOWN]:
        where = str(image.index) if image.path is None else f"{image.index}  {one_line(image.path)}"
        lines.append(f"  {where}: run {image.run}, file {image.exported}, margin {image.margin:.2e}")
    if len(parity.differing) > SHOWN:
        lines.append(f"  and {len(parity.differing) - SHOWN:,} more (all of them with --json)")
    if path is not None:
        lines.append(f"  kept: {path} ({parity.bytes / 1e6:.2f} MB)")
    print("\n".join(lines), file=stream)
