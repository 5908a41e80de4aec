"""What `truefit train` does once its settings are read: check, load, train, and say what came of it."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from torch import nn

from truefit import dist, rng
from truefit.checkpoint.interval import Interval
from truefit.commands.output import (
    all_looks,
    figure_line,
    figures,
    further_line,
    human_stream,
    looks_line,
    print_epochs,
    print_json,
)
from truefit.commands.repeated import beyond_one_training, run_curve, run_folds, run_seeds
from truefit.commands.streams import no_room_told
from truefit.commands.supplied import is_own, supplied_network
from truefit.config import require
from truefit.data.imageset import Data
from truefit.errors import InputError
from truefit.events import Event, Measured, Note, Observer, PassFinished, PassStarted
from truefit.progress import Bar, Lines
from truefit.runs.folder import RunFolder, next_run
from truefit.runs.record import chosen_epoch
from truefit.runs.run import Run
from truefit.trainer import Trainer

if TYPE_CHECKING:
    from truefit.commands.train import TrainCommand, TrainConfig


def run(command: TrainCommand, config: TrainConfig, begun: float) -> int:
    """One training, or the several that were asked for. Returns the exit code. begun: when, by `time.perf_counter`."""
    if command.doctor == "full":
        # Only here: the doctor's checks take time to import.
        from truefit.commands.tried import check_single

        check_single(command)
    if dist.world() > 1:
        from truefit.commands.several import check_shared

        check_shared(command)
    if not dist.is_first():
        command = replace(command, quiet=True, json=False)
    stream = human_stream(command.json)
    bar, lines = Bar(), Lines(stream)
    # It listens even where nothing is printed: warnings are for those who have no observer.
    evaluation = _Stopwatch()
    trainer = _trainer(command, config, [evaluation] if command.quiet else [evaluation, lines, bar])
    _check(command)
    try:
        data = _load(command, config, trainer, bar)
        if _many(command):
            return (run_curve if command.learning_curve else run_folds)(command, config, trainer, data, stream)
        if command.seeds is not None and not command.dry_run:
            return run_seeds(command, trainer, data, stream)
        out = command.out or next_run(Path("runs"), f"{data.name}-{config.model.rpartition(':')[2]}")
        if command.dry_run:
            from truefit.commands.dried import dry_run

            return dry_run(command, trainer, data, out, lines.say)
        if command.doctor == "full":
            from truefit.commands.tried import try_out

            checkup = try_out(trainer.model, data, config.seed, None if command.quiet else stream)
            if not checkup.ok:
                if command.json:
                    print_json({"run": None, "doctor": checkup.to_json()})
                return 3
            trainer.tried = tuple(checkup.findings)
        start = time.perf_counter()
        with no_room_told(lambda: _kept(out)):
            trained = trainer.fit(
                data,
                out=out,
                overwrite=command.overwrite,
                report=command.report,
                select_on=config.select_on,
                resume=command.resume,
                checkpoint_every=command.checkpoint_every,
                requeue=command.requeue,
                begun=begun,
            )
        fit_seconds = time.perf_counter() - start
    finally:
        bar.close()
    with no_room_told(lambda: _kept(out)):
        if not command.quiet:
            _print(trained, out, stream)
        if command.json:
            print_json(_as_json(trained, out, fit_seconds, evaluation.seconds))
    return 0


def _kept(out: Path) -> str | None:
    """What there is of a training, where nobody can be told how it goes, or went."""
    if RunFolder(out).is_finished():
        return f"make room for what is said; the run is whole: {out}"
    return f"what was trained is kept in {out}: go on with --resume" if any(out.glob("checkpoints/*")) else None


class _Stopwatch:
    """Notes how long the last look at a split took, with its figures, in seconds; None before there was one."""

    def __init__(self) -> None:
        self.begun = 0.0
        self.seconds: float | None = None

    def __call__(self, event: Event) -> None:
        if isinstance(event, PassStarted):
            self.begun = time.perf_counter()
        elif isinstance(event, PassFinished | Measured):
            self.seconds = round(time.perf_counter() - self.begun, 4)


def _many(command: TrainCommand) -> bool:
    return command.folds is not None or command.learning_curve


def _trainer(command: TrainCommand, config: TrainConfig, observers: list[Observer]) -> Trainer:
    model: nn.Module | str
    with rng.seeded(config.seed):
        model = supplied_network(config.model) if is_own(config.model) else config.model
    return Trainer(
        model,
        config.recipe,
        seed=config.seed,
        device=None if config.device == "auto" else config.device,
        workers=config.workers,
        measure_training=config.measure_training,
        weights_from=command.from_run,
        weights=config.weights,
        calibrate=config.calibrate,
        max_time=config.max_time,
        auto_batch_size=config.auto_batch_size,
        deterministic=config.deterministic,
        monitors=command.doctor != "off",
        shard=command.shard,
        loggers=command.log,
        observers=observers,
    )


def _check(command: TrainCommand) -> None:
    """What can be refused before the data is read."""
    Interval.parse(command.checkpoint_every)
    if command.resume and (command.out is None or command.overwrite):
        raise InputError(
            "--resume and --overwrite are opposites" if command.overwrite else "--resume does not say which run",
            fix="leave one of them out" if command.overwrite else "--out FOLDER",
        )
    if command.log and beyond_one_training(command):
        raise InputError("--log goes with one training", found="several, or a dry run", fix="leave --log out")
    if command.seeds is not None:
        require(command.seeds >= 1, "seeds", command.seeds, "at least 1", "--seeds 5")
    elif _many(command) or not dist.is_first():
        pass
    elif command.resume and command.out is not None:
        RunFolder.check_resumable(command.out)
    elif command.out is not None:
        RunFolder.check_new(command.out, overwrite=command.overwrite)


def _load(command: TrainCommand, config: TrainConfig, trainer: Trainer, bar: Bar) -> Data:
    with dist.first_goes_ahead():
        data = trainer.load_data(
            config.data,
            image_size=config.image_size,
            resize=config.resize if config.resize != "crop" else None,
            val_fraction=config.val_fraction,
            split_seed=config.split_seed,
            skip_unreadable=config.skip_unreadable,
            columns=config.columns,
            group_pattern=None if _many(command) else command.group_pattern,
            on_progress=None if command.quiet else bar.reading,
        )
    bar.close()
    for note in (command.chosen_because, *data.notes):
        if note:
            trainer.notify(Note(text=note))
    return data


def _print(trained: Run, out: Path, stream: TextIO) -> None:
    chosen = chosen_epoch(trained.evaluation.weights) if trained.evaluation is not None else None
    print_epochs(trained.history, chosen, stream)
    if trained.evaluation is not None:
        print(figure_line(trained.evaluation), file=stream)
        print(f"  {further_line(trained.evaluation)}", file=stream)
        print(f"  {looks_line(trained.evaluation)}", file=stream)
    print(f"  run: {out}", file=stream)
    if (out / "report.html").is_file():
        print(f"  report: {out / 'report.html'}", file=stream)


def _as_json(trained: Run, out: Path, fit_seconds: float, evaluation_seconds: float | None) -> dict[str, Any]:
    evaluation = trained.evaluation
    return {
        "run": str(out),
        "epochs": len(trained.history),
        "seconds": round(sum(record["seconds"] for record in trained.history), 2),
        "fit_seconds": round(fit_seconds, 2),
        "evaluation_seconds": evaluation_seconds if evaluation is not None else None,
        "evaluation": figures(evaluation) if evaluation is not None else None,
        "looks_on_this_machine": all_looks(evaluation) if evaluation is not None else None,
        "doctor": trained.doctor,
    }
