"""`truefit train [DATA]`: from images to a run folder."""

from __future__ import annotations

import re
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, TextIO

import tyro
import yaml

from truefit import dist
from truefit.commands.arguments import parse
from truefit.config import from_plain, require, seconds_of, to_plain
from truefit.data.columns import Columns
from truefit.errors import InputError
from truefit.recipes.lookup import find_recipe, model_of
from truefit.recipes.recipe import OptimizerName, Recipe, ScheduleName


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """All that decides a run. `--print-config` prints it as YAML, `--config` reads it."""

    data: Annotated[str, tyro.conf.Positional] = "digits"
    """digits, cifar10, cifar100, mnist, fashion-mnist, svhn, or a folder: with train/ and val/ and/or test/, or of
    class folders; a table (.csv, .tsv, .parquet); arrays (.npz, .npy, .pt); shards (.tar); hf:OWNER/NAME."""
    model: str = "convnet"
    """convnet, a model of torchvision such as resnet18, timm:NAME, or package.module:callable for one of your own."""
    weights: str | None = None
    """What to start from: pretrained (the model's own), a file, hub:OWNER/REPOSITORY, package:DISTRIBUTION/FILE or an
    address. Images are then prepared as these weights want it."""
    seed: int = 0
    """Decides initial weights, order and augmentation."""
    split_seed: int = 0
    """Decides how data without splits is split, and nothing else."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""
    image_size: int | None = None
    """Side in pixels that images are resized to; by default their own where they are equal, else the model's usual."""
    resize: Literal["crop", "stretch"] = "crop"
    """crop: the shorter side fits, the centre is kept. stretch: both sides fit."""
    val_fraction: float | None = None
    """Part of train that becomes validation where there is none (0.1); 0 trains on all and keeps the last weights."""
    skip_unreadable: bool = False
    """Leave unreadable images out and count them, instead of stopping."""
    workers: int = 0
    """Processes that read images which do not fit in memory. 0: on Linux some for large folders without a cache."""
    measure_training: bool = False
    """Measure the accuracy on the training set after each epoch."""
    calibrate: bool = False
    """After training fit a temperature on validation, and thresholds for predict --sure; no predicted class changes."""
    auto_batch_size: bool = False
    """Try batch sizes for a moment before the first step and take the quickest; --batch-size auto says the same. The
    number is written to config.json; the learning rate stays as it is."""
    deterministic: bool = True
    """Threads and precision by fixed rules. --no-deterministic tries out for a moment which are quickest, and remembers
    it for this machine, model and size of images; what was chosen stands in config.json."""
    max_time: str | None = None
    """Such as 90s, 20m or 1.5h: train, evaluate and report within it, by fewer steps than --epochs where they do not
    fit. Their number is written to config.json, so that --resume and a repeat are exact."""
    select_on: Literal["validation", "test"] = "validation"
    """test lets the test split choose, in the place of validation; every figure is then labelled "selected on test"."""
    columns: Columns = field(default_factory=Columns)
    recipe: Annotated[Recipe, tyro.conf.arg(name="")] = field(default_factory=lambda: find_recipe("standard"))

    def __post_init__(self) -> None:
        require(self.image_size is None or self.image_size >= 1, "image_size", self.image_size, "at least 1")
        require(self.workers >= 0, "workers", self.workers, "at least 0")
        require(self.seed >= 0, "seed", self.seed, "at least 0")
        require(self.split_seed >= 0, "split_seed", self.split_seed, "at least 0")
        fraction = self.val_fraction
        require(fraction is None or 0 <= fraction < 1, "val_fraction", fraction, "a fraction from 0 to below 1")
        if self.max_time is not None:
            seconds_of(self.max_time, "max_time")


@dataclass(frozen=True, kw_only=True)
class TrainCommand:
    """Train a classifier, choose the best epoch on validation, and measure it once on test."""

    config: Annotated[TrainConfig, tyro.conf.arg(name="")]
    out: Path | None = None
    """Folder for the run: new or empty. By default runs/DATA-MODEL-1, -2, ..."""
    seeds: int | None = None
    """Train this many times on the same splits, with seeds --seed, --seed + 1, ...: into OUT/seed-0, OUT/seed-1, ...
    The same command again trains what is missing."""
    lr: float | None = None
    """Short for --optimizer.lr."""
    optimizer_name: Annotated[OptimizerName | None, tyro.conf.arg(name="optimizer")] = None
    """Short for --optimizer.name; with its own usual learning rate unless --lr says otherwise."""
    schedule_name: Annotated[ScheduleName | None, tyro.conf.arg(name="schedule")] = None
    """Short for --schedule.name."""
    recipe_name: Annotated[str | None, tyro.conf.arg(name="recipe")] = None
    """Where to start from: the name of a recipe (truefit recipe list); auto, the default, chooses. Other options
    change it."""
    chosen_because: Annotated[str, tyro.conf.Suppress] = ""
    config_file: Annotated[Path | None, tyro.conf.arg(name="config")] = None
    """A YAML file as --print-config prints it. Other options change it."""
    print_config: bool = False
    """Print the settings as YAML and end."""
    folds: int | None = None
    """Train once for each of so many folds of train and validation: OUT/fold-1 ..., and pooled figures in OUT. Test is
    not touched. The same command again goes on where it was interrupted."""
    group_pattern: str | None = None
    """A regular expression for file names: images with the same match (its first group, where it has one) stay in one
    split, and with --folds in one fold."""
    learning_curve: bool = False
    """Train on 12, 25, 50 and 100 % of train with three seeds each, and say whether more data would help. Test is not
    touched."""
    dry_run: bool = False
    """Find all bad input, take one step, evaluate, save, remove it all again, and end."""
    overwrite: bool = False
    """Replace the run in --out; with --seeds, train all of them again."""
    report: bool = True
    """Write report.html into the run."""
    resume: bool = False
    """Go on with the run in --out from its newest checkpoint; begin it where there is none."""
    checkpoint_every: str = "60s"
    """How often training state is saved: 60s, 500steps, epoch (the end of each, as the first two do too), never."""
    requeue: bool = False
    """On SIGUSR1 put the job of Slurm back in the queue, after saving."""
    nproc: int | None = None
    """Share the work between this many processes on this machine, as torchrun does: docs/en/distributed.md."""
    shard: bool = False
    """Split weights, gradients and optimiser state between the processes, for a model too large for one device."""
    from_run: Annotated[Path | None, tyro.conf.arg(name="from")] = None
    """Start from the weights of this run."""
    doctor: Literal["on", "full", "off"] = "on"
    """on: the doctor's monitors look after the training, at next to no cost; what they find stands in the log, in
    doctor.json and in the report. full: before that a few steps of a single training are tried out;
    what is found stands there too, and where a check fails nothing is trained (exit code 3)."""
    log: tuple[str, ...] = ()
    """tensorboard, mlflow, wandb: write the figures of each epoch into OUT/logs/NAME too."""
    json: bool = False
    """Print one machine-readable line on stdout at the end; everything else goes to stderr."""
    quiet: bool = False
    """Print nothing but errors and the line of --json."""

    def resolved(self) -> TrainConfig:
        """The settings, the short options put in their places."""
        optimizer, schedule = self.config.recipe.optimizer, self.config.recipe.schedule
        if self.optimizer_name is not None and self.optimizer_name != optimizer.name:
            optimizer = replace(optimizer, name=self.optimizer_name, lr=None)
        if self.lr is not None:
            optimizer = replace(optimizer, lr=self.lr)
        if self.schedule_name is not None:
            schedule = replace(schedule, name=self.schedule_name)
        return replace(self.config, recipe=replace(self.config.recipe, optimizer=optimizer, schedule=schedule))


def main(arguments: Sequence[str]) -> int:
    """Parse, train, report."""
    command = parse_train(arguments)
    config = command.resolved()
    if command.print_config:
        print(yaml.safe_dump(to_plain(config), sort_keys=False, allow_unicode=True), end="")
        return 0
    if command.nproc is not None and command.nproc != 1:
        from truefit.commands.several import launch

        return launch("train", arguments, command)
    with dist.joined(config.device):
        return _run(command, config)


def parse_train(arguments: Sequence[str]) -> TrainCommand:
    """The command from its words. `--recipe` and `--config` set the defaults that the other options change."""
    # The long form of --optimizer too must not keep another optimiser's learning rate.
    arguments = [re.sub(r"^--optimizer\.name(?==|$)", "--optimizer", word) for word in arguments]
    arguments = _auto_batch_size(arguments)
    given = {"--recipe": _value(arguments, "--recipe"), "--config": _value(arguments, "--config")}
    automatic = given["--recipe"] in (None, "auto") and given["--config"] is None
    config = _of_recipe("standard" if automatic or given["--recipe"] is None else given["--recipe"])
    if given["--config"] is not None:
        if given["--recipe"] is not None:
            raise InputError("--config and --recipe both say where to start from", fix="leave one of them out")
        config = _read_config(Path(given["--config"]), config)
    command = parse(TrainCommand, "train", arguments, default=TrainCommand(config=config))
    if not automatic:
        return command
    from truefit.recipes.auto import choose

    named = command.config.model != config.model or command.config.weights is not None or command.from_run is not None
    choice = choose(command.config.data, model_named=named)
    if choice.recipe != config.recipe.name:
        default = TrainCommand(config=_of_recipe(choice.recipe))
        command = parse(TrainCommand, "train", arguments, default=default)
    return replace(command, chosen_because=choice.reason)


def _auto_batch_size(arguments: Sequence[str]) -> list[str]:
    """`--batch-size auto`, in the place of a number, as the option that it stands for."""
    joined = re.sub(r"(^|\0)--batch[-_]size[=\0]auto(?=\0|$)", r"\1--auto-batch-size", "\0".join(arguments))
    return joined.split("\0") if arguments else []


def _of_recipe(name: str) -> TrainConfig:
    """The settings that a recipe begins with: its own, and the model and weights that it is meant for."""
    recipe = find_recipe(name)
    model, weights = model_of(name)
    return TrainConfig(recipe=recipe, weights=weights, model=model or TrainConfig.model)


def _value(arguments: Sequence[str], option: str) -> str | None:
    """What follows `--option` or `--option=`, the last one where there are several."""
    found = None
    for word, following in zip(arguments, [*arguments[1:], None], strict=True):
        if word == option:
            found = following
        elif word.startswith(option + "="):
            found = word[len(option) + 1 :]
    return found


def _read_config(path: Path, base: TrainConfig) -> TrainConfig:
    try:
        plain = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError("the config file can't be read", where=path, found=error, wanted="YAML") from error
    if isinstance(plain, dict) and isinstance(plain.get("recipe"), str):
        base = _of_recipe(plain.pop("recipe"))
    return from_plain(TrainConfig, plain if plain is not None else {}, where="", base=base)


def _run(command: TrainCommand, config: TrainConfig) -> int:
    begun = time.perf_counter()
    # Everything that needs torch is imported here, so that --help and --print-config are quick.
    from truefit import rng
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
    from truefit.commands.several import check_shared
    from truefit.commands.supplied import is_own, supplied_network
    from truefit.events import Note, nobody
    from truefit.progress import Bar, Lines
    from truefit.runs.folder import RunFolder, next_run
    from truefit.trainer import Trainer

    if command.doctor == "full":
        # Only here: the doctor's checks take time to import.
        from truefit.commands.tried import check_single, try_out

        check_single(command)
    if dist.world() > 1:
        check_shared(command)
    if not dist.is_first():
        command = replace(command, quiet=True, json=False)
    stream = human_stream(command.json)
    bar, lines = Bar(), Lines(stream)
    device = None if config.device == "auto" else config.device
    own = is_own(config.model)
    with rng.seeded(config.seed):
        model = supplied_network(config.model) if own else None
    trainer = Trainer(
        model if model is not None else config.model,
        config.recipe,
        seed=config.seed,
        device=device,
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
        # Somebody who listens, even where nothing is printed: warnings are for those who have no observer.
        loggers=command.log,
        observers=[nobody] if command.quiet else [lines, bar],
    )
    Interval.parse(command.checkpoint_every)
    if command.resume and (command.out is None or command.overwrite):
        raise InputError(
            "--resume and --overwrite are opposites" if command.overwrite else "--resume does not say which run",
            fix="leave one of them out" if command.overwrite else "--out FOLDER",
        )
    many = command.folds is not None or command.learning_curve
    if command.log and (many or command.seeds is not None or command.dry_run):
        raise InputError("--log goes with one training", found="several, or a dry run", fix="leave --log out")
    if command.seeds is not None:
        require(command.seeds >= 1, "seeds", command.seeds, "at least 1", "--seeds 5")
    elif many or not dist.is_first():
        pass
    elif command.resume and command.out is not None:
        RunFolder.check_resumable(command.out)
    elif command.out is not None:
        RunFolder.check_new(command.out, overwrite=command.overwrite)
    try:
        with dist.first_goes_ahead():
            data = trainer.load_data(
                config.data,
                image_size=config.image_size,
                resize=config.resize if config.resize != "crop" else None,
                val_fraction=config.val_fraction,
                split_seed=config.split_seed,
                skip_unreadable=config.skip_unreadable,
                columns=config.columns,
                group_pattern=None if many else command.group_pattern,
                on_progress=None if command.quiet else bar.reading,
            )
        bar.close()
        if command.chosen_because:
            trainer.notify(Note(text=command.chosen_because))
        for note in data.notes:
            trainer.notify(Note(text=note))
        if many:
            from truefit.commands.repeated import run_curve, run_folds

            return (run_curve if command.learning_curve else run_folds)(command, config, trainer, data, stream)
        out = command.out or next_run(Path("runs"), f"{data.name}-{config.model.rpartition(':')[2]}")
        if command.seeds is not None and not command.dry_run:
            make = partial(supplied_network, config.model) if own else None
            return _run_seeds(trainer, data, command, make, stream)
        if command.dry_run:
            return _dry_run(trainer, data, out, command, lines)
        if command.doctor == "full":
            checkup = try_out(trainer.model, data, config.seed, None if command.quiet else stream)
            if not checkup.ok:
                if command.json:
                    print_json({"run": None, "doctor": checkup.to_json()})
                return 3
            trainer.tried = tuple(checkup.findings)
        start = time.perf_counter()
        run = trainer.fit(
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
    if not command.quiet:
        best = run.evaluation.weights if run.evaluation is not None else None
        chosen = next((r["epoch"] for r in run.history if best == f"best (epoch {r['epoch']})"), None)
        print_epochs(run.history, chosen, stream)
        if run.evaluation is not None:
            print(figure_line(run.evaluation), file=stream)
            print(f"  {further_line(run.evaluation)}", file=stream)
            print(f"  {looks_line(run.evaluation)}", file=stream)
        print(f"  run: {out}", file=stream)
        if (out / "report.html").is_file():
            print(f"  report: {out / 'report.html'}", file=stream)
    if command.json:
        evaluation = figures(run.evaluation) if run.evaluation is not None else None
        seconds = sum(record["seconds"] for record in run.history)
        print_json(
            {
                "run": str(out),
                "epochs": len(run.history),
                "seconds": round(seconds, 2),
                "fit_seconds": round(fit_seconds, 2),
                "evaluation": evaluation,
                "looks_on_this_machine": all_looks(run.evaluation) if run.evaluation is not None else None,
                "doctor": run.doctor,
            }
        )
    return 0


def _run_seeds(trainer: Any, data: Any, command: TrainCommand, make: Any, stream: TextIO) -> int:
    from truefit.commands.output import print_json, print_seeds
    from truefit.plots import plot
    from truefit.repeating import PLOT
    from truefit.runs.folder import next_run

    model = command.config.model.rpartition(":")[2]
    out = command.out or next_run(Path("runs"), f"{data.name}-{model}-seeds")
    result = trainer.fit_seeds(
        data,
        seeds=command.seeds,
        out=out,
        overwrite=command.overwrite,
        make_network=make,
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


def _dry_run(trainer: Any, data: Any, out: Path, command: TrainCommand, lines: Any) -> int:
    from truefit.commands.output import print_json
    from truefit.data.imageset import ImageSet
    from truefit.repeating import check_folder
    from truefit.runs.folder import RunFolder
    from truefit.runs.ledger import unrecorded

    def few(images: ImageSet, count: int) -> ImageSet:
        step = max(1, len(images) // count)
        return images.subset(range(0, len(images), step)[:count])

    recipe = trainer.recipe
    trainer.recipe, trainer.max_time = replace(recipe, epochs=1, early_stopping=None), None
    small = replace(
        data,
        train=few(data.train, recipe.batch_size),
        validation=few(data.validation, 64) if data.validation is not None else None,
        test=few(data.test, 64) if data.test is not None else None,
    )
    if command.seeds is not None:
        check_folder(out)
    elif not command.resume:
        RunFolder.check_new(out, overwrite=command.overwrite)
    parent = next(place for place in out.absolute().parents if place.is_dir())
    try:
        place = Path(tempfile.mkdtemp(prefix=".truefit-dry-run-", dir=parent))
    except OSError as error:
        raise InputError("the output folder can't be written", where=out, found=error) from error
    trainer.observers = []
    try:
        with unrecorded():
            trainer.fit(small, out=place / "run", report=False, select_on=command.config.select_on)
    finally:
        shutil.rmtree(place)
    sizes = {part.split: len(part) for part in data.splits}
    if not command.quiet:
        lines.say(
            f"dry run: all is well ({', '.join(f'{n:,} {split}' for split, n in sizes.items())}); nothing was kept"
        )
    if command.json:
        print_json({"dry_run": True, "samples": sizes})
    return 0
