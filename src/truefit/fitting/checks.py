"""Whether data, model and recipe go together: asked before anything is written, and before the first step."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Subset

from truefit import loop, rng
from truefit.data.batches import holds_bytes
from truefit.data.collate import count_samples
from truefit.data.imageset import ImageSet
from truefit.data.mixing import Mixing
from truefit.errors import InputError, shorten
from truefit.fitting.plan import AnySet
from truefit.measure import class_names, image_size_of
from truefit.models.lookup import image_sizes
from truefit.recipes.recipe import Recipe, TransferConfig
from truefit.tasks.multi_label import MultiLabel
from truefit.tasks.single_label import SingleLabel

Classes = tuple[str, ...] | None


def as_image_set(dataset: AnySet) -> AnySet:
    """A Subset of an ImageSet as an ImageSet, so that its bytes are prepared like any other's."""
    if type(dataset) is Subset:
        inner = as_image_set(dataset.dataset)
        if isinstance(inner, ImageSet):
            return inner.subset(list(dataset.indices))
    if not isinstance(dataset, ImageSet) and holds_bytes(dataset):
        raise InputError(
            "the Trainer can't prepare ImageSets that were joined",
            found=type(dataset).__name__,
            wanted="one ImageSet, a Subset of one, or a data set of float tensors",
        )
    return dataset


def check_classes(classes: Classes, validation_set: AnySet | None, test_set: AnySet | None) -> None:
    """Raise InputError where a split names other classes than the training set."""
    for role, dataset in (("validation", validation_set), ("test", test_set)):
        stated = class_names(dataset)
        if classes is not None and stated is not None and stated != classes:
            raise InputError(
                f"the {role} set has other classes than the training set, or another order",
                found=shorten(stated),
                wanted=shorten(classes),
            )


def check_recipe(recipe: Recipe, classes: Classes, *, validated: bool, has_length: bool, images: bool) -> None:
    """Raise InputError where the recipe asks for what this data does not have.

    validated: it has a validation set. has_length: it is known how many samples are in the training set. images: they
    are bytes, no tensors made by a data set.
    """
    if recipe.swa.start is not None and not has_length:
        raise InputError("swa needs a training set that has a length", found="an iterable one", fix="--ema.decay 0.999")
    if recipe.augment.policy != "none" and not images:
        raise InputError(
            f"{recipe.augment.policy} changes images of bytes, 0 to 255",
            found="a data set of tensors",
            wanted="an ImageSet, as truefit.load_data gives it",
            fix="leave --augment.policy out, and change the images in the data set",
        )
    if recipe.schedule.name == "reduce-on-plateau" and not validated:
        raise InputError(
            "reduce-on-plateau needs a validation loss",
            found="no validation set",
            fix="--schedule cosine",
        )
    if recipe.early_stopping is not None and not validated:
        raise InputError("early stopping needs a validation set", found="none", fix="leave --early-stopping out")
    weights = recipe.loss.class_weights
    if isinstance(weights, tuple) and classes is not None and len(weights) != len(classes):
        raise InputError(
            "class weights do not match the classes",
            found=f"{len(weights)} weights",
            wanted=len(classes),
        )


def check_images(recipe: Recipe, training_set: AnySet) -> None:
    """Raise InputError where the recipe asks for what vectors do not have. recipe: with nothing left open."""
    asked = {
        "mixup and cutmix": recipe.augment.mixes,
        f"averaging {recipe.averaging_resolved}": recipe.averaging_resolved != "none",
    }
    wished = [name for name, wish in asked.items() if wish]
    if not wished or isinstance(training_set, ImageSet) or count_samples(training_set, "training set") is None:
        return
    with rng.preserved():
        shape = tuple(getattr(training_set[0][0], "shape", ()))
    if len(shape) != 3:
        raise InputError(f"{wished[0]} is for images", found=f"a sample of shape {shape}", wanted="(C, H, W)")


def check_transfer(config: TransferConfig, *, pretrained: bool) -> None:
    """Raise InputError where a probe would be fitted to the features of random weights."""
    if config.probe and not pretrained:
        raise InputError(
            "there is nothing to transfer: the network would begin from random weights",
            found="a probe without pretrained weights",
            wanted="weights that have seen other images",
            fix="--weights pretrained, with a --model that has some; or another --recipe",
        )


def check_named_model(model: str, recipe: Recipe, training_set: AnySet, classes: Classes) -> None:
    """Raise InputError where a model that is built by name can't be built for this data."""
    if classes is None:
        raise InputError(
            "the number of classes is not known",
            found="a data set that states no classes",
            wanted="a network, or a data set with an attribute `classes`",
            fix=f'Trainer(build_model("{model}", num_classes=10), ...)',
        )
    smallest, usual, largest = image_sizes(model)
    for height, width in _shapes(training_set, recipe):
        if not smallest <= min(height, width) <= max(height, width) <= largest:
            raise InputError(
                f"the images have the wrong size for {model}",
                found=f"{height} x {width}",
                wanted=f"sides from {smallest} to {largest}",
                fix=f"--image-size {usual}",
            )


def no_smaller_than(model: str, recipe: Recipe, training_set: AnySet) -> tuple[Recipe, str | None]:
    """The recipe with images shrunk no further than to the smallest side that a model built by name takes.

    And a sentence where that changes something.
    """
    smallest = image_sizes(model)[0]
    side = round(min(image_size_of(training_set)) * recipe.augment.crop)
    least = min(1.0, smallest / max(side, 1))
    how = recipe.augment
    start = how.shrink if how.start_shrink is None else how.start_shrink
    if round(side * min(how.shrink, start)) >= smallest:
        return recipe, None
    augment = replace(
        how, shrink=max(how.shrink, least), start_shrink=None if how.start_shrink is None else max(start, least)
    )
    return replace(recipe, augment=augment), f"images are shrunk to {smallest} pixels at least, as {model} needs"


def probe(model: str, network: nn.Module, recipe: Recipe, training_set: AnySet, device: torch.device) -> None:
    """Run a named model once on blank images, to find out now whether it can take their size."""
    for height, width in _shapes(training_set, recipe):
        blank = torch.zeros(2, 3, height, width, device=device)
        try:
            with loop.mode(network, training=False), rng.preserved(device), torch.no_grad():
                network(blank)
        except (RuntimeError, AssertionError, ValueError) as error:
            raise InputError(
                f"the images have the wrong size for {model}",
                found=f"{height} x {width}: {error}",
                fix=f"--image-size {image_sizes(model)[1]}",
            ) from error


def task_for(
    recipe: Recipe, training_set: AnySet, classes: Classes, *, multi_label: bool = False
) -> SingleLabel | MultiLabel:
    """What is learnt; class weights that follow from the labels are computed here."""
    weights = recipe.loss.class_weights
    if weights == "balanced":
        if not isinstance(training_set, ImageSet):
            raise InputError(
                "balanced class weights need labels that are known before training",
                found=type(training_set).__name__,
                fix="give the weights as numbers, one for each class",
            )
        counts = np.maximum(training_set.counts(), 1)
        weights = tuple((len(training_set) / (len(counts) * counts)).tolist())
    kind = MultiLabel if multi_label else SingleLabel
    return kind(
        len(classes) if classes else None,
        label_smoothing=recipe.loss.label_smoothing,
        class_weights=weights,
        focal=recipe.loss.focal,
        count_hits=not recipe.augment.mixes,
    )


def mixing_for(recipe: Recipe, classes: Classes, *, multi_label: bool) -> Mixing | None:
    """How images are mixed with others; None where they are not."""
    how = recipe.augment
    if not how.mixes:
        return None
    if classes is None and not multi_label:
        raise InputError(
            "mixup and cutmix need to know the classes",
            found="a data set that states none",
            wanted="a data set with an attribute `classes`, their names",
        )
    count = None if multi_label or classes is None else len(classes)
    return Mixing(mixup=how.mixup, cutmix=how.cutmix, classes=count)


def balanced_classes(recipe: Recipe, training_set: AnySet) -> Tensor | None:
    """The class of each training sample where an epoch is to be balanced, else None."""
    if recipe.sampling != "balanced":
        return None
    if not isinstance(training_set, ImageSet):
        raise InputError(
            "balanced sampling needs labels that are known before training",
            found=type(training_set).__name__,
            wanted="an ImageSet",
            fix="--loss.class-weights",
        )
    if training_set.multi_label:
        raise InputError(
            "balanced sampling needs one class for each image",
            found="several labels an image",
            fix="--loss.class-weights balanced",
        )
    return torch.from_numpy(training_set.labels)


def _shapes(training_set: AnySet, recipe: Recipe) -> list[tuple[int, int]]:
    """Height and width of what the network is shown: in the end, and in the first half where that differs."""
    how = recipe.augment
    height, width = (round(side * how.crop) for side in image_size_of(training_set))
    factors = {how.shrink, how.start_shrink or how.shrink}
    return [(round(height * factor), round(width * factor)) for factor in sorted(factors, reverse=True)]
