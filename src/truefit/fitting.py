"""One training from beginning to end: epochs, the choice of the best, the final evaluation, the run folder."""

from __future__ import annotations

import copy
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, Subset

from truefit import loop, rng
from truefit.config import to_plain
from truefit.data.batches import Batches, holds_bytes, make_batches
from truefit.data.collate import count_samples
from truefit.data.imageset import Data, ImageSet
from truefit.data.statistics import channel_statistics
from truefit.errors import InputError, shorten
from truefit.events import EpochFinished, FitStarted, Observer
from truefit.measure import class_names, evaluate_predictor, image_size_of, measure
from truefit.models.lookup import build_model, image_sizes
from truefit.models.traits import has_batchnorm
from truefit.optim.optimizers import build_optimizer
from truefit.optim.schedules import Schedule
from truefit.precision import Precision, describe, resolve, threads
from truefit.predictor import Averaging, Predictor, PredictorConfig
from truefit.provenance import provenance
from truefit.recipes.recipe import Recipe
from truefit.runs.evaluation import Evaluation
from truefit.runs.folder import RunFolder
from truefit.runs.run import Run
from truefit.tasks.single_label import SingleLabel

GOLDEN_SAMPLES = 8

AnySet = Dataset[Any]


@dataclass(frozen=True, kw_only=True)
class FitPlan:
    """What a Trainer hands over to one training."""

    model: nn.Module | str
    recipe: Recipe
    seed: int
    device: str | None
    workers: int
    measure_training: bool
    notify: Observer


@dataclass
class Best:
    """The best epoch so far: highest validation accuracy, then lower loss, then the earlier one."""

    epoch: int = 0
    accuracy: float = -1.0
    loss: float = float("inf")
    weights: dict[str, Any] | None = None

    def offer(self, epoch: int, evaluation: Evaluation, network: nn.Module) -> bool:
        if (evaluation.accuracy, -evaluation.loss) <= (self.accuracy, -self.loss):
            return False
        self.epoch, self.accuracy, self.loss = epoch, evaluation.accuracy, evaluation.loss
        # A deep copy keeps the versions of the modules' states, which some need to load them.
        self.weights = copy.deepcopy(network.state_dict())
        return True


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
        self.training_set = _as_image_set(training_set)
        self.validation_set = None if validation_set is None else _as_image_set(validation_set)
        self.test_set = None if test_set is None else _as_image_set(test_set)
        self.images = self.training_set if isinstance(self.training_set, ImageSet) else None
        count_samples(training_set, "training set")
        for role, dataset in (("validation set", validation_set), ("test set", test_set)):
            if dataset is not None:
                count_samples(dataset, role)
        mirror = data.mirror if data is not None else False
        self.recipe = plan.recipe.resolved(images=self.images is not None, mirror=mirror)
        self.settings = resolve(
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
        self.network.to(self.device, memory_format=self.settings.memory_format)  # type: ignore[call-overload]
        self._probe()
        self.module = Averaging(self.network, self.recipe.averaging_resolved, 1.0)
        self.task = self._task()
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

    def _side(self) -> int | None:
        """The side of the images where they are files of one square size."""
        if self.images is None:
            return None
        height, width = image_size_of(self.images)
        return height if height == width else None

    def _check(self) -> None:
        recipe, model = self.recipe, self.plan.model
        for role, dataset in (("validation", self.validation_set), ("test", self.test_set)):
            stated = class_names(dataset)
            if self.classes is not None and stated is not None and stated != self.classes:
                raise InputError(
                    f"the {role} set has other classes than the training set, or another order",
                    found=shorten(stated),
                    wanted=shorten(self.classes),
                )
        if recipe.schedule.name == "reduce-on-plateau" and self.validation_set is None:
            raise InputError(
                "reduce-on-plateau needs a validation loss",
                found="no validation set",
                fix="--schedule cosine",
            )
        if recipe.early_stopping is not None and self.validation_set is None:
            raise InputError("early stopping needs a validation set", found="none", fix="leave --early-stopping out")
        if isinstance(model, str):
            if self.classes is None:
                raise InputError(
                    "the number of classes is not known",
                    found="a data set that states no classes",
                    wanted="a network, or a data set with an attribute `classes`",
                    fix=f'Trainer(build_model("{model}", num_classes=10), ...)',
                )
            smallest, usual, largest = image_sizes(model)
            sides = [round(side * recipe.augment.crop) for side in image_size_of(self.training_set)]
            if not all(smallest <= side <= largest for side in sides):
                raise InputError(
                    f"the images have the wrong size for {model}",
                    found=f"{sides[0]} x {sides[1]}",
                    wanted=f"sides from {smallest} to {largest}",
                    fix=f"--image-size {usual}",
                )
        weights = recipe.loss.class_weights
        if isinstance(weights, tuple) and self.classes is not None and len(weights) != len(self.classes):
            raise InputError(
                "class weights do not match the classes",
                found=f"{len(weights)} weights",
                wanted=len(self.classes),
            )

    def _build(self) -> nn.Module:
        model = self.plan.model
        if isinstance(model, nn.Module):
            return model
        assert self.classes is not None
        return build_model(model, len(self.classes))

    def _probe(self) -> None:
        """Run a named model once on blank images, to find out now whether it can take their size."""
        if not isinstance(self.plan.model, str):
            return
        height, width = (round(side * self.recipe.augment.crop) for side in image_size_of(self.training_set))
        blank = torch.zeros(2, 3, height, width, device=self.device)
        try:
            with loop.mode(self.network, training=False), rng.preserved(self.device), torch.no_grad():
                self.network(blank)
        except (RuntimeError, AssertionError, ValueError) as error:
            raise InputError(
                f"the images have the wrong size for {self.plan.model}",
                found=f"{height} x {width}: {error}",
                fix=f"--image-size {image_sizes(self.plan.model)[1]}",
            ) from error

    def _task(self) -> SingleLabel:
        weights = self.recipe.loss.class_weights
        if weights == "balanced":
            if self.images is None:
                raise InputError(
                    "balanced class weights need labels that are known before training",
                    found=type(self.training_set).__name__,
                    fix="give the weights as numbers, one for each class",
                )
            counts = np.maximum(np.bincount(self.images.labels, minlength=len(self.images.classes)), 1)
            weights = tuple((len(self.images) / (len(counts) * counts)).tolist())
        return SingleLabel(
            len(self.classes) if self.classes else None,
            label_smoothing=self.recipe.loss.label_smoothing,
            class_weights=weights,
        )

    def run(self, folder: RunFolder | None) -> Run:
        settings = self.settings
        try:
            with threads(settings.threads), rng.seeded(self.plan.seed, self.device):
                torch.default_generator.set_state(self.rng_after_building)
                if folder is not None:
                    folder.write_config(self._describe())
                self._train(folder)
                last = copy.deepcopy(self.network.state_dict())
                self._restore_best()
                if folder is not None:
                    self._save_model(folder)
                    folder.write_last(last)
                evaluation = self._evaluate()
                if folder is not None and evaluation is not None:
                    folder.write_evaluation(evaluation)
        except BaseException:
            if folder is not None:
                self._leave(folder)
            raise
        return Run(
            folder=folder.path if folder is not None else None,
            config=self._describe(),
            history=self.history,
            evaluation=evaluation,
            predictor=self.predictor(),
            weights=self.weights,
            selected_on=self.selected_on,
        )

    def _train(self, folder: RunFolder | None) -> None:
        recipe, settings, notify = self.recipe, self.settings, self.plan.notify
        training = self._batches(self.training_set, "training set", recipe.batch_size, self.plan.seed)
        optimizer = build_optimizer(self.network, recipe.optimizer)
        # An iterable set has no length: its schedule is by epochs alone.
        schedule = Schedule(optimizer, recipe.schedule, steps_per_epoch=training.steps or 1, epochs=recipe.epochs)
        precision = Precision(settings.precision, self.device)
        validation = None
        if self.validation_set is not None:
            validation = self._batches(self.validation_set, "validation set", settings.evaluation_batch_size)
        notify(
            FitStarted(
                epochs=recipe.epochs,
                device=describe(self.device),
                training_samples=training.samples,
                validation_samples=validation.samples if validation is not None else None,
            )
        )
        for epoch in range(recipe.epochs):
            start = time.perf_counter()
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
                observe=notify,
            )
            trained_for = time.perf_counter() - start
            measured = self._measure(validation, "validation", epoch) if validation is not None else None
            exact = self._measure_training(epoch)
            if training.steps is None:
                schedule.step()
            lr = schedule.last_lr
            schedule.end_epoch(measured.loss if measured is not None else None)
            better = measured is not None and self.best.offer(epoch + 1, measured, self.network)
            record = {
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
            self.history.append(record)
            if folder is not None:
                folder.add_epoch(record)
            notify(EpochFinished(epoch=epoch, epochs=recipe.epochs, record=record))
            patience = recipe.early_stopping
            if not better and patience is not None and epoch + 1 - self.best.epoch >= patience:
                break

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
        )

    def _measure(self, batches: Batches, split: str, epoch: int) -> Evaluation:
        return measure(
            self.module,
            batches,
            classes=self.classes,
            split=split,
            epoch=epoch,
            averaging=self.config.averaging,
            precision=Precision(self.settings.precision, self.device),
            observe=self.plan.notify,
        )

    def _measure_training(self, epoch: int) -> Evaluation | None:
        if not self.plan.measure_training:
            return None
        batches = self._batches(self.training_set, "training set", self.settings.evaluation_batch_size)
        return self._measure(batches, "train", epoch)

    def _restore_best(self) -> None:
        if self.best.weights is not None:
            self.network.load_state_dict(self.best.weights)

    @property
    def weights(self) -> str:
        """Which weights are kept, in words."""
        if self.best.weights is None:
            return f"last (epoch {len(self.history)})"
        return f"best (epoch {self.best.epoch})"

    @property
    def selected_on(self) -> str | None:
        """The split that chose the weights."""
        return None if self.best.weights is None else "validation"

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
            looks=1 if split == "test" else len(self.history) + 1,
            observe=self.plan.notify,
        )

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
        )

    def _leave(self, folder: RunFolder) -> None:
        """Training broke off: keep what complete epochs gave, and nothing half-written."""
        if not self.history:
            folder.remove()
            return
        # What made training break off is what the user must see.
        with suppress(Exception):
            self._restore_best()
            self._save_model(folder)

    def _save_model(self, folder: RunFolder) -> None:
        predictor = self.predictor()
        images = self._golden_images()
        description = {
            "architecture": {
                "name": self.plan.model if isinstance(self.plan.model, str) else None,
                "class": f"{type(self.network).__module__}.{type(self.network).__qualname__}",
                "num_classes": len(predictor.config.classes),
            },
            "predictor": to_plain(predictor.config),
            "weights": self.weights,
            "selected_on": self.selected_on,
        }
        golden = {"images": images, "logits": predictor.logits(images)}
        folder.write_model(description, self.network.state_dict(), golden)

    def _golden_images(self) -> Tensor:
        dataset: Any = self.validation_set if self.validation_set is not None else self.training_set
        samples = count_samples(dataset, "data set")
        with rng.seeded(self.plan.seed):
            if samples is None:
                chosen = [image for (image, _), _ in zip(dataset, range(GOLDEN_SAMPLES), strict=False)]
            else:
                chosen = [dataset[index][0] for index in range(min(GOLDEN_SAMPLES, samples))]
        return torch.stack(chosen)

    def _describe(self) -> dict[str, Any]:
        """config.json: the same for two equal runs."""
        model = self.plan.model
        return {
            "data": self._describe_data(),
            "model": {
                "name": model if isinstance(model, str) else None,
                "class": f"{type(self.network).__module__}.{type(self.network).__qualname__}",
                "parameters": sum(p.numel() for p in self.network.parameters()),
            },
            "recipe": to_plain(self.recipe),
            "seed": self.plan.seed,
            "measure_training": self.plan.measure_training,
            "predictor": to_plain(self.config),
            "settings": to_plain(self.settings),
            **provenance(self.device),
        }

    def _describe_data(self) -> dict[str, Any]:
        splits: dict[str, Any] = {}
        for name, dataset in (
            ("train", self.training_set),
            ("validation", self.validation_set),
            ("test", self.test_set),
        ):
            if dataset is not None:
                splits[name] = {"n": count_samples(dataset, name)}
                if isinstance(dataset, ImageSet):
                    splits[name]["fingerprint"] = dataset.fingerprint()
        about: dict[str, Any] = {"splits": splits, "classes": list(self.classes) if self.classes else None}
        if self.data is not None:
            about |= {
                "name": self.data.name,
                "spec": self.data.spec,
                "options": self.data.options,
                "notes": list(self.data.notes),
            }
        return about


def _as_image_set(dataset: AnySet) -> AnySet:
    """A Subset of an ImageSet as an ImageSet, so that its bytes are prepared like any other's."""
    if type(dataset) is Subset:
        inner = _as_image_set(dataset.dataset)
        if isinstance(inner, ImageSet):
            return inner.subset(list(dataset.indices))
    if not isinstance(dataset, ImageSet) and holds_bytes(dataset):
        raise InputError(
            "the Trainer can't prepare ImageSets that were joined",
            found=type(dataset).__name__,
            wanted="one ImageSet, a Subset of one, or a data set of float tensors",
        )
    return dataset
