"""A classifier for scikit-learn: `fit`, `predict`, `predict_proba` and `score` over the trainer."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import nn

from truefit import rng
from truefit.config import require
from truefit.data.images import Pixels, Resize, resize_pixels
from truefit.data.imageset import ImageSet
from truefit.data.splits import hold_out
from truefit.errors import InputError
from truefit.events import Observer, nobody
from truefit.models.lookup import image_sizes
from truefit.progress import Bar, Lines
from truefit.recipes.lookup import find_recipe
from truefit.recipes.recipe import Recipe
from truefit.trainer import Trainer

Shape = tuple[int, ...] | Literal["row"] | None
# Images that are predicted at a time.
CHUNK = 1024


class Classifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """An image classifier that scikit-learn can use: in `cross_val_score`, `GridSearchCV` and `Pipeline`.

    X is (n, H, W), (n, H, W, 1 or 3) or (n, 1 or 3, H, W), or a table (n, features) whose rows are images.
    uint8 values are taken as they are, 0 to 255. Of other numbers the smallest and the largest in `fit`'s X become 0
    and 255, and what lies outside later is clipped.

    model: the name of a model ("convnet", "resnet18"), or a function of the number of classes that gives a network
    (N, 3, H, W) -> logits (N, K). recipe: a Recipe or the name of one; epochs, batch_size and lr change it.
    image_shape: of a table's rows: (H, W), (H, W, 1 or 3) or (1 or 3, H, W); None takes rows of k * k numbers as grey
    squares; "row" takes each row as one line of pixels, whatever its length. image_size: side in pixels that images
    are resized to; None leaves them as they are where the model can take that, else takes its usual size. resize:
    "crop" cuts the centre square, "stretch" fits both sides (lines of pixels are always stretched).
    validation_fraction: part of X, stratified, that chooses the best epoch; 0 trains on all and keeps the last
    weights. random_state: decides initial weights, order, augmentation and the validation part; None draws a new seed.
    device: "cpu", "cuda", ... or None for the best. verbose: print and draw while training.

    Attributes after `fit`: `classes_`, `n_features_in_` and `run_` (a `truefit.Run` without a folder).
    Raises InputError, which is a ValueError, for what is not made of images.
    """

    def __init__(
        self,
        model: str | Callable[[int], nn.Module] = "convnet",
        *,
        recipe: Recipe | str = "standard",
        epochs: int | None = None,
        batch_size: int | None = None,
        lr: float | None = None,
        image_shape: Shape = None,
        image_size: int | None = None,
        resize: Resize = "crop",
        validation_fraction: float = 0.0,
        random_state: int | np.random.RandomState | None = 0,
        device: str | None = None,
        verbose: bool = False,
    ) -> None:
        self.model = model
        self.recipe = recipe
        self.epochs = epochs
        self.batch_size = batch_size
        self.lr = lr
        self.image_shape = image_shape
        self.image_size = image_size
        self.resize = resize
        self.validation_fraction = validation_fraction
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

    def fit(self, X: Any, y: Any) -> Self:
        """Train on images X with labels y (n,), of any kind that can be sorted. Begins anew each time."""
        X, y = validate_data(self, X, y, allow_nd=True, dtype="numeric")
        check_classification_targets(y)
        fraction = self.validation_fraction
        require(0 <= fraction < 1, "validation_fraction", fraction, "a fraction from 0 to below 1")
        require(self.resize in ("crop", "stretch"), "resize", self.resize, "crop or stretch")
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise InputError("there is nothing to learn", found="1 class in y", wanted="at least two classes")
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        self._range = None if X.dtype == np.uint8 else (float(X.min()), float(X.max()))
        images = self._images(X)
        names = tuple(map(str, self.classes_.tolist()))
        whole = ImageSet(
            split="train",
            classes=names,
            labels=labels.astype(np.int64),
            pixels=images,
            image_size=images.shape[1] if images.shape[1] == images.shape[2] else None,
            resize=self._resize(),
        )
        training, validation = whole, None
        if fraction > 0:
            held = round(len(whole) * fraction)
            kept, chosen = hold_out(whole.labels, held, classes=names, split="validation", split_seed=seed)
            training, validation = whole.subset(kept), whole.subset(chosen, "validation")
        observers: list[Observer] = [Lines(), Bar()] if self.verbose else [nobody]
        trainer = Trainer(self._network(seed), self._recipe(), seed=seed, device=self.device, observers=observers)
        self.run_ = trainer.fit(training, validation)
        return self

    def predict_proba(self, X: Any) -> npt.NDArray[np.float32]:
        """Class probabilities (n, K) float32, in the order of `classes_`; rows sum to 1."""
        return self._predict(X)[0]

    def predict(self, X: Any) -> Any:
        """The most probable class of each image, (n,), with the type of y."""
        best = self._predict(X)[1]
        return self.classes_[best]

    def _predict(self, X: Any) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        check_is_fitted(self)
        images = self._images(validate_data(self, X, allow_nd=True, dtype="numeric", reset=False))
        parts = [self.run_.predict(images[at : at + CHUNK]) for at in range(0, len(images), CHUNK)]
        return np.concatenate([part.probabilities for part in parts]), np.concatenate([part.best for part in parts])

    def _network(self, seed: int) -> str | nn.Module:
        if isinstance(self.model, str):
            return self.model
        if not callable(self.model) or isinstance(self.model, nn.Module):
            raise InputError(
                "each fit needs a new network",
                found=type(self.model).__name__,
                wanted="the name of a model, or a function of the number of classes that makes one",
                fix="Classifier(lambda classes: MyNet(classes))",
            )
        with rng.seeded(seed):
            return self.model(len(self.classes_))

    def _recipe(self) -> Recipe:
        recipe = find_recipe(self.recipe) if isinstance(self.recipe, str) else copy.copy(self.recipe)
        if self.epochs is not None:
            recipe = replace(recipe, epochs=self.epochs)
        if self.batch_size is not None:
            recipe = recipe.with_batch_size(self.batch_size)
        if self.lr is not None:
            recipe = replace(recipe, optimizer=replace(recipe.optimizer, lr=self.lr))
        return recipe

    def _resize(self) -> Resize:
        return "stretch" if self.image_shape == "row" else self.resize

    def _images(self, X: npt.NDArray[Any]) -> Pixels:
        """What scikit-learn hands over as uint8 (n, H, W, 3), of the size that the model is shown."""
        images = _channels_last(self._shaped(X))
        if self._range is not None:
            low, high = self._range
            scale = 255 / (high - low) if high > low else 0.0
            images = ((images.astype(np.float64) - low) * scale).round().clip(0, 255)
        elif images.dtype != np.uint8:
            raise InputError("this was trained on uint8 images", found=images.dtype, wanted="uint8")
        pixels = images.astype(np.uint8)
        if pixels.shape[3] == 1:
            pixels = pixels.repeat(3, axis=3)
        side = self._side(pixels.shape[1:3])
        return np.ascontiguousarray(pixels if side is None else resize_pixels(pixels, side, self._resize()))

    def _shaped(self, X: npt.NDArray[Any]) -> npt.NDArray[Any]:
        if X.ndim > 2:
            return X
        features, shape = X.shape[1], self.image_shape
        if shape == "row":
            return X[:, None, :]
        side = int(np.sqrt(features))
        wanted = (side, side) if shape is None else tuple(shape)
        if int(np.prod(wanted)) != features:
            raise InputError(
                "the rows of X are no images of this shape",
                found=f"{features} features",
                wanted="k * k of them" if shape is None else f"image_shape {wanted}: {int(np.prod(wanted))} of them",
                fix='image_shape=(height, width), or (height, width, 3); or "row" for tables that are no images',
            )
        return X.reshape(len(X), *wanted)

    def _side(self, own: tuple[int, ...]) -> int | None:
        if self.image_size is not None:
            require(self.image_size >= 1, "image_size", self.image_size, "at least 1")
            return self.image_size
        if not isinstance(self.model, str):
            return None
        smallest, usual, largest = image_sizes(self.model)
        fits = smallest <= min(own) <= max(own) <= largest
        return None if fits else usual

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.non_deterministic = self.random_state is None
        return tags


def _channels_last(images: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """(n, H, W), (n, H, W, C) or (n, C, H, W) as (n, H, W, C), with C of 1 or 3."""
    if images.ndim == 3:
        return images[..., None]
    if images.ndim == 4 and images.shape[3] in (1, 3):
        return images
    if images.ndim == 4 and images.shape[1] in (1, 3):
        return images.transpose(0, 2, 3, 1)
    raise InputError(
        "X does not hold images",
        found=f"shape {images.shape}",
        wanted="(n, H, W), (n, H, W, 1 or 3), (n, 1 or 3, H, W), or a table (n, features)",
    )
