"""Augmentation and normalisation: what they do to pixels, sample by sample."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from truefit.data.augment import Draw, Pipeline
from truefit.recipes.recipe import AugmentConfig

SIDE = 8


@pytest.fixture
def store(rng: np.random.Generator) -> Tensor:
    """64 random images as they are stored: (N, H, W, C) uint8."""
    return torch.from_numpy(rng.integers(0, 256, (64, SIDE, SIDE, 3), dtype=np.uint8))


def augmented(store: Tensor, seed: int = 0, rows: Tensor | None = None, **how: object) -> Tensor:
    """Images (N, H, W, C) after the one augmentation named."""
    settings = {"flip": False, "shift": 0.0, **how}
    pipeline = Pipeline(scale=1.0, augmentation=AugmentConfig(**settings))  # type: ignore[arg-type]
    return pipeline(store, rows, Draw(generator=torch.Generator().manual_seed(seed))).permute(0, 2, 3, 1)


def test_normalisation_is_pixel_over_scale_minus_mean_over_std(store: Tensor) -> None:
    mean, std = (0.1, 0.5, 0.9), (0.2, 0.25, 0.5)
    found = Pipeline(mean=mean, std=std, scale=255.0)(store, None, None)
    wanted = (store.double().permute(0, 3, 1, 2) / 255 - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[
        :, None, None
    ]
    assert found.dtype == torch.float32
    assert torch.allclose(found.double(), wanted, atol=1e-5)


def test_without_mean_only_the_scale_is_applied(store: Tensor) -> None:
    assert torch.equal(Pipeline(scale=255.0)(store, None, None), store.permute(0, 3, 1, 2) / 255)
    values = torch.randn(2, 4, 4, 3)
    assert torch.equal(Pipeline()(values, None, None), values.permute(0, 3, 1, 2))


def test_rows_choose_the_images(store: Tensor) -> None:
    rows = torch.tensor([5, 2, 2, 63])
    assert torch.equal(Pipeline()(store, rows, None), store[rows].permute(0, 3, 1, 2).float())
    assert torch.equal(augmented(store, rows=rows, flip=True, shift=0.2), augmented(store[rows], flip=True, shift=0.2))


def test_what_is_stored_is_never_changed(store: Tensor) -> None:
    pixels, floats = store.clone(), store.float() / 255
    held = floats.clone()
    everything = {"flip": True, "shift": 0.2, "cutout": 0.5, "brightness": 0.5, "contrast": 0.5}
    augmented(store, **everything)
    augmented(floats, brightness=0.5, contrast=0.5, cutout=0.5)
    Pipeline(mean=(0.5,) * 3, std=(0.5,) * 3)(floats, None, None)
    assert torch.equal(store, pixels)
    assert torch.equal(floats, held)


def test_no_generator_means_no_augmentation(store: Tensor) -> None:
    how = AugmentConfig(flip=True, shift=0.5, cutout=1.0, brightness=1.0, contrast=1.0)
    assert torch.equal(
        Pipeline(scale=255.0, augmentation=how)(store, None, None), Pipeline(scale=255.0)(store, None, None)
    )


def test_flip_mirrors_left_and_right_about_half_of_the_images(store: Tensor) -> None:
    found = augmented(store, flip=True)
    kept = [torch.equal(image, original.float()) for image, original in zip(found, store, strict=True)]
    mirrored = [torch.equal(image, original.flip(1).float()) for image, original in zip(found, store, strict=True)]
    assert all(a != b for a, b in zip(kept, mirrored, strict=True))
    assert 16 <= sum(mirrored) <= 48


def test_shift_moves_each_image_by_its_own_offset_with_a_reflected_border(store: Tensor) -> None:
    found = augmented(store, shift=0.25).long()
    offsets = set()
    for image, original in zip(found.numpy(), store.numpy(), strict=True):
        # NumPy's "reflect" mirrors about the edge pixel, which is not repeated.
        wide = np.pad(original, ((2, 2), (2, 2), (0, 0)), mode="reflect")
        fits = [(y, x) for y in range(5) for x in range(5) if np.array_equal(wide[y : y + SIDE, x : x + SIDE], image)]
        assert len(fits) == 1
        offsets.add(fits[0])
    assert len(offsets) > 15
    assert {y for y, _ in offsets} == {x for _, x in offsets} == {0, 1, 2, 3, 4}


def test_the_largest_shift_of_half_the_side_stays_inside(store: Tensor) -> None:
    found = augmented(store, shift=0.5).long()
    for image, original in zip(found, store, strict=True):
        assert set(image.reshape(-1, 3)[:, 0].tolist()) <= set(original.reshape(-1, 3)[:, 0].tolist())


def test_oblong_images_shift_and_flip_along_the_right_axes() -> None:
    store = torch.arange(4 * 10).reshape(1, 4, 10, 1).expand(64, 4, 10, 3).contiguous().float()
    found = augmented(store, flip=True, shift=0.25)
    assert found.shape == store.shape
    rows, columns = found[..., 0] // 10, found[..., 0] % 10
    assert (rows == rows[:, :, :1]).all()  # one row of the result comes from one row of the image
    assert (columns == columns[:, :1]).all()
    mirrored = columns[:, 0, 4] > columns[:, 0, 5]  # neighbours in the middle, which no border reaches
    assert 16 <= int(mirrored.sum()) <= 48


def test_cutout_sets_a_square_to_the_mean_colour_and_leaves_the_rest() -> None:
    store = torch.full((64, 16, 16, 3), 5.0)
    found = augmented(store, cutout=0.5)
    assert set(found.unique().tolist()) == {0.0, 5.0}
    holes = (found == 0).all(dim=3)
    assert (holes.sum(dim=(1, 2)) > 0).all()
    assert (holes.sum(dim=(1, 2)) <= 81).all()
    for hole in holes:
        y, x = hole.any(dim=1), hole.any(dim=0)
        assert torch.equal(hole, y[:, None] & x[None, :])
    assert len({tuple(hole.flatten().tolist()) for hole in holes}) > 30


def test_contrast_scales_about_the_images_own_mean(store: Tensor) -> None:
    found, original = augmented(store, contrast=0.4), store.float()
    means, before = found.mean(dim=(1, 2, 3)), original.mean(dim=(1, 2, 3))
    assert torch.allclose(means, before, atol=1e-2)
    factors = found.std(dim=(1, 2, 3)) / original.std(dim=(1, 2, 3))
    assert float(factors.min()) >= 0.599
    assert float(factors.max()) <= 1.401
    assert float(factors.max() - factors.min()) > 0.5


def test_brightness_adds_one_number_to_each_image() -> None:
    store = torch.randn(64, SIDE, SIDE, 3)
    change = augmented(store, brightness=0.3) - store
    assert torch.allclose(change, change[:, :1, :1, :1], atol=1e-5)
    assert float(change.abs().max()) <= 0.3001
    assert float(change.max() - change.min()) > 0.4


def test_the_generator_decides_and_samples_differ(store: Tensor) -> None:
    same = store[:1].expand(64, -1, -1, -1).contiguous()
    how = {"flip": True, "shift": 0.25, "cutout": 0.3, "brightness": 0.2, "contrast": 0.2}
    assert torch.equal(augmented(same, seed=1, **how), augmented(same, seed=1, **how))
    assert not torch.equal(augmented(same, seed=1, **how), augmented(same, seed=2, **how))
    assert len({image.numpy().tobytes() for image in augmented(same, seed=1, **how)}) == 64


@pytest.mark.parametrize("how", [{}, {"flip": True}, {"shift": 0.2}, {"cutout": 0.3}, {"contrast": 0.2}])
def test_the_result_is_channels_last(store: Tensor, how: dict[str, object]) -> None:
    found = augmented(store, **how).permute(0, 3, 1, 2)
    assert found.shape == (64, 3, SIDE, SIDE)
    assert found.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(("factor", "side"), [(0.75, 6), (0.5, 4), (0.3, 2), (0.9, 7)])
def test_shrinking_is_by_lanczos_filter_as_pillow_has_it(store: Tensor, factor: float, side: int) -> None:
    found = Pipeline(shrink=factor)(store, None, None)
    assert found.is_contiguous(memory_format=torch.channels_last)
    for image, small in zip(store, found, strict=True):
        for channel in range(3):
            plane = Image.fromarray(image[:, :, channel].numpy().astype(np.float32))
            wanted = np.array(plane.resize((side, side), Image.Resampling.LANCZOS))
            assert np.allclose(small[channel].numpy(), wanted, atol=1e-2)


def test_shrinking_keeps_a_constant_image_and_comes_after_the_crop() -> None:
    grey = torch.full((2, 8, 8, 3), 200, dtype=torch.uint8)
    grey[:, 2:6, 2:6] = 100
    found = Pipeline(crop=0.5, shrink=0.5)(grey, None, None)
    assert found.shape == (2, 3, 2, 2)
    assert torch.allclose(found, torch.full_like(found, 100.0))


def test_erasing_sets_a_rectangle_of_its_own_in_as_many_images_as_asked() -> None:
    store = torch.full((400, 20, 30, 3), 5.0)
    found = augmented(store, erase=0.4)
    holes = (found == 0).all(dim=3)
    assert set(found.unique().tolist()) == {0.0, 5.0}
    erased = holes[holes.any(dim=(1, 2))]
    assert 130 <= len(erased) <= 190
    parts, stretches = [], []
    for hole in erased:
        y, x = hole.any(dim=1), hole.any(dim=0)
        assert torch.equal(hole, y[:, None] & x[None, :])
        parts.append(float(hole.float().mean()))
        stretches.append(int(y.sum()) / int(x.sum()))
    # Whole pixels are a little more or less than the areas and proportions that are drawn.
    assert 0.01 < min(parts) < 0.06
    assert 0.25 < max(parts) < 0.37
    assert 0.2 < min(stretches) < 0.5
    assert 2 < max(stretches) < 4.5
    assert 0.4 < sum(stretch > 1 for stretch in stretches) / len(stretches) < 0.6
    assert len({tuple(hole.flatten().tolist()) for hole in erased}) > 120
