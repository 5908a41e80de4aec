"""The single path of inference: from images to class probabilities, the same everywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from truefit import loop, rng
from truefit.data.augment import Pipeline
from truefit.data.images import Interpolation, UnreadableImage, in_chunks, read_pixels
from truefit.data.views import AveragingName, views
from truefit.errors import InputError
from truefit.metrics.selective import Guarantee, find_guarantee
from truefit.models.outputs import logits_of
from truefit.models.traits import floating_type
from truefit.precision import Precision, Settings, device_of, threads
from truefit.runs.ledger import Ledger
from truefit.runs.multi_label import given_labels

NOT_SURE = "not sure"
NO_LABEL = "none"

Images = (
    str | Path | Image.Image | np.ndarray | Tensor | Sequence[str | Path | Image.Image] | Sequence[np.ndarray | Tensor]
)


@dataclass(frozen=True, kw_only=True)
class PredictorConfig:
    """How an image becomes probabilities.

    classes: names, in the order of the network's outputs.
    images: "files" are decoded, resized and normalised; "tensors" are taken as the training data set gave them.
    image_size: side in pixels. resize: "crop" fits the shorter side and cuts the centre, "stretch" fits both.
    interpolation: how pixels are computed on the way (`data.images.Interpolation`).
    crop: the centre part that the network sees, as a fraction of the side (above 0, at most 1). shrink: the factor by
    which that part is then made smaller (above 0, at most 1).
    mean, std: of each channel, in units of 0..1. averaging: over which views of an image its logits are averaged, its
    mirror image and crops (`truefit.data.views`). temperature: divides the logits. sure: from which probability on a
    prediction counts as sure, for some wanted accuracies (see `truefit.calibrating`). thresholds: where an image has
    any number of labels, from which probability on each is given, chosen on validation; empty where an image has one
    class.
    """

    classes: tuple[str, ...]
    images: Literal["files", "tensors"] = "files"
    image_size: int | None = None
    resize: Literal["crop", "stretch"] = "crop"
    interpolation: Interpolation = "bicubic"
    crop: float = 1.0
    shrink: float = 1.0
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    averaging: AveragingName = "none"
    temperature: float = 1.0
    sure: tuple[Guarantee, ...] = ()
    thresholds: tuple[float, ...] = ()

    @property
    def multi_label(self) -> bool:
        """Whether an image has any number of labels."""
        return bool(self.thresholds)

    @property
    def pipeline(self) -> Pipeline:
        """The preparation of a batch without augmentation."""
        return Pipeline(
            mean=self.mean,
            std=self.std,
            scale=255.0 if self.images == "files" else 1.0,
            crop=self.crop,
            shrink=self.shrink,
        )


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """One image's result. `predicted`: class name. `probability` (0..1) of that class. `path` where known.

    sure: whether the probability reaches the threshold, where one was asked for (`predict(images, sure=0.95)`).
    labels: where an image may have any number of labels those that it is given, else None; `predicted` is then the most
    probable one, given or not. answer: the class name, or "not sure" below the threshold; the labels, or "none".
    """

    predicted: str
    index: int
    probability: float
    probabilities: dict[str, float]
    path: str | None = None
    sure: bool | None = None
    labels: tuple[str, ...] | None = None

    @property
    def answer(self) -> str:
        if self.labels is not None:
            return ", ".join(self.labels) or NO_LABEL
        return NOT_SURE if self.sure is False else self.predicted


@dataclass(frozen=True, kw_only=True, eq=False)
class Predictions(Sequence[Prediction]):
    """Results in the order of the images. probabilities: (n, K) float32. best: index of the class, (n,) int64.

    guarantee: the threshold that was asked for, and what it promises; None where none was.
    given: where an image may have any number of labels which it is given, (n, K) int64 of 0 and 1; else None.
    unreadable: file -> reason, for files that could not be read; they have no row.
    """

    classes: tuple[str, ...]
    probabilities: np.ndarray
    best: np.ndarray
    paths: tuple[str | None, ...]
    unreadable: dict[str, str]
    guarantee: Guarantee | None = None
    given: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.probabilities)

    def __getitem__(self, row: Any) -> Any:
        if isinstance(row, slice):
            return [self[i] for i in range(*row.indices(len(self)))]
        probabilities = self.probabilities[row]
        best = int(self.best[row])
        return Prediction(
            predicted=self.classes[best],
            index=best,
            probability=float(probabilities[best]),
            probabilities=dict(zip(self.classes, map(float, probabilities), strict=True)),
            path=self.paths[row],
            sure=None if self.guarantee is None else self.guarantee.holds(float(probabilities[best])),
            labels=None if self.given is None else tuple(self.classes[at] for at in np.flatnonzero(self.given[row])),
        )

    def __iter__(self) -> Iterator[Prediction]:
        return (self[row] for row in range(len(self)))


class Averaging(nn.Module):
    """A network whose logits are averaged over views and divided by the temperature."""

    def __init__(self, network: nn.Module, averaging: AveragingName, temperature: float) -> None:
        super().__init__()
        self.network, self.averaging, self.temperature = network, averaging, temperature
        self.views = views(averaging)

    def forward(self, images: Tensor) -> Tensor:
        weighted = [_times(logits_of(self.network(view.of(images))), view.weight) for view in self.views]
        logits = weighted[0]
        for more in weighted[1:]:
            logits = logits + more
        if len(self.views) > 1:
            logits = logits / sum(view.weight for view in self.views)
        return logits if self.temperature == 1 else logits / self.temperature


def _times(logits: Tensor, weight: int) -> Tensor:
    return logits if weight == 1 else logits * weight


class Predictor:
    """A network with all that belongs to its use: preparation, averaging, temperature, classes.

    weights: which these are, in words. selected_on: the split that chose them. own_splits: fingerprint -> name of
    the splits that it was trained and chosen on. ledger: where looks at these are counted.
    """

    def __init__(
        self,
        network: nn.Module,
        config: PredictorConfig,
        settings: Settings,
        *,
        weights: str = "as given",
        selected_on: str | None = None,
        own_splits: dict[str, str] | None = None,
        ledger: Ledger | None = None,
    ) -> None:
        self.network, self.config, self.settings = network, config, settings
        self.weights, self.selected_on, self.own_splits = weights, selected_on, own_splits or {}
        self.ledger = ledger if ledger is not None else Ledger()
        self.module = Averaging(network, config.averaging, config.temperature)
        self.uncalibrated = Averaging(network, config.averaging, 1.0)

    @property
    def pipeline(self) -> Pipeline:
        """The preparation of a batch, as it lies in memory for this network."""
        return replace(
            self.config.pipeline, channels_last=self.settings.channels_last, dtype=floating_type(self.network)
        )

    @property
    def precision(self) -> Precision:
        """The precision of inference."""
        return Precision(self.settings.precision, torch.device(self.settings.device))

    def logits(self, images: Tensor) -> Tensor:
        """Logits (N, K) float32 on the CPU, for uint8 or float images (N, C, H, W); eval mode, no gradients.

        They are divided by the temperature.
        """
        return self._logits(self.module, images)

    def _logits(self, module: nn.Module, images: Tensor) -> Tensor:
        device = device_of(self.network)
        size = self.settings.evaluation_batch_size
        found = []
        with (
            threads(self.settings.threads),
            loop.mode(self.network, training=False),
            rng.preserved(device),
            torch.no_grad(),
            self.precision.autocast(),
        ):
            for part in torch.split(images, size):
                prepared = self.pipeline(part.to(device).permute(0, 2, 3, 1), None, None)
                found.append(module(prepared).float().cpu())
        return torch.cat(found)

    def predict(self, images: Images, *, sure: float | None = None) -> Predictions:
        """Class probabilities for one image or many.

        sure: a wanted accuracy (0..1): each `Prediction.answer` is then "not sure" below the threshold that reaches
        it, which calibration stored in the model.

        images: a path, PIL image, array or tensor, or a list of them. Arrays are uint8 (H, W, 3) or
        (N, H, W, 3). Tensors are (3, H, W) or (N, 3, H, W): uint8, or float in 0..1 (for a network trained on
        a data set of tensors: as that data set gives them).
        Unreadable files are listed in the result. Raises InputError for anything else.
        """
        guarantee = self._guarantee(sure)
        prepared: list[Tensor] = []
        paths: list[str | None] = []
        unreadable: dict[str, str] = {}
        for image in _each(images):
            path = str(image) if isinstance(image, str | Path) else None
            try:
                prepared.append(self._prepared(image))
                paths.append(path)
            except UnreadableImage as error:
                if path is None:
                    raise InputError("an image can't be read", found=error) from error
                unreadable[path] = str(error)
        return self._answers(prepared, paths, unreadable, guarantee)

    def predict_files(
        self,
        files: Sequence[str | Path],
        *,
        sure: float | None = None,
        threads: int | None = None,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> Iterator[Predictions]:
        """`predict` for any number of files, a batch at a time, in their order: memory does not grow with them.

        threads: that many decode, ahead of the network; None takes as many as help for files of this size.
        on_progress: called with (files done, files in all).
        """
        guarantee = self._guarantee(sure)

        def decode(rows: range) -> tuple[list[Tensor], list[str | None], dict[str, str]]:
            prepared: list[Tensor] = []
            paths: list[str | None] = []
            unreadable: dict[str, str] = {}
            for row in rows:
                try:
                    prepared.append(self._prepared(files[row]))
                    paths.append(str(files[row]))
                except UnreadableImage as error:
                    unreadable[str(files[row])] = str(error)
            return prepared, paths, unreadable

        size = self.settings.evaluation_batch_size
        for _, found in in_chunks(decode, files, largest=size, threads=threads, on_progress=on_progress):
            yield self._answers(*found, guarantee)

    def _guarantee(self, sure: float | None) -> Guarantee | None:
        if sure is not None and self.config.multi_label:
            raise InputError(
                "being sure is promised of networks that give one class to each image",
                found="several labels an image",
                fix="look at the probabilities",
            )
        return None if sure is None else find_guarantee(self.config.sure, sure)

    def _answers(
        self,
        prepared: list[Tensor],
        paths: list[str | None],
        unreadable: dict[str, str],
        guarantee: Guarantee | None,
    ) -> Predictions:
        """What the network says of prepared images."""
        probabilities, best = np.zeros((0, len(self.config.classes)), np.float32), np.zeros(0, np.int64)
        given = np.zeros((0, len(self.config.classes)), np.int64) if self.config.multi_label else None
        if len({image.shape for image in prepared}) > 1:
            raise InputError(
                "images differ in shape",
                found=" and ".join(sorted({str(tuple(image.shape)) for image in prepared})[:3]),
                wanted="one shape",
            )
        if prepared:
            logits = self._logits(self.uncalibrated, torch.stack(prepared))
            # The class is that of the logits as they are: no temperature can change it.
            best = logits.numpy().argmax(axis=1)
            if self.config.multi_label:
                given, probabilities = given_labels(logits.numpy(), self.config.thresholds)
            else:
                probabilities = (logits.double() / self.config.temperature).softmax(dim=1).float().numpy()
        return Predictions(
            classes=self.config.classes,
            probabilities=probabilities,
            best=best,
            paths=tuple(paths),
            unreadable=unreadable,
            guarantee=guarantee,
            given=given,
        )

    def _prepared(self, image: Any) -> Tensor:
        """One image as the pipeline takes it: (C, H, W)."""
        config = self.config
        if config.images == "tensors":
            if not isinstance(image, Tensor) or image.ndim != 3:
                raise InputError(
                    "this network was trained on a data set of tensors, which alone knows how to prepare an image",
                    found=_describe(image),
                    wanted="a tensor (C, H, W), as that data set gives it",
                )
            return image if image.is_floating_point() else image.float()
        if isinstance(image, Tensor):
            image = _pixels(image)
        if isinstance(image, np.ndarray):
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
                raise InputError("this is not an image", found=_describe(image), wanted="uint8 (H, W, 3)")
            image = Image.fromarray(image)
        if not isinstance(image, str | Path | Image.Image):
            raise InputError(
                "this is not an image", found=_describe(image), wanted="a path, PIL image, NumPy array or tensor"
            )
        return self.read(image)

    def read(self, source: str | Path | bytes | Image.Image) -> Tensor:
        """A file, its bytes or an image of Pillow, decoded and brought to size: uint8 (3, H, W)."""
        config = self.config
        pixels, _ = read_pixels(source, config.image_size, config.resize, config.interpolation)
        return torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)


def _pixels(image: Tensor) -> np.ndarray:
    """A tensor (3, H, W), uint8 or float in 0..1, as uint8 (H, W, 3)."""
    floats = image.is_floating_point()
    in_range = image.dtype == torch.uint8 or (floats and bool(((image >= 0) & (image <= 1)).all()))
    if image.ndim != 3 or image.shape[0] != 3 or not in_range:
        raise InputError(
            "this is not an image", found=_describe(image), wanted="(3, H, W), uint8, or float from 0 to 1"
        )
    pixels: np.ndarray = ((image * 255).round() if floats else image).to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    return pixels


def _describe(image: Any) -> str:
    if isinstance(image, np.ndarray | Tensor):
        return f"{image.dtype} of shape {tuple(image.shape)}"
    return repr(image)[:80]


def _each(images: Images) -> Sequence[Any]:
    if isinstance(images, str | Path | Image.Image):
        return [images]
    if isinstance(images, np.ndarray | Tensor):
        return images if images.ndim == 4 else [images]  # type: ignore[return-value]
    if not isinstance(images, Sequence):
        raise InputError(
            "this is not an image",
            found=_describe(images),
            wanted="a path, PIL image, array or tensor, or a list of them",
        )
    return images
