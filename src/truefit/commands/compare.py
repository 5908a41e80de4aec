"""`truefit compare RUN_A RUN_B [RUN_C ...]`: is one better, on the same samples?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import tyro

from truefit.commands.arguments import parse

if TYPE_CHECKING:
    from truefit.comparison.compare import Comparison, Pair


@dataclass(frozen=True, kw_only=True)
class CompareCommand:
    """Tell whether one run is better than another, measured on the same samples. Exit code 0 whatever the verdict.

    Each folder is a run, one of its evaluations (RUN/evaluations/NAME), or what train --seeds wrote: then the verdict
    is about recipes, not about single models. More than two are compared pair by pair, with Holm's correction."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN...")]
    """The folders to compare, a side each; with --against together one side: the runs of one recipe, a seed each."""
    against: tuple[Path, ...] = ()
    """The runs of the other recipe, a seed each."""
    list: bool = False
    """List the samples that only one side gets right: index, true class, and path where there are files."""
    json: bool = False
    """Print one machine-readable line on stdout instead."""


def main(arguments: Sequence[str]) -> int:
    """Parse, compare, print."""
    command = parse(CompareCommand, "compare", arguments)

    from truefit.commands.output import human_stream, print_json
    from truefit.comparison.compare import compare
    from truefit.errors import InputError

    if command.against:
        comparison = compare([*command.runs], [*command.against])
    elif len(command.runs) < 2:
        raise InputError("a comparison needs two runs", found=len(command.runs), fix="truefit compare RUN_A RUN_B")
    else:
        comparison = compare(command.runs[0], command.runs[1], *command.runs[2:])
    if command.json:
        value = comparison.to_json()
        if command.list:
            for pair, plain in zip(comparison.pairs, value["pairs"], strict=True):
                plain["samples"] = {"only_a": pair.samples("only_a"), "only_b": pair.samples("only_b")}
        print_json(value)
        return 0
    _print(comparison, human_stream(False), samples=command.list)
    return 0


def _print(comparison: Comparison, stream: TextIO, *, samples: bool) -> None:
    for side in comparison.sides:
        print(side, file=stream)
    for pair in comparison.pairs:
        print(pair.verdict, file=stream)
        _print_detail(pair, stream)
        if samples:
            _print_samples(pair, stream)
    for remark in comparison.remarks:
        print(f"  {remark}", file=stream)


def _print_detail(pair: Pair, stream: TextIO) -> None:
    from truefit.comparison.compare import p_text

    a, b = pair.a.letter, pair.b.letter
    each = "" if pair.seeds is None else "all seeds of "
    print(
        f"  right on samples where the other is wrong: {each}{a} {len(pair.only_a):,}, {each}{b} {len(pair.only_b):,}",
        file=stream,
    )
    if pair.seeds is not None:
        seeds = pair.seeds
        print(
            f"  sd between seeds: {a} {100 * seeds.sd_a:.2f}, {b} {100 * seeds.sd_b:.2f} points; standard error from "
            f"seeds {100 * seeds.seed_error:.2f}, from samples {100 * seeds.sample_error:.2f}",
            file=stream,
        )
    told = [row for row in pair.per_class if row["p_adjusted"] is not None and row["p_adjusted"] < 0.05]
    for row in told:
        low, high = row["interval"]
        print(
            f"  class {row['class']}: {b} - {a} = {100 * row['difference']:+.1f} points of recall "
            f"[{100 * low:.1f}, {100 * high:.1f}], {p_text(row['p_adjusted'])} (Holm over classes), n = {row['n']:,}",
            file=stream,
        )
    if not told:
        print("  no class differs (p >= 0.05 each, by Holm over classes)", file=stream)


def _print_samples(pair: Pair, stream: TextIO) -> None:
    for letter, found in ((pair.a.letter, pair.samples("only_a")), (pair.b.letter, pair.samples("only_b"))):
        for sample in found:
            where = f"  {sample['path']}" if sample["path"] is not None else ""
            print(f"  only {letter} is right: {sample['index']}  {sample['class']}{where}", file=stream)
