"""What `truefit train` does with --seeds, --folds and --learning-curve: many trainings, one answer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from truefit.errors import InputError

if TYPE_CHECKING:
    from truefit.commands.train import TrainCommand, TrainConfig
    from truefit.data.imageset import Data
    from truefit.trainer import Trainer


def beyond_one_training(command: TrainCommand) -> list[str]:
    """The options given that ask for more, or less, than one training."""
    asked = {
        "--seeds": command.seeds is not None,
        "--folds": command.folds is not None,
        "--learning-curve": command.learning_curve,
        "--dry-run": command.dry_run,
    }
    return [option for option, given in asked.items() if given]


def run_seeds(command: TrainCommand, trainer: Trainer, data: Data, stream: TextIO) -> int:
    """The same training with several seeds."""
    from truefit.commands.output import print_json, print_seeds
    from truefit.commands.supplied import is_own, supplied_network
    from truefit.plots import plot
    from truefit.repeating import PLOT
    from truefit.runs.folder import next_run

    assert command.seeds is not None
    own = command.config.model
    out = command.out or next_run(Path("runs"), f"{data.name}-{own.rpartition(':')[2]}-seeds")
    result = trainer.fit_seeds(
        data,
        seeds=command.seeds,
        out=out,
        overwrite=command.overwrite,
        # Built anew for each seed, where it is the user's own.
        make_network=(lambda: supplied_network(own)) if is_own(own) else None,
        report=command.report,
        select_on=command.config.select_on,
        checkpoint_every=command.checkpoint_every,
        requeue=command.requeue,
    )
    plot(result).savefig(out / PLOT, metadata={"Date": None})
    if not command.quiet:
        print_seeds(result, stream)
        print(f"  runs: {out}", file=stream)
    if command.json:
        print_json({"run": str(out), **result.to_json()})
    return 0


def run_folds(command: TrainCommand, config: TrainConfig, trainer: Trainer, data: Data, stream: TextIO) -> int:
    """Cross-validation, its table and its pooled figure."""
    from rich.console import Console
    from rich.table import Table

    from truefit.commands.output import figure_line, figures, print_json
    from truefit.crossval import cross_validate

    _refuse(command, config, "--folds")
    assert command.folds is not None
    out = command.out or Path("runs") / f"{data.name}-{config.model}-{command.folds}-folds"
    result = cross_validate(
        trainer,
        data,
        folds=command.folds,
        group_pattern=command.group_pattern,
        out=out,
        report=command.report,
        checkpoint_every=command.checkpoint_every,
        requeue=command.requeue,
    )
    if not command.quiet:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for name in ("fold", "n", "correct", "accuracy", "95 % interval", "loss"):
            table.add_column(name, justify="right")
        for row in result.table():
            low, high = row["interval"]
            interval = f"{100 * low:.1f} to {100 * high:.1f}"
            accuracy, loss = f"{row['accuracy']:.1%}", f"{row['loss']:.4f}"
            table.add_row(str(row["fold"]), f"{row['n']:,}", f"{row['correct']:,}", accuracy, interval, loss)
        Console(file=stream, highlight=False).print(table)
        print(figure_line(result.evaluation), file=stream)
        print(f"  the test split was not touched; folds: {out}", file=stream)
    if command.json:
        print_json({"run": str(out), "folds": result.table(), "evaluation": figures(result.evaluation)})
    return 0


def run_curve(command: TrainCommand, config: TrainConfig, trainer: Trainer, data: Data, stream: TextIO) -> int:
    """The learning curve and its sentence."""
    from truefit.commands.output import print_json
    from truefit.learning import learning_curve

    _refuse(command, config, "--learning-curve")
    out = command.out or Path("runs") / f"{data.name}-{config.model}-learning-curve"
    curve = learning_curve(trainer, data, out=out)
    if command.report:
        from truefit.report.build import write_report

        write_report([out])
    if not command.quiet:
        for point in curve["points"]:
            low, high = point["interval"]
            print(
                f"{point['n']:>9,} images: {point['accuracy']:.1%}  [{100 * low:.1f}, {100 * high:.1f}]  "
                f"({len(point['accuracies'])} seeds, n = {curve['n']:,} (validation, selected on validation))",
                file=stream,
            )
        print(f"{curve['sentence']}\n  learning curve: {out}", file=stream)
        if command.report:
            print(f"  report: {out / 'report.html'}", file=stream)
    if command.json:
        print_json({"run": str(out), **curve})
    return 0


def _refuse(command: TrainCommand, config: TrainConfig, what: str) -> None:
    unfit = {
        "--dry-run": command.dry_run,
        "--overwrite": command.overwrite,
        "--seeds": command.seeds is not None,
        "--select-on test": config.select_on == "test",
        "--folds": command.folds is not None and command.learning_curve,
        "--group-pattern": command.group_pattern is not None and command.learning_curve,
        # Of its trainings nothing is kept that could be gone on with.
        "--resume": command.resume and command.learning_curve,
    }
    for option, said in unfit.items():
        if said:
            raise InputError(f"{what} can't be combined with {option}", fix="leave one of them out")
