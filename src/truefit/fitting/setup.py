"""What a training works with, resolved and checked before the first step: data, settings, network, task."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from truefit import dist, rng, sharding
from truefit.config import to_plain
from truefit.data.augment import Pipeline
from truefit.data.batch import Batches
from truefit.data.batches import make_batches, reading_workers
from truefit.data.collate import count_samples
from truefit.data.imageset import Data, ImageSet
from truefit.data.plan import counts
from truefit.data.statistics import channel_statistics
from truefit.events import Note
from truefit.fitting.checks import (
    as_image_set,
    balanced_classes,
    check_classes,
    check_images,
    check_named_model,
    check_recipe,
    check_transfer,
    mixing_for,
    no_smaller_than,
    probe,
    task_for,
)
from truefit.fitting.description import describe_data, describe_run
from truefit.fitting.length import Length
from truefit.fitting.plan import AnySet, FitPlan
from truefit.fitting.selection import choosing_set, training_copies
from truefit.fitting.splitting import check_can_be_split, take_over
from truefit.fitting.start import begin_with, note_seen, start_from
from truefit.measure import class_names, count_labels, image_size_of
from truefit.models.head import zero_head
from truefit.models.lookup import build_model
from truefit.models.traits import INITIAL_IMAGES, FromImages, floating_type, has_batchnorm, takes_channels_last
from truefit.optim.averaging import WeightAverage
from truefit.optim.execution import Recorder
from truefit.optim.step import GradientStep
from truefit.optim.weight_mean import WeightMean
from truefit.precision import Precision, fastest, fastest_float32, resolve
from truefit.predictor import Averaging, PredictorConfig
from truefit.tasks.multi_label import USUAL


class Setup:
    """Everything that does not change from step to step, but for the weights. Raises InputError when made."""

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
        samples = count_samples(training_set, "training set")
        for role, dataset in (("validation set", validation_set), ("test set", test_set)):
            if dataset is not None:
                count_samples(dataset, role)
        self.validation_set = choosing_set(plan, self.validation_set, self.test_set)
        self.shared_with_test = training_copies(plan, self.training_set, self.test_set)
        mirror = data.mirror if data is not None else False
        # A batch size that is to be tried out is not made smaller first.
        fitted = plan.recipe.for_samples(None if plan.auto_batch_size else samples)
        self.recipe = fitted.resolved(images=self.images is not None, mirror=mirror)
        if samples is not None and self.recipe.batch_size < plan.recipe.batch_size:
            smaller = f"batches of {self.recipe.batch_size} instead of {plan.recipe.batch_size}"
            plan.notify(Note(text=f"{smaller}, as there are {samples:,} samples (--batch-size says otherwise)"))
        if isinstance(plan.model, str):
            self.recipe, said = no_smaller_than(plan.model, self.recipe, self.training_set)
            if said is not None:
                plan.notify(Note(text=said))
        self.settings = plan.settings or resolve(
            device=plan.device,
            precision=self.recipe.precision,
            image_size=image_size_of(training_set),
            workers=plan.workers,
            recorded=self._may_be_recorded(),
            compiled=self.recipe.execution == "compile",
        )
        if plan.workers == 0:
            self.settings = replace(self.settings, workers=reading_workers(self.training_set))
        self.device = torch.device(self.settings.device)
        done = {"graph": self.recorded, "compile": self.compiled}
        if not done.get(self.recipe.execution, True):
            if self.device.type != "cuda":
                why = f"the device is {self.device.type}"
            else:
                why = "several processes" if dist.world() > 1 else f"precision {self.recipe.precision}, or lookahead"
            plan.notify(Note(text=f"execution {self.recipe.execution} is not done here ({why}): steps run one by one"))
        self.classes = self.images.classes if self.images is not None else class_names(training_set)
        self._check()
        with rng.seeded(plan.seed, self.device):
            self.network = self._build()
            self.rng_after_building = torch.default_generator.get_state()
        if plan.settings is None and self.recipe.precision == "fastest" and self.is_named:
            # The same in all processes, of which one may run where bfloat16 does not pay.
            coarser = not dist.largest([fastest(self.network, self.device) != "bfloat16"])[0]
            chosen = "bfloat16" if coarser else fastest_float32(self.device)
            self.settings = replace(self.settings, training_precision=chosen)
        fresh = isinstance(plan.model, str) and plan.begun_with is None and plan.weights is None
        if fresh and self.recipe.zero_head and self.classes is not None:
            zero_head(self.network, len(self.classes))
        if plan.begun_with is not None:
            start_from(self.network, plan.begun_with)
            note_seen(plan.begun_with, self.describe_data(), plan.notify)
        self.matched = None if plan.weights is None else begin_with(self.network, plan.weights, plan.notify)
        labels = count_labels(self.training_set)
        self.task = task_for(self.recipe, self.training_set, self.classes, multi_label=labels > 0)
        self.mixing = mixing_for(self.recipe, self.classes, multi_label=labels > 0)
        self.balanced = balanced_classes(self.recipe, self.training_set)
        mean, std = self._statistics()
        self.config = PredictorConfig(
            classes=self.classes or (),
            images="files" if self.images is not None else "tensors",
            image_size=self._side(),
            resize=self.images.resize if self.images is not None else "crop",
            interpolation=self.images.interpolation if self.images is not None else "bicubic",
            mean=mean,
            std=std,
            averaging=self.recipe.averaging_resolved,
            crop=self.recipe.augment.crop,
            thresholds=(USUAL,) * labels,
            shrink=self.recipe.augment.shrink,
        )
        if plan.settings is None and not self.is_named and not takes_channels_last(self.network):
            self.settings = replace(self.settings, channels_last=False)
        # With shard the whole network is not on the device in training: there are parts of a copy, and it stays behind.
        self.shards = sharding.Shards(self.device) if plan.shard and dist.world() > 1 else None
        place = self.device if self.shards is None else torch.device("cpu")
        self.network.to(place, memory_format=self.settings.memory_format)  # type: ignore[call-overload]
        if fresh and isinstance(self.network, FromImages):
            self.network.initialise_from(self._first_images())
        # One's own network may have been built from other random numbers in each process.
        dist.copy_first([*self.network.parameters(), *self.network.buffers()])
        if isinstance(plan.model, str):
            probe(plan.model, self.network, self.recipe, self.training_set, place)
        self.average: WeightAverage | None = None
        if self.recipe.ema.decay is not None:
            self.average = WeightAverage(self.network, self.recipe.ema)
        elif self.recipe.swa.start is not None:
            self.average = WeightMean(self.network, self.recipe.swa)
        self.whole = self.network
        if self.shards is not None:
            self.network = self.shards.split(self.whole)
            if self.average is not None:
                self.average.source, self.average.network = self.network, self.shards.split(self.average.network)
        # What is measured and kept: the averaged weights where there are any.
        self.measured = self.network if self.average is None else self.average.network
        self.module = Averaging(self.measured, self.recipe.averaging_resolved, 1.0)

    def _statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and deviation of the channels: those that the weights were trained with, else the training set's."""
        if self.images is None:
            return (), ()
        weights = self.plan.weights
        if weights is not None and weights.preprocessing is not None:
            return weights.preprocessing.mean, weights.preprocessing.std
        return channel_statistics(self.images)

    def _first_images(self) -> Tensor:
        """The beginning of a shuffled epoch of training, as the network gets it: (N, C, H, W) on the device."""
        batches = make_batches(
            self.training_set,
            batch_size=INITIAL_IMAGES,
            device=self.device,
            role="training set",
            pipeline=self.pipeline,
            seed=rng.key(self.plan.seed, "first images"),
        )
        with dist.alone(), closing(batches.epoch(0)) as stream:
            return next(stream).images

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
        if self.plan.shard:
            check_can_be_split(self.recipe, self.plan)
        begun = self.plan.weights is not None or self.plan.begun_with is not None
        check_transfer(self.recipe.transfer, pretrained=begun or not isinstance(self.plan.model, str))
        check_recipe(
            self.recipe,
            self.classes,
            validated=self.validation_set is not None,
            has_length=count_samples(self.training_set, "training set") is not None,
            images=self.images is not None,
        )
        check_images(self.recipe, self.training_set)

    def put_together(self, weights: dict[str, Any]) -> None:
        """Training is over: the network is whole again in each process, with these weights, and on the device."""
        if self.shards is not None:
            self.shards.end()
            take_over(self.whole, weights, self.network)
            self.network = self.whole.to(self.device, memory_format=self.settings.memory_format)  # type: ignore[call-overload]

    def _may_be_recorded(self) -> bool:
        """Whether steps may be recorded as a CUDA graph, where there is such a device."""
        recipe = self.recipe
        if dist.world() > 1 or recipe.precision == "float16" or recipe.optimizer.lookahead is not None:
            return False
        # A network of one's own may decide in Python, from step to step: that would be recorded with it.
        return recipe.execution in ("graph", "compile") or (recipe.execution == "auto" and self.is_named)

    @property
    def is_named(self) -> bool:
        """Whether the model is one that is known by name: of a network of one's own less can be taken for granted."""
        model = self.plan.model
        return isinstance(model, str) and ":" not in model.removeprefix("timm:")

    @property
    def recorded(self) -> bool:
        """Whether steps are recorded now: a run of one process may be gone on with by several."""
        return self.settings.recorded and dist.world() == 1

    @property
    def compiled(self) -> bool:
        """Whether the network is trained through torch.compile now."""
        return self.settings.compiled and dist.world() == 1

    def gradient_step(self, network: nn.Module, optimizer: torch.optim.Optimizer, precision: Precision) -> GradientStep:
        """The step of one training: its epochs share what is recorded of it."""
        recorder = None
        if self.recorded:
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            recorder = Recorder(parameters, self.device, lambda text: self.plan.notify(Note(text=text)))
        return GradientStep(network, optimizer, clip_norm=self.recipe.clip_norm, precision=precision, recorder=recorder)

    def _build(self) -> nn.Module:
        model = self.plan.model
        if isinstance(model, nn.Module):
            return model
        assert self.classes is not None
        return build_model(model, len(self.classes))

    @property
    def pipeline(self) -> Pipeline:
        """How a batch is prepared for the network, augmented where there is a draw."""
        return replace(
            self.config.pipeline,
            augmentation=self.recipe.augment,
            channels_last=self.settings.channels_last,
            dtype=floating_type(self.network),
        )

    @property
    def length(self) -> Length:
        """How long the training is."""
        samples = count_samples(self.training_set, "training set")
        return Length.of(self.recipe, None if samples is None else -(-samples // self.recipe.batch_size))

    def batches(
        self, dataset: AnySet, role: str, batch_size: int, seed: int | None = None, epochs: float | None = None
    ) -> Batches:
        """Batches of one of the sets, prepared for the network; with a seed shuffled and augmented, for training.

        epochs: how long the training is; None: as the recipe says.
        """
        return make_batches(
            dataset,
            batch_size=batch_size,
            device=self.device,
            role=role,
            pipeline=self.pipeline,
            seed=seed,
            share_last=seed is not None and has_batchnorm(self.network),
            workers=self.settings.workers,
            epochs=self.length.laid_out if epochs is None else epochs,
            mixing=None if seed is None else self.mixing,
            balanced=None if seed is None else self.balanced,
        )

    def describe(self) -> dict[str, Any]:
        """config.json: all that is needed to repeat the run."""
        about = describe_run(self.plan, self.recipe, self.whole, self.config, self.settings, self.describe_data())
        if self.shards is not None:
            about["hardware"]["sharded"] = True
        if self.balanced is not None and self.classes is not None:
            named = {self.classes[label]: count for label, count in counts(self.balanced).items()}
            about["samples_an_epoch"] = named
        weights = self.plan.weights
        if weights is not None:
            about["weights"] = {"place": weights.place, "digest": weights.digest, **to_plain(self.matched)}
        return about

    def describe_data(self) -> dict[str, Any]:
        """What config.json says of the data."""
        validation_set = self.validation_set if self.plan.select_on == "validation" else None
        sets = {"train": self.training_set, "validation": validation_set, "test": self.test_set}
        about = describe_data(sets, self.classes, self.data)
        return {**about, "train_shared_with_test": self.shared_with_test}
