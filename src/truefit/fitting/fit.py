"""One training from beginning to end: epochs, the choice of the best, the final evaluation, the run folder."""

from __future__ import annotations

import copy
import time
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import nn

from truefit import loop, rng
from truefit.calibrating import calibrate_predictor
from truefit.checkpoint.state import Stateful
from truefit.checkpoint.store import Found, Position
from truefit.checkpoint.tree import unflatten
from truefit.config import to_plain
from truefit.data.batches import Batches, make_batches
from truefit.data.collate import count_samples
from truefit.data.imageset import Data, ImageSet
from truefit.data.statistics import channel_statistics
from truefit.errors import InputError
from truefit.events import EpochFinished, FitStarted, Note, Observer
from truefit.fitting.best import Best
from truefit.fitting.checks import (
    as_image_set,
    check_classes,
    check_named_model,
    check_recipe,
    probe,
    task_for,
)
from truefit.fitting.description import describe_data, describe_model, describe_run, golden_images
from truefit.fitting.keeping import Keeping
from truefit.fitting.memory import is_out_of_memory, out_of_memory
from truefit.fitting.plan import AnySet, FitPlan
from truefit.fitting.progress import Progress, together
from truefit.fitting.selection import choosing_set, in_ledger, note_training, training_copies
from truefit.fitting.start import start_from
from truefit.measure import class_names, evaluate_predictor, image_size_of, measure
from truefit.models.lookup import build_model
from truefit.models.traits import has_batchnorm
from truefit.optim.averaging import WeightAverage
from truefit.optim.optimizers import build_optimizer
from truefit.optim.schedules import Schedule
from truefit.precision import Precision, describe, resolve, threads
from truefit.predictor import Averaging, Predictor, PredictorConfig, golden_confidence
from truefit.runs.evaluation import Evaluation
from truefit.runs.folder import RunFolder
from truefit.runs.ledger import Ledger
from truefit.runs.run import Run


class Fit:
    """One training: everything resolved and checked when made, then run once."""

    def __init__(
        self,
        plan: FitPlan,
        training_set: AnySet,
        validation_set: AnySet | None,
        test_set: AnySet | None,
        data: Data | None,
    ) -> None:
        self.plan, self.data = plan, data
        self.training_set = as_image_set(training_set)
        self.validation_set = None if validation_set is None else as_image_set(validation_set)
        self.test_set = None if test_set is None else as_image_set(test_set)
        self.images = self.training_set if isinstance(self.training_set, ImageSet) else None
        count_samples(training_set, "training set")
        for role, dataset in (("validation set", validation_set), ("test set", test_set)):
            if dataset is not None:
                count_samples(dataset, role)
        self.validation_set = choosing_set(plan, self.validation_set, self.test_set)
        self.shared_with_test = training_copies(plan, self.training_set, self.test_set)
        self.ledger = Ledger()
        mirror = data.mirror if data is not None else False
        self.recipe = plan.recipe.resolved(images=self.images is not None, mirror=mirror)
        self.settings = plan.settings or resolve(
            device=plan.device,
            precision=self.recipe.precision,
            image_size=image_size_of(training_set),
            workers=plan.workers,
        )
        self.device = torch.device(self.settings.device)
        self.classes = self.images.classes if self.images is not None else class_names(training_set)
        self._check()
        with rng.seeded(plan.seed, self.device):
            self.network = self._build()
            self.rng_after_building = torch.default_generator.get_state()
        if plan.begun_with is not None:
            start_from(self.network, plan.begun_with)
        self.network.to(self.device, memory_format=self.settings.memory_format)  # type: ignore[call-overload]
        if isinstance(plan.model, str):
            probe(plan.model, self.network, self.recipe, self.training_set, self.device)
        self.average = WeightAverage(self.network, self.recipe.ema) if self.recipe.ema.decay is not None else None
        # What is measured and kept: the averaged weights where there are any.
        self.measured = self.network if self.average is None else self.average.network
        self.module = Averaging(self.measured, self.recipe.averaging_resolved, 1.0)
        self.task = task_for(self.recipe, self.training_set, self.classes)
        mean, std = channel_statistics(self.images) if self.images is not None else ((), ())
        self.config = PredictorConfig(
            classes=self.classes or (),
            images="files" if self.images is not None else "tensors",
            image_size=self._side(),
            resize=self.images.resize if self.images is not None else "crop",
            mean=mean,
            std=std,
            averaging=self.recipe.averaging_resolved,
            crop=self.recipe.augment.crop,
        )
        self.history: list[dict[str, Any]] = []
        self.best = Best()
        self.progress = Progress()
        self.calibration: dict[str, Any] | None = None

    def _side(self) -> int | None:
        """The side of the images where they are files of one square size."""
        if self.images is None:
            return None
        height, width = image_size_of(self.images)
        return height if height == width else None

    def _check(self) -> None:
        check_classes(self.classes, self.validation_set, self.test_set)
        if isinstance(self.plan.model, str):
            check_named_model(self.plan.model, self.recipe, self.training_set, self.classes)
        check_recipe(self.recipe, self.classes, validated=self.validation_set is not None)

    def _build(self) -> nn.Module:
        model = self.plan.model
        if isinstance(model, nn.Module):
            return model
        assert self.classes is not None
        return build_model(model, len(self.classes))

    def run(self, keeping: Keeping | None = None) -> Run:
        """Train, measure, write. keeping: the folder, and how state is saved there; None writes nothing.

        Goes on from `keeping.found` where there is one.
        """
        folder = None if keeping is None else keeping.folder
        if folder is not None:
            self.ledger = folder.ledger
        try:
            with threads(self.settings.threads), rng.seeded(self.plan.seed, self.device):
                torch.default_generator.set_state(self.rng_after_building)
                if folder is not None:
                    folder.write_config(self.describe())
                self._train(keeping)
                last = copy.deepcopy(self.network.state_dict())
                self._restore_best()
                self._note_training()
                self._calibrate()
                if folder is not None:
                    self._save_model(folder)
                    folder.write_last(last)
                evaluation = self._evaluate()
                if folder is not None and evaluation is not None:
                    folder.write_evaluation(evaluation)
                if keeping is not None:
                    keeping.complete(self.recipe.schedule)
        except BaseException as error:
            if folder is not None:
                self._leave(folder)
            if is_out_of_memory(error):
                raise out_of_memory(error, self.network, self.training_set, self.recipe, self.device) from error
            raise
        return Run(
            folder=folder.path if folder is not None else None,
            config=self.describe(),
            history=self.history,
            evaluation=evaluation,
            predictor=self.predictor(),
            weights=self.weights,
            selected_on=self.selected_on,
            ledger=self.ledger,
        )

    def _train(self, keeping: Keeping | None) -> None:
        recipe, settings = self.recipe, self.settings
        training = self._batches(self.training_set, "training set", recipe.batch_size, self.plan.seed)
        optimizer = build_optimizer(self.network, recipe.optimizer)
        # An iterable set has no length: its schedule is by epochs alone.
        schedule = Schedule(optimizer, recipe.schedule, steps_per_epoch=training.steps or 1, epochs=recipe.epochs)
        precision = Precision(settings.precision, self.device)
        validation = None
        if self.validation_set is not None:
            validation = self._batches(self.validation_set, "validation set", settings.evaluation_batch_size)
        self.plan.notify(
            FitStarted(
                epochs=recipe.epochs,
                device=describe(self.device),
                training_samples=training.samples,
                validation_samples=validation.samples if validation is not None else None,
            )
        )
        live = Stateful(
            network=self.network, optimizer=optimizer, schedule=schedule, precision=precision, average=self.average
        )
        progress = self.progress
        if keeping is not None and keeping.found is not None:
            self._go_on(keeping.found, live, keeping.folder)
        saver = None if keeping is None else keeping.saver(partial(self._state, live), self.plan.notify)
        observe = together(progress, self.plan.notify, saver)
        while progress.epoch < recipe.epochs and not self._has_waited_enough():
            epoch, start = progress.epoch, progress.begin()
            trained = loop.train_epoch(
                self.network,
                training,
                self.task,
                optimizer,
                epoch=epoch,
                scheduler=schedule if training.steps is not None else None,
                accumulate=recipe.accumulate,
                clip_norm=recipe.clip_norm,
                precision=precision,
                average=self.average,
                so_far=progress.so_far(),
                observe=observe,
            )
            trained_for = time.perf_counter() - start
            measured = self._measure(validation, "validation", epoch, observe) if validation is not None else None
            exact = self._measure_training(epoch, observe)
            if training.steps is None:
                schedule.step()
            lr = schedule.last_lr
            schedule.end_epoch(measured.loss if measured is not None else None)
            if measured is not None:
                self.best.offer(epoch + 1, measured, self.measured)
            record: dict[str, Any] = {
                "epoch": epoch + 1,
                "lr": lr,
                "training_loss": trained.loss,
                "running_accuracy": trained.accuracy,
                "training_accuracy": exact.accuracy if exact is not None else None,
                "validation_loss": measured.loss if measured is not None else None,
                "validation_accuracy": measured.accuracy if measured is not None else None,
                "validation_n": measured.n if measured is not None else None,
                "validation_correct": measured.correct if measured is not None else None,
                "validation_interval": list(measured.interval) if measured is not None else None,
                "seconds": round(time.perf_counter() - start, 4),
                "images_per_second": round(trained.samples / trained_for, 1),
            }
            if self.plan.select_on == "test":
                record["validation_split"] = "test"
            self.history.append(record)
            if keeping is not None:
                keeping.folder.add_epoch(record)
            progress.next_epoch()
            self.plan.notify(EpochFinished(epoch=epoch, epochs=recipe.epochs, record=record))
            if saver is not None:
                saver.end_of_epoch()
        if saver is not None:
            saver.finish()

    def _has_waited_enough(self) -> bool:
        """Early stopping: so many epochs have passed without a better one."""
        patience = self.recipe.early_stopping
        return patience is not None and self.progress.epoch - self.best.epoch >= patience

    def _state(self, live: Stateful) -> tuple[Position, dict[str, Any]]:
        """Where training stands, and all that it needs to go on from there."""
        position, progress = self.progress.state()
        state = {"progress": progress, "history": self.history, "best": self.best.state(), **live.state()}
        return position, state

    def _go_on(self, found: Found, live: Stateful, folder: RunFolder) -> None:
        """Take up training where a checkpoint stands."""
        try:
            state = unflatten(found.plain, found.tensors, self.device)
            self.best.load(state["best"], self.measured)
            self.progress.load(state["progress"])
            self.history = list(state["history"])
            live.load(state)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError, RuntimeError) as error:
            raise InputError("the checkpoint does not fit this run", where=found.path, found=error) from error
        folder.write_history(self.history)
        self.plan.notify(Note(text=f"going on from {found.position} ({found.path})"))

    def _batches(self, dataset: AnySet, role: str, batch_size: int, seed: int | None = None) -> Batches:
        return make_batches(
            dataset,
            batch_size=batch_size,
            device=self.device,
            role=role,
            pipeline=replace(self.config.pipeline, augmentation=self.recipe.augment),
            seed=seed,
            share_last=seed is not None and has_batchnorm(self.network),
            workers=self.settings.workers,
            epochs=self.recipe.epochs,
        )

    def _measure(self, batches: Batches, split: str, epoch: int, observe: Observer) -> Evaluation:
        return measure(
            self.module,
            batches,
            classes=self.classes,
            split=split,
            epoch=epoch,
            averaging=self.config.averaging,
            precision=Precision(self.settings.precision, self.device),
            observe=observe,
        )

    def _measure_training(self, epoch: int, observe: Observer) -> Evaluation | None:
        if not self.plan.measure_training:
            return None
        batches = self._batches(self.training_set, "training set", self.settings.evaluation_batch_size)
        return self._measure(batches, "train", epoch, observe)

    def _restore_best(self) -> None:
        if self.best.weights is not None:
            self.network.load_state_dict(self.best.weights)
        elif self.average is not None:
            self.network.load_state_dict(self.average.network.state_dict())

    @property
    def weights(self) -> str:
        """Which weights are kept, in words."""
        if self.best.weights is None:
            return f"last (epoch {len(self.history)})"
        return f"best (epoch {self.best.epoch})"

    @property
    def selected_on(self) -> str | None:
        """The split that chose the weights."""
        return None if self.best.weights is None else self.plan.select_on

    def _note_training(self) -> None:
        note_training(self.ledger, self.plan, self.recipe, self.validation_set, len(self.history))

    def _calibrate(self) -> None:
        if self.plan.calibrate and self.validation_set is not None:
            found = calibrate_predictor(
                self.predictor(),
                self.validation_set,
                split=self.plan.select_on,
                by=f"train: calibration after epoch {len(self.history)}",
                observe=self.plan.notify,
            )
            self.config = found.applied(self.config)
            self.calibration = to_plain(found)
            self.plan.notify(Note(text=str(found)))

    def _evaluate(self) -> Evaluation | None:
        split, dataset = ("test", self.test_set) if self.test_set is not None else ("validation", self.validation_set)
        if dataset is None:
            return None
        return evaluate_predictor(
            self.predictor(),
            dataset,
            split=split,
            selected_on=self.selected_on,
            weights=self.weights,
            looks=self._look(split, dataset),
            observe=self.plan.notify,
        )

    def _look(self, split: str, dataset: AnySet) -> int:
        """Count the look at the split, once for each length of the training, however often it was broken off here."""
        by = f"train: final evaluation after epoch {len(self.history)}"
        if self.ledger.looks(split, by=by):
            return self.ledger.looks(split)
        return self.ledger.look(split, by=by, **in_ledger(dataset))

    def predictor(self) -> Predictor:
        """The network as it stands, with everything that belongs to its use."""
        classes = self.classes or tuple(map(str, range(self.task.classes or 0)))
        splits = self._describe_data()["splits"]
        return Predictor(
            self.network,
            replace(self.config, classes=classes),
            self.settings,
            weights=self.weights,
            selected_on=self.selected_on,
            own_splits={about["fingerprint"]: name for name, about in splits.items() if "fingerprint" in about},
            ledger=self.ledger,
        )

    def _leave(self, folder: RunFolder) -> None:
        """Training broke off: keep what complete epochs and checkpoints have, and nothing half-written."""
        if not self.history:
            if not any(folder.checkpoints.glob("*.checkpoint")):
                folder.remove()
            return
        # What made training break off is what the user must see.
        with suppress(Exception):
            self._note_training()
            self._restore_best()
            self._save_model(folder)

    def _save_model(self, folder: RunFolder) -> None:
        predictor = self.predictor()
        shown = self.validation_set if self.validation_set is not None else self.training_set
        images = golden_images(shown, self.plan.seed)
        golden = {"images": images, "logits": predictor.logits(images) * predictor.config.temperature}
        added = {"calibration": self.calibration, "golden_confidence": golden_confidence(predictor, images)}
        folder.write_model({**describe_model(self.plan, predictor), **added}, self.network.state_dict(), golden)

    def describe(self) -> dict[str, Any]:
        """config.json: all that is needed to repeat the run."""
        return describe_run(self.plan, self.recipe, self.network, self.config, self.settings, self._describe_data())

    def _describe_data(self) -> dict[str, Any]:
        validation_set = self.validation_set if self.plan.select_on == "validation" else None
        sets = {"train": self.training_set, "validation": validation_set, "test": self.test_set}
        about = describe_data(sets, self.classes, self.data)
        return {**about, "train_shared_with_test": self.shared_with_test}
