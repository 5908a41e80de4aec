"""The single path of inference: from images to class probabilities, the same everywhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from truefit import loop, rng
from truefit.data.augment import Pipeline
from truefit.data.images import UnreadableImage, fit_image, read_image
from truefit.errors import InputError
from truefit.precision import Precision, Settings, device_of, threads

Images = (
    str | Path | Image.Image | np.ndarray | Tensor | Sequence[str | Path | Image.Image] | Sequence[np.ndarray | Tensor]
)


@dataclass(frozen=True, kw_only=True)
class PredictorConfig:
    """How an image becomes probabilities.

    classes: names, in the order of the network's outputs.
    images: "files" are decoded, resized and normalised; "tensors" are taken as the training data set gave them.
    image_size: side in pixels. resize: "crop" fits the shorter side and cuts the centre, "stretch" fits both.
    crop: the centre part that the network sees, as a fraction of the side (above 0, at most 1).
    mean, std: of each channel, in units of 0..1. averaging: "flip" averages the logits of an image and its
    mirror image. temperature: divides the logits.
    """

    classes: tuple[str, ...]
    images: Literal["files", "tensors"] = "files"
    image_size: int | None = None
    resize: Literal["crop", "stretch"] = "crop"
    crop: float = 1.0
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    averaging: Literal["none", "flip"] = "none"
    temperature: float = 1.0

    @property
    def pipeline(self) -> Pipeline:
        """The preparation of a batch without augmentation."""
        return Pipeline(mean=self.mean, std=self.std, scale=255.0 if self.images == "files" else 1.0, crop=self.crop)


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """One image's result. `predicted`: class name. `probability` (0..1) of that class. `path` where known."""

    predicted: str
    index: int
    probability: float
    probabilities: dict[str, float]
    path: str | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Predictions(Sequence[Prediction]):
    """Results in the order of the images. probabilities: (n, K) float32.

    unreadable: file -> reason, for files that could not be read; they have no row.
    """

    classes: tuple[str, ...]
    probabilities: np.ndarray
    paths: tuple[str | None, ...]
    unreadable: dict[str, str]

    def __len__(self) -> int:
        return len(self.probabilities)

    def __getitem__(self, row: Any) -> Any:
        if isinstance(row, slice):
            return [self[i] for i in range(*row.indices(len(self)))]
        probabilities = self.probabilities[row]
        best = int(probabilities.argmax())
        return Prediction(
            predicted=self.classes[best],
            index=best,
            probability=float(probabilities[best]),
            probabilities=dict(zip(self.classes, map(float, probabilities), strict=True)),
            path=self.paths[row],
        )

    def __iter__(self) -> Iterator[Prediction]:
        return (self[row] for row in range(len(self)))


class Averaging(nn.Module):
    """A network whose logits are averaged over views and divided by the temperature."""

    def __init__(self, network: nn.Module, averaging: Literal["none", "flip"], temperature: float) -> None:
        super().__init__()
        self.network, self.averaging, self.temperature = network, averaging, temperature

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(images)
        if self.averaging == "flip":
            logits = (logits + self.network(images.flip(3))) / 2
        return logits if self.temperature == 1 else logits / self.temperature


class Predictor:
    """A network with all that belongs to its use: preparation, averaging, temperature, classes.

    weights: which these are, in words. selected_on: the split that chose them. own_splits: fingerprint -> name of
    the splits that it was trained and chosen on.
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
    ) -> None:
        self.network, self.config, self.settings = network, config, settings
        self.weights, self.selected_on, self.own_splits = weights, selected_on, own_splits or {}
        self.module = Averaging(network, config.averaging, config.temperature)

    @property
    def precision(self) -> Precision:
        """The precision of inference."""
        return Precision(self.settings.precision, torch.device(self.settings.device))

    def logits(self, images: Tensor) -> Tensor:
        """Logits (N, K) float32 on the CPU, for uint8 or float images (N, C, H, W); eval mode, no gradients."""
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
                prepared = self.config.pipeline(part.to(device).permute(0, 2, 3, 1), None, None)
                found.append(self.module(prepared).float().cpu())
        return torch.cat(found)

    def predict(self, images: Images) -> Predictions:
        """Class probabilities for one image or many.

        images: a path, PIL image, array or tensor, or a list of them. Arrays are uint8 (H, W, 3) or
        (N, H, W, 3). Tensors are (3, H, W) or (N, 3, H, W): uint8, or float in 0..1 (for a network trained on
        a data set of tensors: as that data set gives them).
        Unreadable files are listed in the result. Raises InputError for anything else.
        """
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
        probabilities = np.zeros((0, len(self.config.classes)), np.float32)
        if len({image.shape for image in prepared}) > 1:
            raise InputError(
                "images differ in shape",
                found=" and ".join(sorted({str(tuple(image.shape)) for image in prepared})[:3]),
                wanted="one shape",
            )
        if prepared:
            probabilities = self.logits(torch.stack(prepared)).softmax(dim=1).numpy()
        return Predictions(
            classes=self.config.classes, probabilities=probabilities, paths=tuple(paths), unreadable=unreadable
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
            return image.float()
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
        pixels = fit_image(read_image(image), config.image_size, config.resize)
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
