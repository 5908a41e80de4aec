"""`truefit train [DATA]`: from images to a run folder."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import tyro
import yaml

from truefit import dist
from truefit.commands.arguments import parse
from truefit.config import from_plain, require, seconds_of, to_plain
from truefit.data.columns import Columns
from truefit.errors import InputError
from truefit.recipes.lookup import find_recipe, model_of
from truefit.recipes.recipe import DEFAULT_LR, OptimizerName, Recipe, ScheduleName


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """All that decides a run. `--print-config` prints it as YAML, `--config` reads it."""

    data: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="[DATA]")] = "digits"
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
        require(0 <= self.seed < 2**63, "seed", self.seed, "from 0 to below 2^63")
        require(0 <= self.split_seed < 2**63, "split_seed", self.split_seed, "from 0 to below 2^63")
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
    """Short for --optimizer.name; another one than the recipe's comes with its own usual settings."""
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
    begun = time.perf_counter()
    with dist.joined(config.device):
        # It needs torch; --help and --print-config do without.
        from truefit.commands.training import run

        return run(command, config, begun)


def parse_train(arguments: Sequence[str]) -> TrainCommand:
    """The command from its words. `--recipe` and `--config` set the defaults that the other options change."""
    arguments = [re.sub(r"^--optimizer\.name(?==|$)", "--optimizer", word) for word in arguments]
    arguments = _auto_batch_size(arguments)
    given = {"--recipe": _value(arguments, "--recipe"), "--config": _value(arguments, "--config")}
    automatic = given["--recipe"] in (None, "auto") and given["--config"] is None
    config = _of_recipe("standard" if automatic or given["--recipe"] is None else given["--recipe"])
    if given["--config"] is not None:
        if given["--recipe"] is not None:
            raise InputError("--config and --recipe both say where to start from", fix="leave one of them out")
        config = _read_config(Path(given["--config"]), config)
    config = _begun_with(config, arguments)
    command = parse(TrainCommand, "train", arguments, default=TrainCommand(config=config))
    if not automatic:
        return command
    from truefit.recipes.auto import choose

    named = command.config.model != config.model or command.config.weights is not None or command.from_run is not None
    choice = choose(command.config.data, model_named=named)
    if choice.recipe != config.recipe.name:
        default = TrainCommand(config=_begun_with(_of_recipe(choice.recipe), arguments))
        command = parse(TrainCommand, "train", arguments, default=default)
    return replace(command, chosen_because=choice.reason)


def _begun_with(config: TrainConfig, arguments: Sequence[str]) -> TrainConfig:
    """What the options are said of: with the settings of the optimiser that `--optimizer` names, and with batches as
    they are where `--batch-size` says how large.
    """
    recipe = config.recipe
    name = _value(arguments, "--optimizer")
    if name in DEFAULT_LR:
        recipe = recipe.with_optimizer(cast("OptimizerName", name))
    named = {word.partition("=")[0].replace("_", "-") for word in arguments}
    if named & {"--batch-size", "--auto-batch-size"}:
        recipe = replace(recipe, least_steps=0)
    return replace(config, recipe=recipe)


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


class _Loader(yaml.SafeLoader):
    """SafeLoader, but that a key which stands twice is an error: it lets the last one win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """The mapping of a node."""
        lines: dict[str, int] = {}
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            line = key.start_mark.line + 1
            if isinstance(key, yaml.ScalarNode) and key.value in lines:
                raise InputError(
                    f'the key "{key.value}" stands twice',
                    where=f"line {line}",
                    found=f"the first one in line {lines[key.value]}",
                    fix="leave one of them out",
                )
            lines[str(key.value)] = line
        return super().construct_mapping(node, deep)


def _read_config(path: Path, base: TrainConfig) -> TrainConfig:
    """The settings of a config file; InputError names the file, and the place in it."""
    try:
        plain = yaml.load(path.read_text(encoding="utf-8"), _Loader)
        return _settings_of(plain, base)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError("the config file can't be read", where=path, found=error, wanted="YAML") from error
    except InputError as error:
        place = error.details.get("where", TrainConfig.__name__).removeprefix("--")
        # At the top there is nothing to name but the file.
        inside = "" if place == TrainConfig.__name__ else f", {place}" if place.startswith("line ") else f": {place}"
        raise InputError(error.what, **{**error.details, "where": f"{path}{inside}"}) from error


def _settings_of(plain: Any, base: TrainConfig) -> TrainConfig:
    """The settings that stand in a config file; what is missing is as in `base`."""
    if plain is not None and not isinstance(plain, dict):
        raise InputError("a mapping is wanted", found=repr(plain), wanted="keys and values")
    if isinstance(plain, dict) and isinstance(plain.get("recipe"), str):
        base = _of_recipe(plain.pop("recipe"))
    recipe = plain.get("recipe") if isinstance(plain, dict) else None
    if isinstance(recipe, dict) and "batch_size" in recipe:
        recipe.setdefault("least_steps", 0)
    if isinstance(recipe, dict) and recipe.get("batch_size") == "auto":
        # In the place of a number, as on the command line.
        del recipe["batch_size"]
        plain["auto_batch_size"] = True
    return from_plain(TrainConfig, plain if plain is not None else {}, where="", base=base)
