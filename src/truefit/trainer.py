"""The trainer: a model and a recipe, fitted to data, into a run."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar

from torch import nn
from torch.utils.data import Dataset

from truefit import dist, rng
from truefit.checkpoint.interval import Interval
from truefit.config import require, seconds_of
from truefit.data.imageset import Data, ImageSet
from truefit.data.lookup import load_data
from truefit.errors import InputError, warn
from truefit.events import Event, Note, Observer
from truefit.fitting.fit import Fit
from truefit.fitting.folder import FolderUse, fit_into
from truefit.fitting.keeping import recorded_batch_size, recorded_length, settings_of
from truefit.fitting.plan import FitPlan
from truefit.fitting.start import weights_of
from truefit.loading import load
from truefit.loggers import Logged, find_logger, logged
from truefit.measure import evaluate
from truefit.models.lookup import family_of, image_sizes
from truefit.models.pretrained import Preprocessing
from truefit.models.weights import find_weights
from truefit.monitors import Finding
from truefit.predictor import Predictor
from truefit.recipes.lookup import find_recipe
from truefit.recipes.recipe import Recipe
from truefit.repeating import repeat
from truefit.runs.evaluation import Evaluation
from truefit.runs.folder import RunFolder
from truefit.runs.run import Run
from truefit.runs.seeds import SeedRuns

AnySet = Dataset[Any]


P = ParamSpec("P")
T = TypeVar("T")


def _together(method: Callable[Concatenate[Trainer, P], T]) -> Callable[Concatenate[Trainer, P], T]:
    """A method whose work is shared with the processes that were started together with this one."""

    @wraps(method)
    def shared(self: Trainer, /, *arguments: P.args, **options: P.kwargs) -> T:
        with dist.joined(self.device):
            return method(self, *arguments, **options)

    return shared


class Trainer:
    """Fits a model by a recipe.

    model: a network that gives logits (N, K), or the name of one ("convnet", "resnet18"), which is then built
    anew for each `fit`; a network of your own goes on from its weights, and runs of it share it. recipe: a Recipe
    or the name of one. epochs: instead of the recipe's. seed: decides initial weights (of a named model), order and
    augmentation. device: "cpu", "cuda", "cuda:1", "mps", or None for the best. workers: processes that
    fetch samples which are not in memory. measure_training: measure accuracy on the training set after each
    epoch. weights_from: the folder of a run whose weights are started from. weights: pretrained ones, "pretrained" or
    a place (see `models.weights.find_weights`); images are then prepared as these want it. calibrate: after training
    fit a temperature on validation, and thresholds for `predict(..., sure=0.95)`; no predicted class changes. max_time:
    such as "20m", or seconds: `fit` trains, evaluates and reports within it, by fewer steps than the recipe's epochs
    where they do not fit; their number is recorded as the recipe's max_steps (see `fitting.timing`).
    auto_batch_size: `fit` tries batch sizes for a moment and takes the quickest (see `fitting.batch_size`).
    deterministic: fixed rules say in how many threads and in which precision is trained; False tries out for a moment
    what is quickest, and remembers it for this machine (see `fitting.quickest`). monitors:
    the doctor looks after the training, at next to no cost, and warns of weights that stand still, a loss no better
    than guessing and the like (`truefit.monitors`; into doctor.json and the report). shard: in several processes each
    has a part of the network and of the optimiser's state, for a model that is too large for one device (FSDP2).
    loggers: "tensorboard", "mlflow", "wandb": `fit` writes each epoch's figures into out/logs/NAME too (see
    truefit.loggers).
    observers: told every event (see truefit.events); without any, what puts a figure in doubt is a TruefitWarning.
    """

    def __init__(
        self,
        model: nn.Module | str = "convnet",
        recipe: Recipe | str = "standard",
        *,
        epochs: int | None = None,
        seed: int = 0,
        device: str | None = None,
        workers: int = 0,
        measure_training: bool = False,
        weights_from: str | Path | None = None,
        weights: str | Path | None = None,
        calibrate: bool = False,
        max_time: str | float | None = None,
        auto_batch_size: bool = False,
        deterministic: bool = True,
        monitors: bool = True,
        shard: bool = False,
        loggers: Sequence[str] = (),
        observers: Sequence[Observer] = (),
    ) -> None:
        if isinstance(model, str):
            family_of(model)
        self.model = model
        self.recipe = find_recipe(recipe) if isinstance(recipe, str) else recipe
        if epochs is not None:
            self.recipe = replace(self.recipe, epochs=epochs)
        require(isinstance(workers, int) and workers >= 0, "workers", workers, "at least 0")
        require(isinstance(seed, int) and 0 <= seed < 2**63, "seed", seed, "from 0 to below 2^63")
        self.seed, self.device, self.workers = seed, device, workers
        self.measure_training, self.calibrate, self.monitors = measure_training, calibrate, monitors
        self.shard, self.auto_batch_size, self.deterministic = shard, auto_batch_size, deterministic
        self.weights_from = weights_from
        self.max_time = None if max_time is None else seconds_of(max_time, "max_time")
        if max_time is not None and self.recipe.max_steps is not None:
            raise InputError(
                "max_time and max_steps both say how long training is",
                found=f"{max_time} and {self.recipe.max_steps} steps",
                wanted="one of them",
            )
        if weights is not None and weights_from is not None:
            raise InputError(
                "two kinds of weights to start from", found="weights and weights_from", wanted="one of them"
            )
        self.weights = None if weights is None else find_weights(model if isinstance(model, str) else None, weights)
        if self.preprocessing is not None and self.recipe.augment.crop == 1:
            self.recipe = replace(self.recipe, augment=replace(self.recipe.augment, crop=self.preprocessing.crop))
        for name in loggers:
            find_logger(name)
        self.loggers = tuple(loggers)
        self.observers = list(observers)
        self._logs: list[Logged] = []
        # What the doctor found in a dry run of the same model on the same data; stands in doctor.json with the rest.
        self.tried: tuple[Finding, ...] = ()
        self.predictor: Predictor | None = None

    @_together
    def fit(
        self,
        training_set: AnySet | Data | str | Path,
        validation_set: AnySet | None = None,
        *,
        test_set: AnySet | None = None,
        out: str | Path | None = None,
        overwrite: bool = False,
        report: bool = True,
        select_on: Literal["validation", "test"] = "validation",
        resume: bool = False,
        checkpoint_every: str = "60s",
        requeue: bool = False,
        begun: float | None = None,
    ) -> Run:
        """Train, choose the best epoch on validation, and evaluate once on test (without one: on validation).

        training_set: a data set of (image tensor, label); or a name or folder ("digits", "path/to/images"),
        which brings its own validation and test split. With no validation set the last weights are kept. out: a new
        or empty folder for the run; None writes nothing. select_on: "test" lets the test set choose, in the place of
        validation, and every figure is then labelled "selected on test"; otherwise a validation set that shares
        samples with the test set is an error (how they are found: `data.overlap.shared`). Training samples that are
        in test too are counted, and warned about. report: write report.html into out.

        overwrite: a run in `out` may be replaced. resume: a run in `out` with the same settings is gone on with,
        from its newest intact checkpoint; where there is none, training begins at the start, so that one call
        serves for both. A finished run is returned as it is. checkpoint_every: how often state is saved in `out`:
        "60s", "500steps", "epoch" (the ends of epochs are part of all three) or "never". On SIGTERM and SIGINT the
        step is finished, state saved and `truefit.errors.Interrupted` raised, which is a KeyboardInterrupt; on
        SIGUSR1 state is saved, and training goes on. requeue: a SIGUSR1 then also puts the job of Slurm back in
        the queue. begun: the moment of `time.perf_counter` from which max_time counts; None: this call.

        Raises InputError for bad data or settings, before anything is written (a data set of your own is looked at
        sample by sample as it is used, so its faults show then); NonFiniteError where training diverges;
        StorageError where `out` can't be written any more; DeviceMemoryError. What complete epochs gave is then
        kept in `out`, and the last checkpoint.

        In processes that torchrun started, each calls this with the same arguments, and they share the work: see
        docs/en/distributed.md. All of them get the run; the first one writes it, and tells the observers.
        """
        begun = time.perf_counter() if begun is None else begun
        interval = Interval.parse(checkpoint_every)
        if resume and (out is None or overwrite):
            raise InputError(
                "a run is gone on with or replaced, not both" if overwrite else "there is no folder to go on in",
                found="resume and overwrite" if overwrite else "resume without out",
            )
        before = RunFolder(Path(out)) if resume and out else None
        fit = self._prepare(training_set, validation_set, test_set, before, select_on, begun=begun)
        if out is None:
            if self.loggers:
                raise InputError("loggers need the folder of a run", found="no out", fix='out="runs/mine"')
            run = fit.run()
            self.predictor = fit.predictor()
            return run

        def after(run: Run, fit: Fit) -> None:
            self.predictor = fit.predictor()
            if report:
                _write_report(run, fit)

        def finished(place: Path) -> Run:
            run = self._finished(place)
            if report and dist.is_first() and not (place / "report.html").is_file():
                with dist.alone():
                    _write_report(run, fit)
            return run

        use = FolderUse(
            overwrite=overwrite, resume=resume, interval=interval, requeue=requeue, after=after, finished=finished
        )
        tell = lambda text: self.notify(Note(text=text, warning=True))  # noqa: E731
        with logged(self.loggers, Path(out), fit.describe, tell) as self._logs:
            return fit_into(out, fit, use, notify=self.notify)

    def fit_seeds(
        self,
        training_set: AnySet | Data | str | Path,
        validation_set: AnySet | None = None,
        *,
        test_set: AnySet | None = None,
        seeds: int | Sequence[int] = 5,
        out: str | Path | None = None,
        overwrite: bool = False,
        make_network: Callable[[], nn.Module] | None = None,
        report: bool = True,
        select_on: Literal["validation", "test"] = "validation",
        checkpoint_every: str = "60s",
        requeue: bool = False,
    ) -> SeedRuns:
        """Train once with each seed on the same splits; data sets as for `fit`.

        seeds: how many, counted on from the trainer's own seed; or the seeds themselves. out: a folder for
        seed-0/, seed-1/... and seeds.json. The same call again trains only what is missing there, and refuses seeds
        of other settings; overwrite: trains all seeds that are asked for again. make_network: makes the network,
        called anew for each seed, where the model is not one that is known by name. report, select_on,
        checkpoint_every, requeue: as for `fit`, for each of the runs.

        Raises InputError as `fit` does, and where the model is a network: its weights would go on from seed to seed.
        """
        if isinstance(self.model, nn.Module) and make_network is None:
            raise InputError(
                "a network goes on from its weights: it can't be trained anew with each seed",
                found=type(self.model).__name__,
                wanted="the name of a model, or a function that makes the network",
                fix="trainer.fit_seeds(..., make_network=MyNet)",
            )
        self.refuse_measured("seeds")
        if isinstance(training_set, str | Path) and validation_set is None and test_set is None:
            training_set = self.load_data(training_set)

        def prepare(seed: int) -> Fit:
            trainer = copy.copy(self)
            trainer.seed = seed
            if make_network is not None:
                with rng.seeded(seed):
                    trainer.model = make_network()
            return trainer._prepare(training_set, validation_set, test_set, select_on=select_on)

        chosen = range(self.seed, self.seed + seeds) if isinstance(seeds, int) else seeds
        place = None if out is None else Path(out)
        return repeat(
            prepare,
            list(chosen),
            out=place,
            use=FolderUse(
                overwrite=overwrite,
                resume=not overwrite,
                interval=Interval.parse(checkpoint_every),
                requeue=requeue,
                after=_write_report if report else None,
            ),
            notify=self.notify,
        )

    def refuse_measured(self, what: str) -> None:
        """InputError where something is to be measured before each: trainings that are to be compared must be alike."""
        if not self.deterministic:
            raise InputError(
                f"settings that are tried out do not go with {what}: each training might have others",
                found="--no-deterministic",
                fix="name them: OMP_NUM_THREADS=1 --precision bfloat16",
            )
        if self.auto_batch_size:
            raise InputError(
                f"a batch size that is tried out does not go with {what}: each training might have another",
                fix="name it: --batch-size 64",
            )
        if self.max_time is not None:
            raise InputError(
                f"max_time does not go with {what}: each training would have another number of steps",
                found=f"{self.max_time:.0f} s",
                wanted="a number of steps or epochs",
                fix="--max-steps 1000",
            )

    @property
    def preprocessing(self) -> Preprocessing | None:
        """How the pretrained weights want their images; None where there are none, or it is not known."""
        return None if self.weights is None else self.weights.preprocessing

    def load_data(self, spec: str | Path, **options: Any) -> Data:
        """`truefit.load_data`, its options chosen for the model and its weights where they are not given or None."""
        wanted = self.preprocessing
        usual = image_sizes(self.model)[1] if isinstance(self.model, str) else 32
        chosen: dict[str, Any] = {"default_image_size": usual}
        if wanted is not None:
            chosen |= {"image_size": wanted.image_size, "resize": wanted.resize, "interpolation": wanted.interpolation}
        return load_data(spec, **{**chosen, **{name: value for name, value in options.items() if value is not None}})

    def _prepare(
        self,
        training_set: AnySet | Data | str | Path,
        validation_set: AnySet | None,
        test_set: AnySet | None,
        before: RunFolder | None = None,
        select_on: Literal["validation", "test"] = "validation",
        begun: float = 0.0,
    ) -> Fit:
        """Everything resolved and checked; nothing written yet. before: what is gone on with, where there is one."""
        if isinstance(training_set, str | Path | Data) and (validation_set is not None or test_set is not None):
            raise InputError(
                "this data brings its own validation and test set",
                found="a validation_set or test_set beside it",
                wanted="one or the other",
                fix="give data.train as training_set to choose the others yourself",
            )
        if isinstance(training_set, str | Path):
            training_set = self.load_data(training_set)
        data = None
        if isinstance(training_set, Data):
            data = training_set
            training_set, validation_set, test_set = data.train, data.validation, data.test
        recipe, max_time = dist.from_first(lambda: recorded_length(before, self.recipe, self.max_time))
        auto = self.auto_batch_size
        recipe = dist.from_first(lambda: recorded_batch_size(before, recipe, auto))
        plan = FitPlan(
            model=self.model,
            recipe=recipe,
            seed=self.seed,
            device=self.device,
            workers=self.workers,
            measure_training=self.measure_training,
            notify=self.notify,
            settings=dist.from_first(lambda: settings_of(before, self.device, self.workers)),
            begun_with=None if self.weights_from is None else weights_of(self.weights_from),
            select_on=select_on,
            calibrate=self.calibrate,
            max_time=max_time,
            auto_batch_size=self.auto_batch_size,
            deterministic=self.deterministic,
            begun=begun,
            weights=self.weights,
            monitored=self.monitors,
            shard=self.shard,
            tried=self.tried,
        )
        return Fit(plan, training_set, validation_set, test_set, data)

    def _finished(self, place: Path) -> Run:
        run = load(place, network=self.model if isinstance(self.model, nn.Module) else None, device=self.device)
        assert isinstance(run.predictor, Predictor)
        self.predictor = run.predictor
        self.notify(Note(text=f"the run in {place} is finished: nothing to do"))
        return run

    def evaluate(self, dataset: AnySet, *, split: str | None = None) -> Evaluation:
        """Measure the network that `fit` left, on any data set."""
        if self.predictor is None:
            raise InputError(
                "there is nothing to evaluate yet", fix="call fit first, or truefit.evaluate(network, ...)"
            )
        return evaluate(self.predictor, dataset, split=split, observe=self.notify)

    def notify(self, event: Event) -> None:
        """Tell every observer; where there is none, warn of what puts a figure in doubt.

        Of several processes the first one tells.
        """
        if not dist.is_first():
            return
        if not self.observers and isinstance(event, Note) and event.warning:
            warn(event.text)
        observers: list[Observer] = [*self.observers, *self._logs]
        for observer in observers:
            observer(event)


def _write_report(run: Run, fit: Fit) -> None:
    # Only now: what a page needs has no business in a training.
    from truefit.report.build import write_report
    from truefit.runs.record import Record

    measured = fit.measured_on()[1] if run.evaluation is not None else None
    try:
        write_report([Record.of(run)], images=measured if isinstance(measured, ImageSet) else None)
    except Exception as error:
        # The run is complete on disk: whatever is wrong with its page must not take it from the caller.
        warn(f"the report could not be written ({error!r}); the run is complete, try: truefit report {run.folder}")
