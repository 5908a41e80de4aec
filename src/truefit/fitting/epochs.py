"""Epoch after epoch: training, validation, the choice of the best, the history."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Any

from truefit import dist, loop, rng, sharding
from truefit.checkpoint.saver import Saver
from truefit.checkpoint.state import Stateful
from truefit.checkpoint.store import Found, Position
from truefit.checkpoint.tree import unflatten
from truefit.data.batch import Batches
from truefit.data.shortened import Shortened
from truefit.errors import InputError
from truefit.events import EpochFinished, FitStarted, Note, Observer
from truefit.fitting.best import Best
from truefit.fitting.freezing import Freezing
from truefit.fitting.keeping import Keeping
from truefit.fitting.others import BusyNote
from truefit.fitting.progress import Progress, together
from truefit.fitting.setup import Setup
from truefit.fitting.timing import Clock
from truefit.fitting.watching import watch
from truefit.measure import measure
from truefit.optim.execution import compiled
from truefit.optim.optimizers import build_optimizer
from truefit.optim.schedules import Schedule
from truefit.optim.weight_mean import STATISTICS_SAMPLES, WeightMean
from truefit.precision import Precision, describe
from truefit.runs.evaluation import NOT_FINITE, Evaluation
from truefit.runs.folder import RunFolder


class Epochs:
    """The epochs of one training: how far it is, what they gave, and which was best."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.history: list[dict[str, Any]] = []
        self.best = Best()
        self.progress = Progress()
        self.monitors = watch(setup)
        # What a probe found before the epochs, as it stands in model.json.
        self.probe: dict[str, Any] | None = None
        self._saver: Saver | None = None
        self._freezing: Freezing | None = None

    def run(self, keeping: Keeping | None, clock: Clock | None = None) -> None:
        """Train until the recipe's epochs or steps are done, or early stopping or the clock ends it."""
        setup = self.setup
        recipe, settings, notify, length = setup.recipe, setup.settings, setup.plan.notify, setup.length
        training = setup.batches(setup.training_set, "training set", recipe.batch_size, setup.plan.seed)
        freezing = self._freezing = Freezing(setup.network, recipe.transfer, length.epochs)
        optimizer = build_optimizer(setup.network, recipe.optimizer, freezing.rates(), recorded=setup.recorded)
        # An iterable set has no length: its schedule is by epochs alone.
        schedule = Schedule(
            optimizer, recipe.schedule, steps_per_epoch=training.steps or 1, epochs=length.laid_out, swa=recipe.swa
        )
        if isinstance(setup.average, WeightMean) and length.steps is not None and length.per_epoch is not None:
            setup.average.lay_out(length.steps, length.per_epoch)
        precision = Precision(settings.training_precision, setup.device)
        gradient = setup.gradient_step(setup.network, optimizer, precision)
        validation = None
        if setup.validation_set is not None:
            validation = setup.batches(setup.validation_set, "validation set", settings.evaluation_batch_size)
        notify(
            FitStarted(
                epochs=length.epochs,
                device=describe(setup.device),
                training_samples=training.samples,
                validation_samples=validation.samples if validation is not None else None,
            )
        )
        live = Stateful(
            network=setup.network, optimizer=optimizer, schedule=schedule, precision=precision, average=setup.average
        )
        progress = self.progress
        folder = None if keeping is None else keeping.folder
        if keeping is not None and keeping.found is not None:
            self._go_on(keeping.found, live, folder)
        saver = self._saver = None if keeping is None else keeping.saver(partial(self._state, live), notify)
        # The saver last: what it saves includes what the others have seen of this step.
        observe = together(progress, notify, self.monitors, self._busy_note(), saver)
        while progress.epoch < setup.length.epochs and not self._has_waited_enough():
            epoch, start = progress.epoch, progress.begin()
            steps = length.of_epoch(epoch)
            with compiled(setup.network, setup.compiled):
                trained = loop.train_epoch(
                    setup.network,
                    _shortened(training, steps, clock),
                    setup.task,
                    optimizer,
                    epoch=epoch,
                    scheduler=schedule if training.steps is not None else None,
                    accumulate=recipe.accumulate,
                    precision=precision,
                    gradient=gradient,
                    average=setup.average,
                    so_far=progress.so_far(),
                    frozen=freezing.apply(epoch),
                    observe=observe,
                )
            trained_for = time.perf_counter() - start
            if steps is not None and len(trained.sizes) < steps:
                self._record_end(epoch, len(trained.sizes), keeping)
            self._settle_average(epoch)
            measured = self._measure(validation, "validation", epoch, observe) if validation is not None else None
            exact = self._measure_training(epoch, observe)
            if training.steps is None:
                schedule.step()
            lr = schedule.last_lr
            schedule.end_epoch(measured.loss if measured is not None else None)
            if measured is not None:
                self.best.offer(epoch + 1, measured, setup.measured)
            record: dict[str, Any] = {
                "epoch": epoch + 1,
                "lr": lr,
                "training_loss": trained.loss,
                "running_accuracy": trained.accuracy if trained.correct is not None else None,
                "training_accuracy": exact.accuracy if exact is not None else None,
                "validation_loss": measured.loss if measured is not None else None,
                "validation_accuracy": measured.accuracy if measured is not None else None,
                "validation_n": measured.n if measured is not None else None,
                "validation_correct": measured.correct if measured is not None else None,
                "validation_interval": list(measured.interval) if measured is not None else None,
                "seconds": round(time.perf_counter() - start, 4),
                "images_per_second": round(trained.samples / trained_for, 1),
            }
            if setup.plan.select_on == "test":
                record["validation_split"] = "test"
            self.history.append(record)
            if folder is not None:
                folder.add_epoch(record)
            progress.next_epoch()
            observe(EpochFinished(epoch=epoch, epochs=length.epochs, record=record))
            if clock is not None and clock.is_up() and progress.epoch < setup.length.epochs:
                self._record_end(progress.epoch, 0, keeping)
            if saver is not None:
                saver.end_of_epoch()
        freezing.end()
        if setup.average is not None and not setup.average.is_usable and progress.epoch:
            # The clock has ended training between two epochs: this one was not expected to be the last.
            self._settle_average(progress.epoch - 1)
        if saver is not None:
            saver.finish()

    def _busy_note(self) -> BusyNote | None:
        """Where several threads of this one process share the cores with others, and their number is still open."""
        setup = self.setup
        alone = setup.device.type == "cpu" and setup.settings.workers == 0 and dist.world() == 1
        open_still = setup.plan.settings is None and setup.plan.deterministic
        return BusyNote(setup.plan.notify) if alone and open_still and setup.settings.threads > 1 else None

    def leave(self) -> None:
        """Training broke off: what was frozen is thawed, for the network may be the caller's; and a checkpoint that is
        being written is let finish, so that it counts among those there."""
        if self._freezing is not None:
            self._freezing.end()
        if self.setup.shards is not None:
            self.setup.shards.end()
        if self._saver is not None:
            # What made training break off is what the user must see.
            with suppress(Exception):
                self._saver.wait()

    def _record_end(self, epoch: int, steps: int, keeping: Keeping | None) -> None:
        """The clock ends training after so many steps of this epoch, earlier than was planned."""
        setup = self.setup
        length = setup.length
        assert length.per_epoch is not None
        done = epoch * length.per_epoch + steps
        setup.recipe = replace(setup.recipe, stop_at_step=done)
        if keeping is not None and keeping.folder is not None:
            keeping.folder.write_config(setup.describe())
        setup.plan.notify(Note(text=f"time is up: training ends after {done:,} of {length.steps:,} steps"))

    def _settle_average(self, epoch: int) -> None:
        """Where the mean of the weights is to be measured or kept now: give it its statistics of BatchNorm."""
        setup = self.setup
        average, last = setup.average, epoch + 1 >= setup.length.epochs
        if not isinstance(average, WeightMean) or (setup.validation_set is None and not last):
            return
        size = setup.settings.evaluation_batch_size
        seed = rng.key(setup.plan.seed, "statistics")
        # Shuffled and augmented, as in training; the draw is a function of seed and epoch, like all others.
        batches = setup.batches(setup.training_set, "training set", size, seed)
        few = Shortened(batches, -(-STATISTICS_SAMPLES // size))
        # Each process by itself, so that all have the same.
        with dist.alone(), rng.preserved(setup.device), closing(few.epoch(epoch)) as stream:
            average.settle((batch.images for batch in stream), Precision(setup.settings.precision, setup.device))

    def _has_waited_enough(self) -> bool:
        """Early stopping: so many epochs have passed without a better one."""
        patience = self.setup.recipe.early_stopping
        return patience is not None and self.progress.epoch - self.best.epoch >= patience

    def _state(self, live: Stateful) -> tuple[Position, dict[str, Any]]:
        """Where training stands, and all that it needs to go on from there."""
        position, progress = self.progress.state()
        state = {
            "progress": progress,
            "history": self.history,
            "best": self.best.state(),
            "probe": self.probe,
            "monitors": None if self.monitors is None else self.monitors.state_dict(),
            **live.state(),
        }
        return position, state

    def _go_on(self, found: Found, live: Stateful, folder: RunFolder | None) -> None:
        """Take up training where a checkpoint stands."""
        try:
            state = unflatten(found.plain, found.tensors, self.setup.device)
            self.best.load(state["best"], self.setup.measured)
            self.progress.load(state["progress"])
            self.history = list(state["history"])
            self.probe = state["probe"]
            live.load(state)
            if self.monitors is not None and state["monitors"] is not None:
                self.monitors.load_state_dict(state["monitors"])
        except (KeyError, TypeError, ValueError, AttributeError, IndexError, RuntimeError) as error:
            raise InputError("the checkpoint does not fit this run", where=found.path, found=error) from error
        if folder is not None:
            folder.write_history(self.history)
        self.setup.plan.notify(Note(text=f"going on from {found.position} ({found.path})"))

    def _measure(self, batches: Batches, split: str, epoch: int, observe: Observer) -> Evaluation:
        with rate_named():
            return measure(
                self.setup.module,
                batches,
                classes=self.setup.classes,
                split=split,
                epoch=epoch,
                averaging=self.setup.config.averaging,
                thresholds=self.setup.config.thresholds,
                precision=Precision(self.setup.settings.precision, self.setup.device),
                observe=observe,
            )

    def _measure_training(self, epoch: int, observe: Observer) -> Evaluation | None:
        setup = self.setup
        if not setup.plan.measure_training:
            return None
        batches = setup.batches(setup.training_set, "training set", setup.settings.evaluation_batch_size)
        return self._measure(batches, "train", epoch, observe)

    def restore_best(self) -> None:
        """Give the network the weights that are kept: the best, or the averaged ones, or those it has."""
        if self.best.weights is not None:
            self.setup.network.load_state_dict(self.best.weights)
        elif self.setup.average is not None and self.setup.average.is_usable:
            self.setup.network.load_state_dict(sharding.weights(self.setup.average.network))

    @property
    def findings(self) -> dict[str, Any] | None:
        """What the doctor found, as in doctor.json; None where there are no monitors."""
        return None if self.monitors is None else self.monitors.to_json(self.setup.plan.tried)

    @property
    def weights(self) -> str:
        """Which weights are kept, in words."""
        if not self.history:
            return "of the probe, chosen by cross-validation within train"
        which, epoch = ("last", len(self.history)) if self.best.weights is None else ("best", self.best.epoch)
        average = self.setup.average
        if average is None:
            return f"{which} (epoch {epoch})"
        steps = min(epoch * (self.setup.length.per_epoch or 1), average.steps)
        return f"{which} (epoch {epoch})" + (", averaged over steps" if average.has_begun(steps) else "")

    @property
    def selected_on(self) -> str | None:
        """The split that chose the weights."""
        return None if self.best.weights is None else self.setup.plan.select_on


@contextmanager
def rate_named() -> Iterator[None]:
    """Where outputs after a step of training are not finite, say that the learning rate may be why."""
    try:
        yield
    except InputError as error:
        if error.what != NOT_FINITE:
            raise
        fix = f"lower the learning rate; or {error.details['fix']}"
        raise InputError(error.what, **{**error.details, "fix": fix}) from error


def _shortened(batches: Batches, steps: int | None, clock: Clock | None) -> Batches:
    """The batches of an epoch that is to have so many steps, or ends with the time."""
    if steps is None or (steps == batches.steps and clock is None):
        return batches
    return Shortened(batches, steps, clock.is_up) if clock is not None else Shortened(batches, steps)
