"""RandAugment and TrivialAugment: each change is the one it is called, of the strength drawn for its image."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as kernels

from truefit.data.augment import Draw, Pipeline
from truefit.data.policy import _LARGEST, CHANGES, _one_each, change
from truefit.recipes.recipe import AugmentConfig

LARGEST = _LARGEST["randaugment"]
SIZE = (20, 30)


@pytest.fixture
def images(rng: np.random.Generator) -> Tensor:
    """Six smooth colourful images (6, 3, H, W) uint8, which do not use the whole range."""
    coarse = torch.from_numpy(rng.integers(30, 220, (6, 3, 4, 5))).float()
    smooth = torch.nn.functional.interpolate(coarse, size=SIZE, mode="bicubic")
    return smooth.round().clamp(10, 240).to(torch.uint8)


STRENGTHS = torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9, 1.0])
SIGNS = torch.tensor([1.0, -1, 1, -1, 1, -1])
EMPTY = (120.0, 100.0, 80.0)
MOVES = CHANGES[1:6]


def changed(images: Tensor, name: str) -> Tensor:
    found = images.clone()
    _one_each(found, torch.full((6,), CHANGES.index(name)), STRENGTHS, SIGNS, LARGEST, EMPTY)
    return found


def moved(image: Tensor, fill: tuple[float, ...], **how: object) -> Tensor:
    settings = {"angle": 0.0, "translate": [0, 0], "scale": 1.0, "shear": [0.0, 0.0], **how}
    wanted = kernels.affine(image.float(), interpolation=InterpolationMode.BILINEAR, fill=list(fill), **settings)
    return wanted.round().to(torch.uint8)


def wanted_of(name: str, image: Tensor, strength: float, sign: float, fill: tuple[float, ...] = EMPTY) -> Tensor:
    """What torchvision's kernels make of one image."""
    amount = strength * sign
    factor = 1 + amount * LARGEST["factor"]
    slope = -math.degrees(math.atan(amount * LARGEST["shear"]))
    one = {
        "identity": lambda: image,
        "shear-x": lambda: moved(image, fill, shear=[-slope, 0.0]),
        "shear-y": lambda: moved(image, fill, shear=[0.0, -slope]),
        "translate-x": lambda: moved(image, fill, translate=[-amount * LARGEST["translate"] * SIZE[1], 0]),
        "translate-y": lambda: moved(image, fill, translate=[0, -amount * LARGEST["translate"] * SIZE[0]]),
        "rotate": lambda: moved(image, fill, angle=amount * LARGEST["rotate"]),
        "brightness": lambda: kernels.adjust_brightness(image, factor),
        "color": lambda: kernels.adjust_saturation(image, factor),
        "contrast": lambda: kernels.adjust_contrast(image, factor),
        "sharpness": lambda: kernels.adjust_sharpness(image, factor),
        "posterize": lambda: kernels.posterize(image, 8 - round(strength * LARGEST["bits"])),
        "solarize": lambda: kernels.solarize(image, 255 * (1 - strength)),
        "autocontrast": lambda: kernels.autocontrast(image),
        "equalize": lambda: kernels.equalize(image),
    }
    return one[name]()


@pytest.mark.parametrize("name", CHANGES)
def test_each_change_is_torchvisions_with_a_strength_for_each_image(images: Tensor, name: str) -> None:
    found = changed(images, name)
    for image, one, strength, sign in zip(images, found, STRENGTHS.tolist(), SIGNS.tolist(), strict=True):
        wanted = wanted_of(name, image, strength, sign)
        # Pixels that are half of the image and half of the border are another mixture there.
        inside = torch.ones_like(image, dtype=torch.bool)
        if name in MOVES:
            white = wanted_of(name, torch.full_like(image, 255), strength, sign, (0.0,))
            inside = (white == 0) | (white == 255)
        assert float(inside.float().mean()) > 0.85
        # Blends are rounded here, cut there; places are computed in another order.
        assert int((one.int() - wanted.int()).abs()[inside].max()) <= (6 if name in MOVES else 2)
    if name != "identity":
        assert not torch.equal(found, images)


def policy(images: Tensor, seed: int = 0, part: slice | None = None, **how: object) -> Tensor:
    config = AugmentConfig(flip=False, shift=0.0, **how)  # type: ignore[arg-type]
    stored = images.permute(0, 2, 3, 1)
    draw = Draw(generator=torch.Generator().manual_seed(seed), whole=len(images), part=part)
    return change(stored if part is None else stored[part], config, draw, EMPTY)


def test_a_policy_is_drawn_for_each_image_by_itself_and_by_position(images: Tensor) -> None:
    same = images[:1].repeat(64, 1, 1, 1)
    for how in ({"policy": "randaugment"}, {"policy": "trivialaugment"}):
        found = policy(same, **how)
        assert len({image.numpy().tobytes() for image in found}) > 30
        assert torch.equal(found, policy(same, **how))
        assert not torch.equal(found, policy(same, seed=1, **how))
        assert torch.equal(policy(same, part=slice(10, 40), **how), found[10:40])


def test_randaugment_makes_as_many_changes_as_asked_each_as_strong_as_asked(images: Tensor) -> None:
    same = images[:1].repeat(200, 1, 1, 1)
    kept = images[0].permute(1, 2, 0)

    def untouched(**how: object) -> int:
        return sum(torch.equal(image, kept) for image in policy(same, policy="randaugment", **how))

    # One of fourteen changes is none; with three of them nearly always something happens.
    assert 5 <= untouched(policy_ops=1) <= 30
    assert untouched(policy_ops=3) <= 2
    # Without any strength only these two change something: autocontrast and equalize.
    weak = untouched(policy_ops=1, policy_magnitude=0.0)
    assert 150 <= weak <= 190


def test_trivialaugment_draws_strengths(images: Tensor) -> None:
    same = images[:1].repeat(400, 1, 1, 1)
    assert len({image.numpy().tobytes() for image in policy(same, policy="trivialaugment")}) > 250
    # One change of one strength: nine changes have two signs, five have none.
    fixed = policy(same, policy="randaugment", policy_ops=1)
    assert len({image.numpy().tobytes() for image in fixed}) in range(20, 24)


def test_in_the_pipeline_the_border_is_the_mean_colour_and_the_store_stays(images: Tensor) -> None:
    store = images[:1].repeat(32, 1, 1, 1).permute(0, 2, 3, 1).contiguous()
    before = store.clone()
    grey = torch.full_like(store, 51)
    how = AugmentConfig(flip=False, shift=0.0, policy="randaugment", policy_ops=1, policy_magnitude=1.0)
    pipeline = Pipeline(scale=255.0, mean=(0.2,) * 3, std=(0.5,) * 3, augmentation=how)
    found = pipeline(grey, None, Draw(generator=torch.Generator().manual_seed(0)))
    moved = [bool((image == image[0, 0, 0]).all()) for image in found]
    assert all(moved)
    pipeline(store, None, Draw(generator=torch.Generator().manual_seed(0)))
    assert torch.equal(store, before)
    assert torch.equal(
        pipeline(store, None, None), Pipeline(scale=255.0, mean=(0.2,) * 3, std=(0.5,) * 3)(store, None, None)
    )
