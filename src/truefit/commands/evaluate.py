"""`truefit evaluate RUN [DATA]`: measure a run once more, on its own data or on another folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

from truefit import dist
from truefit.commands.arguments import parse


@dataclass(frozen=True, kw_only=True)
class EvaluateCommand:
    """Measure a run. The result goes to RUN/evaluations/NAME, never over an earlier one."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """A folder that truefit train wrote."""
    data: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="[DATA]")] = None
    """A folder of class folders, or with train/, val/, test/. By default the run's own data."""
    split: Literal["train", "validation", "test"] | None = None
    """By default the split that the run itself was measured on; of another folder test, else validation."""
    name: str | None = None
    """Name of the folder under RUN/evaluations. By default the data's name and the split."""
    model: str | None = None
    """package.module:callable that makes the network, where the run's is not one of truefit's own."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""
    skip_unreadable: bool = False
    """Leave unreadable images out and count them, instead of stopping."""
    json: bool = False
    """Print one machine-readable line on stdout; everything else goes to stderr."""
    quiet: bool = False
    """Print nothing but errors and the line of --json."""


def main(arguments: Sequence[str]) -> int:
    """Parse, measure, report."""
    command = parse(EvaluateCommand, "evaluate", arguments)
    with dist.joined(command.device):
        return _run(command if dist.is_first() else replace(command, quiet=True, json=False))


def _run(command: EvaluateCommand) -> int:
    from truefit.commands.output import (
        all_looks,
        figure_line,
        figures,
        further_line,
        human_stream,
        looks_line,
        print_json,
    )
    from truefit.commands.supplied import supplied_network
    from truefit.events import Event, Note, nobody
    from truefit.loading import evaluate_run, load
    from truefit.progress import Bar, Lines
    from truefit.runs.folder import RunFolder

    stream = human_stream(command.json)
    if dist.is_first():
        # Before anything is measured.
        RunFolder.open(command.run).check_writable("evaluations")
    run = load(command.run, network=supplied_network(command.model), device=command.device)
    bar = Bar()
    lines = Lines(stream)

    def observe(event: Event) -> None:
        bar(event)
        if isinstance(event, Note):
            lines(event)

    try:
        evaluation, place = evaluate_run(
            run,
            command.data,
            split=command.split,
            name=command.name,
            skip_unreadable=command.skip_unreadable,
            observe=nobody if command.quiet else observe,
        )
    finally:
        bar.close()
    if not command.quiet:
        print(figure_line(evaluation), file=stream)
        print(f"  {further_line(evaluation)}", file=stream)
        print(f"  {looks_line(evaluation)}; written to {place}", file=stream)
    if command.json:
        print_json(
            {
                "run": str(command.run),
                "folder": str(place),
                "evaluation": figures(evaluation),
                "looks_on_this_machine": all_looks(evaluation),
            }
        )
    return 0
