"""Where did the network look? A heat map over the image, of what spoke for a class (Grad-CAM).

Selvaraju et al. 2017, "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization": the channels
of the last feature map, each weighted by the mean gradient of the class's logit (eq. 1), summed, and of that what is
above 0 (eq. 2). captum computes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from truefit import loop, rng
from truefit.data.views import views
from truefit.errors import InputError, nearest
from truefit.extras import needs
from truefit.models.outputs import logits_alone
from truefit.precision import device_of, threads
from truefit.predictor import Prediction, Predictor

SHOWN_SIDE = 224
"""Pixels: overlays of smaller images are enlarged to at least that."""
STRONGEST = 0.65
"""How much of the pixel the colour covers where the map is highest."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Explanation:
    """prediction: of the image, by the whole path of inference. explained: the class whose logit the map speaks of.

    heat: (H, W) float32, 0..1, on the image as it is brought to size; its highest value is 1, or all are 0 where
    nothing spoke for the class. overlay: RGB, the image with the map upon it.
    """

    prediction: Prediction
    explained: str
    heat: np.ndarray
    overlay: Image.Image


def explain(
    predictor: Predictor, image: Any, *, explained: str | None = None, sure: float | None = None
) -> Explanation:
    """Grad-CAM of one image: a path, its bytes, an image of Pillow, or an array uint8 (H, W, 3).

    explained: a class; None takes the predicted one. sure: as `Predictor.predict` takes it. Where predictions are
    averaged over views so is the map.
    Raises InputError where the network's last feature map is not one of convolutions, as in a ViT, where the network
    takes tensors that only a data set of its own can make, and where captum is missing.
    """
    grad_cam = _grad_cam(predictor)
    config = predictor.config
    if explained is not None and explained not in config.classes:
        raise InputError(f'there is no class "{explained}"', fix=nearest(explained, config.classes))
    shown = predictor.read(Image.fromarray(image) if isinstance(image, np.ndarray) else image)
    prediction: Prediction = predictor.predict(shown, sure=sure)[0]
    label = prediction.index if explained is None else config.classes.index(explained)
    device = device_of(predictor.network)
    with (
        threads(predictor.settings.threads),
        loop.mode(predictor.network, training=False),
        rng.preserved(device),
        # captum differentiates what a call gives.
        logits_alone(predictor.network, lambda text: None),
    ):
        prepared = predictor.pipeline(shown[None].to(device).permute(0, 2, 3, 1), None, None)
        layer = last_map(predictor.network, prepared)
        method = grad_cam(predictor.network, layer)
        heat = torch.zeros(1)
        for view in views(config.averaging):
            with torch.enable_grad():
                found = method.attribute(view.of(prepared).clone(), target=label, relu_attributions=True)
            large = F.interpolate(found.detach().float().cpu(), size=prepared.shape[2:], mode="bilinear")
            heat = heat + view.weight * view.back(large)
    placed = _placed(heat, shown.shape[1:], config.crop)
    pixels = shown.permute(1, 2, 0).numpy()
    return Explanation(
        prediction=prediction,
        explained=config.classes[label],
        heat=placed,
        overlay=_overlay(pixels, placed),
    )


def check_explainable(predictor: Predictor) -> None:
    """Raise InputError where `explain` can't work, whatever the image."""
    _grad_cam(predictor)
    side = predictor.config.image_size
    if side is None:
        return  # each image has a size of its own
    image = torch.zeros(1, side, side, 3, dtype=torch.uint8, device=device_of(predictor.network))
    with loop.mode(predictor.network, training=False), rng.preserved(image.device):
        last_map(predictor.network, predictor.pipeline(image, None, None))


def _grad_cam(predictor: Predictor) -> Any:
    """captum's class. InputError where it is missing, or where the network takes what is no image."""
    if predictor.config.images != "files":
        raise InputError(
            "only images can be explained",
            found="a network that was trained on a data set of tensors",
            wanted="one trained on image files",
        )
    return needs("explain", "captum.attr").LayerGradCam


def last_map(network: nn.Module, images: Tensor) -> nn.Module:
    """The module that gives the last feature map (N, C, h, w) of the network's convolutions, found by one forward.

    A convolution that only cuts the image into patches, as at the beginning of a ViT, is none: what comes after it has
    no place in the image, or another layout. Raises InputError where there is no other.
    """
    found: list[nn.Module] = []
    size = (0, 0)

    def look(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        nonlocal size
        if not isinstance(output, Tensor) or output.ndim != 4 or output.shape[2] * output.shape[3] == 1:
            return
        high, wide = output.shape[2:]
        if isinstance(module, nn.Conv2d) and not _cuts_patches(module):
            size = (high, wide)
        # Never larger than what the last convolution gave: (N, h, w, C) would be.
        elif high > size[0] or wide > size[1]:
            return
        found.append(module)

    handles = [module.register_forward_hook(look) for module in network.modules() if module is not network]
    try:
        with torch.no_grad():
            network(images)
    finally:
        for handle in handles:
            handle.remove()
    if not found:
        raise InputError(
            "Grad-CAM needs the feature map of a convolution, and this network has none",
            found=f"{type(network).__name__}, a network without convolutions but for cutting the image into patches",
            wanted="a convolutional network, such as convnet, resnet18 or timm:tf_efficientnet_lite0",
        )
    return found[-1]


def _cuts_patches(module: nn.Conv2d) -> bool:
    """Whether each pixel of the image goes into one output alone: patches side by side."""
    return module.in_channels == 3 and module.kernel_size == module.stride and module.stride != (1, 1)


def _placed(heat: Tensor, size: torch.Size, crop: float) -> np.ndarray:
    """The map (1, 1, h, w) on the whole image, 0 outside of the part that the network sees; its largest value is 1."""
    high, wide = round(crop * size[0]), round(crop * size[1])
    part = F.interpolate(heat, size=(high, wide), mode="bilinear", align_corners=False)[0, 0]
    placed = torch.zeros(*size)
    top, left = (size[0] - high) // 2, (size[1] - wide) // 2
    placed[top : top + high, left : left + wide] = part
    highest = float(placed.max())
    return (placed / highest if highest > 0 else placed).numpy()


def _overlay(pixels: np.ndarray, heat: np.ndarray) -> Image.Image:
    """The image (H, W, 3) uint8 with the map in colours upon it, the stronger the more; small ones are enlarged."""
    from matplotlib import colormaps

    times = -(-SHOWN_SIDE // min(heat.shape))
    size = (heat.shape[1] * times, heat.shape[0] * times)
    smooth = np.asarray(Image.fromarray(heat).resize(size, Image.Resampling.BILINEAR))
    image = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.NEAREST), dtype=np.float32)
    colour = colormaps["inferno"](smooth)[..., :3].astype(np.float32) * 255
    strength = STRONGEST * smooth[..., None]
    return Image.fromarray((image * (1 - strength) + colour * strength).round().clip(0, 255).astype(np.uint8))
