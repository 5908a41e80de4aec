"""The golden batch: a few inputs kept with a model, and what every stage made of them; tried again at every load."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from truefit.errors import InputError
from truefit.predictor import Predictor
from truefit.provenance import provenance

# Logits and confidences may differ by this much on another machine.
TOLERANCE = 1e-2
# Levels of 255: decoders and resizers of other versions round differently.
PIXEL_TOLERANCE = 2
# Of prepared values, whose spread is about 1.
PREPARED_TOLERANCE = 1e-4
_BLOCKS = (16, 20)
_ORIENTATION = 0x0112


def make_golden(predictor: Predictor, images: Tensor) -> dict[str, Tensor]:
    """What is kept: images (n, C, H, W), the first one as prepared, and their logits at temperature 1.

    A run on files also has a picture of its own, as the bytes of a file, and the pixels that it is read to.
    Raises InputError where the logits are not finite.
    """
    logits = predictor.logits(images) * predictor.config.temperature
    damaged = int((~logits.isfinite()).any(dim=1).sum())
    if damaged:
        raise InputError(
            "the trained network's outputs are not finite",
            where="in eval mode, on its own images",
            found=f"NaN or inf for {damaged} of {len(images)} images",
            wanted="finite logits",
            fix="train for longer: a few steps do not bring BatchNorm's running statistics, which hold in eval mode, "
            "near those of the data; else lower the learning rate",
        )
    golden = {"images": images, "prepared": _prepared(predictor, images), "logits": logits}
    if predictor.config.images == "files":
        file = _picture(predictor.config.image_size or 32)
        golden["file"] = torch.frombuffer(bytearray(file), dtype=torch.uint8)
        golden["pixels"] = predictor.read(file)
    return golden


def golden_confidence(predictor: Predictor, images: Tensor) -> list[float]:
    """The highest probability of each image, at the predictor's temperature."""
    found: list[float] = predictor.logits(images).softmax(dim=1).amax(dim=1).tolist()
    return found


def check_golden(
    predictor: Predictor, golden: Mapping[str, Tensor], confidence: list[float], versions: dict[str, str], where: Path
) -> None:
    """Raise InputError where a stage gives something else than was stored, and name the stage.

    confidence: `golden_confidence` as it was stored. versions: of the packages that the run was made with.
    """
    found = _differences(predictor, golden, confidence)
    if not found:
        return
    now = provenance(torch.device("cpu"))["versions"]
    changed = [f"{name} {versions.get(name)}, now {now[name]}" for name in now if versions.get(name) != now[name]]
    network = found[0].startswith("network")
    raise InputError(
        "the model does not give the outputs that were stored with its golden batch",
        where=where,
        found="; ".join(found),
        wanted="what the run gave when it was made; versions since then: " + (", ".join(changed) or "the same"),
        fix="install those versions" if changed else "supply the very network that was trained" if network else None,
    )


def _differences(predictor: Predictor, golden: Mapping[str, Tensor], confidence: list[float]) -> list[str]:
    """The stages that differ; of stages after one another the first is at fault, and is named alone."""
    found = []
    if "file" in golden:
        pixels, wanted = predictor.read(bytes(golden["file"].numpy())), golden["pixels"]
        off = _largest(pixels.float(), wanted.float())
        if not off <= PIXEL_TOLERANCE:
            found.append(f"preprocessing changed: decoding and resizing differ by up to {off:.3g} of 255")
    off = _largest(_prepared(predictor, golden["images"]), golden["prepared"])
    if not off <= PREPARED_TOLERANCE:
        found.append(f"preprocessing changed: prepared values (crop, mean, std) differ by up to {off:.3g}")
    if found:
        return found
    logits = predictor.logits(golden["images"])
    off = _largest(logits * predictor.config.temperature, golden["logits"])
    if not off <= TOLERANCE:
        return [f"network or weights changed: logits differ by up to {off:.3g}, more than {TOLERANCE}"]
    # The stored logits are at temperature 1; that the temperature is the right one shows in the confidence.
    doubt = _largest(logits.softmax(dim=1).amax(dim=1), torch.tensor(confidence))
    if not doubt <= TOLERANCE:
        return [f"the temperature changed: confidences differ by up to {doubt:.3g}, more than {TOLERANCE}"]
    return []


def _prepared(predictor: Predictor, images: Tensor) -> Tensor:
    """The first image as the network gets it: (1, C, H, W) float32."""
    return predictor.pipeline(images[:1].permute(0, 2, 3, 1), None, None)


def _largest(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).abs().max()) if found.shape == wanted.shape else math.inf


def _picture(side: int) -> bytes:
    """A PNG larger than `side`, not square and on its side: blocks of colour, whose edges show how it is resized."""
    draw = np.random.default_rng(0)
    blocks = draw.integers(0, 256, (*_BLOCKS, 3), dtype=np.uint8)
    scale = math.ceil(1.3 * side / _BLOCKS[0])
    exif: Any = Image.Exif()
    exif[_ORIENTATION] = 6
    file = io.BytesIO()
    Image.fromarray(blocks.repeat(scale, 0).repeat(scale, 1)).save(file, "PNG", exif=exif)
    return file.getvalue()
