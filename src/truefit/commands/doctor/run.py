"""`truefit doctor run SCRIPT [ARGS]`: run your own, unchanged training script, and check what it really does."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn

from truefit.errors import InputError


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(message, where=self.prog, fix=f"{self.prog} --help")


def parser() -> argparse.ArgumentParser:
    """Options stand before the script; all that follows it is the script's own."""
    made = _Parser(
        prog="truefit doctor run",
        description="Runs a script, a notebook or a module under observation, and reports silent training bugs. Each "
        "pass over a DataLoader ends after --steps batches, and the script after three passes that train; until "
        "then, and with --full to its end, it computes exactly what it computes alone.",
        epilog="exit codes: 3 where a check fails, else the script's own; 2 wrong usage",
        allow_abbrev=False,
    )
    made.add_argument("-m", dest="module", action="store_true", help="SCRIPT is a module, as for python -m")
    made.add_argument("--full", action="store_true", help="run to the end, and cut nothing")
    made.add_argument("--steps", type=int, default=20, metavar="N", help="batches in a pass (20)")
    made.add_argument("--time", type=float, default=60.0, metavar="S", help="seconds of training at most (60)")
    made.add_argument("--declare", action="append", default=[], metavar="FACT", help="as a comment # truefit: FACT")
    made.add_argument("--strict", action="store_true", help="a warning counts as a failure")
    made.add_argument("--json", action="store_true", help="one machine-readable line on stdout, the rest on stderr")
    made.add_argument("--format", choices=["table", "github", "sarif"], default="table")
    made.add_argument("--all", action="store_true", help="also list what is in order, not applicable or not run")
    made.add_argument("script", metavar="SCRIPT")
    made.add_argument("arguments", nargs=argparse.REMAINDER, metavar="ARGS")
    return made


def main(arguments: Sequence[str]) -> int:
    """Run, check, report."""
    options = parser().parse_args(list(arguments))
    if options.steps < 2:
        raise InputError("--steps is out of range", found=options.steps, wanted="at least 2")
    from truefit.commands.output import print_json
    from truefit.doctor.finding import exit_code
    from truefit.doctor.report import as_github, as_json, as_sarif, print_table
    from truefit.doctor.script import run_script

    machine = options.json or options.format == "sarif"
    with _stdout_to_stderr(machine):
        watched = run_script(
            options.script,
            options.arguments,
            module=options.module,
            full=options.full,
            steps=options.steps,
            seconds=options.time,
            declare=options.declare,
        )
    code = exit_code(watched.findings, strict=options.strict) or watched.script_exit
    if options.json:
        print_json(as_json(watched, code))
    elif options.format == "sarif":
        print(json.dumps(as_sarif(watched.findings), indent=2), flush=True)
    elif options.format == "github":
        print(as_github(watched.findings), flush=True)
    else:
        print_table(watched.findings, sys.stdout, notes=watched.notes, everything=options.all)
    return code


@contextmanager
def _stdout_to_stderr(active: bool) -> Iterator[None]:
    """What the script and its children print goes to stderr, so that stdout holds the one line alone."""
    if not active:
        yield
        return
    sys.stdout.flush()
    saved = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(saved, 1)
        os.close(saved)
