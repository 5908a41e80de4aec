"""`truefit calibrate RUN`: make a trained run's confidence believable, without changing any predicted class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from truefit.commands.arguments import parse


@dataclass(frozen=True, kw_only=True)
class CalibrateCommand:
    """Fit one temperature on the run's validation images, and the thresholds for predict --sure. Both are stored in
    the run's model; no predicted class changes."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """A folder that truefit train wrote."""
    select_on: Literal["validation", "test"] = "validation"
    """test fits them on the test images; every figure on test is then labelled "selected on test"."""
    model: str | None = None
    """package.module:callable that makes the network, where the run's is not one of truefit's own."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""
    json: bool = False
    """Print one machine-readable line on stdout; everything else goes to stderr."""
    quiet: bool = False
    """Print nothing but errors and the line of --json."""


def main(arguments: Sequence[str]) -> int:
    """Parse, calibrate, report."""
    command = parse(CalibrateCommand, "calibrate", arguments)

    from truefit.commands.output import human_stream, print_json, promise_line
    from truefit.commands.supplied import supplied_network
    from truefit.config import to_plain
    from truefit.events import nobody
    from truefit.loading import calibrate, load
    from truefit.progress import Bar
    from truefit.runs.folder import RunFolder

    # Before anything is measured.
    RunFolder.open(command.run).check_writable("model")
    run = load(command.run, network=supplied_network(command.model), device=command.device)
    bar = Bar()
    try:
        run, found = calibrate(run, select_on=command.select_on, observe=nobody if command.quiet else bar)
    finally:
        bar.close()
    if not command.quiet:
        stream = human_stream(command.json)
        print(found, file=stream)
        for promise in found.sure:
            if promise.threshold is not None:
                print(f"  --sure {promise.accuracy:g}: {promise_line(promise)}", file=stream)
        without = ", ".join(f"{promise.accuracy:g}" for promise in found.sure if promise.threshold is None)
        if without:
            print(f"  --sure {without}: no threshold, on so few images", file=stream)
        print(f"  looks at {found.split} so far: {run.ledger.looks(found.split)}", file=stream)
    if command.json:
        print_json({"run": str(command.run), "calibration": to_plain(found)})
    return 0
