"""Plans and batches: the same (seed, epoch) gives the same batches, from memory, from a data set, with workers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.data import IterableDataset

from helpers import Augmented, Counting, Raising, Stream, generator_states, image_set
from truefit import ImageSet
from truefit.data.augment import Pipeline
from truefit.data.batch import Batch
from truefit.data.batches import DatasetBatches, IterableBatches, MemoryBatches, make_batches
from truefit.data.plan import Plan
from truefit.recipes.recipe import AugmentConfig

CPU = torch.device("cpu")
EVERYTHING = AugmentConfig(flip=True, shift=0.25, cutout=0.3, brightness=0.2, contrast=0.2)
PIPELINE = Pipeline(mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3), scale=255.0, augmentation=EVERYTHING)
PLAIN = Pipeline(mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3), scale=255.0)

Drawn = list[tuple[Tensor, Tensor]]


def pictures(rng: np.random.Generator, samples: int = 22, side: int = 8) -> ImageSet:
    return ImageSet(
        split="train",
        classes=("a", "b", "c"),
        labels=rng.integers(0, 3, samples),
        pixels=rng.integers(0, 256, (samples, side, side, 3), dtype=np.uint8),
        image_size=side,
    )


def plan(samples: int = 22, batch_size: int = 5, seed: int | None = 1, **more: Any) -> Plan:
    return Plan(samples=samples, batch_size=batch_size, seed=seed, **more)


def in_memory(images: ImageSet, plan: Plan, pipeline: Pipeline = PIPELINE, epochs: float = 1) -> MemoryBatches:
    pixels, labels = torch.from_numpy(images.pixels), torch.from_numpy(images.labels)
    return MemoryBatches(pixels, labels, plan, pipeline, device=CPU, epochs=epochs)


def drawn(batches: Any, epoch: int = 0) -> Drawn:
    return [(batch.images, batch.targets) for batch in batches.epoch(epoch)]


def equal(left: Drawn, right: Drawn) -> bool:
    return len(left) == len(right) and all(
        torch.equal(a, c) and torch.equal(b, d) for (a, b), (c, d) in zip(left, right, strict=True)
    )


# --- plans


@settings(deadline=None)
@given(
    samples=st.integers(1, 200),
    batch_size=st.integers(1, 70),
    seed=st.one_of(st.none(), st.integers(0, 2**62)),
    share=st.booleans(),
    epoch=st.integers(0, 5),
)
def test_a_plan_cuts_every_index_into_exactly_one_batch(
    samples: int, batch_size: int, seed: int | None, share: bool, epoch: int
) -> None:
    made = Plan(samples=samples, batch_size=batch_size, seed=seed, share_last=share)
    batches = made.batches(epoch)
    assert sorted(torch.cat(batches).tolist()) == list(range(samples))
    assert [len(batch) for batch in batches] == made.sizes
    assert len(batches) == made.steps == -(-samples // batch_size)
    assert max(made.sizes) <= batch_size
    assert set(made.sizes[:-2]) <= {batch_size}
    # Three samples in batches of two can only be 2 + 1.
    if share and samples > 1 and batch_size > 2:
        assert min(made.sizes) > 1
        assert made.sizes[-1] > 1 or samples == 1
    else:
        assert set(made.sizes[:-1]) <= {batch_size}


def test_the_last_two_batches_share_only_where_one_sample_is_left() -> None:
    assert plan(65, 64, share_last=True).sizes == [33, 32]
    assert plan(65, 64).sizes == [64, 1]
    assert plan(66, 64, share_last=True).sizes == [64, 2]
    assert plan(129, 64, share_last=True).sizes == [64, 33, 32]
    assert plan(1, 64, share_last=True).sizes == [1]


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    def order(seed: int | None, epoch: int) -> list[int]:
        return torch.cat(plan(seed=seed).batches(epoch)).tolist()

    assert order(1, 0) == order(1, 0)
    assert len({tuple(order(seed, epoch)) for seed in (0, 1, 2) for epoch in (0, 1, 2)}) == 9
    assert order(None, 0) == order(None, 3) == list(range(22))


def test_the_order_does_not_depend_on_the_batch_size() -> None:
    assert torch.equal(torch.cat(plan(batch_size=5).batches(2)), torch.cat(plan(batch_size=7).batches(2)))


# --- batches


def test_pixels_in_memory_and_streamed_give_equal_batches(rng: np.random.Generator) -> None:
    images = pictures(rng)
    for pipeline in (PIPELINE, PLAIN):
        memory = in_memory(images, plan(), pipeline)
        streamed = DatasetBatches(images, plan(), device=CPU, pipeline=pipeline)
        for epoch in (0, 3):
            assert equal(drawn(memory, epoch), drawn(streamed, epoch))


@pytest.mark.parametrize("how", ["flip", "shift", "cutout", "brightness", "contrast"])
def test_each_augmentation_alone_is_equal_in_memory_and_streamed(rng: np.random.Generator, how: str) -> None:
    images = pictures(rng)
    only = {"flip": False, "shift": 0.0, how: True if how == "flip" else 0.3}
    pipeline = Pipeline(mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3), scale=255.0, augmentation=AugmentConfig(**only))
    memory = in_memory(images, plan(), pipeline)
    streamed = DatasetBatches(images, plan(), device=CPU, pipeline=pipeline)
    assert equal(drawn(memory), drawn(streamed))
    assert not equal(drawn(memory), drawn(in_memory(images, plan(), PLAIN)))


def test_batches_with_a_pipeline_are_channels_last(rng: np.random.Generator) -> None:
    images = pictures(rng)
    for pipeline in (PIPELINE, PLAIN):
        for batches in (
            in_memory(images, plan(), pipeline),
            DatasetBatches(images, plan(), device=CPU, pipeline=pipeline),
        ):
            for batch in batches.epoch(0):
                assert batch.images.is_contiguous(memory_format=torch.channels_last)


def test_an_epoch_asked_twice_is_the_same_and_others_differ(rng: np.random.Generator) -> None:
    for batches in (
        in_memory(pictures(rng), plan()),
        DatasetBatches(Augmented(image_set(22)), plan(), device=CPU),
    ):
        first, second = drawn(batches, 0), drawn(batches, 1)
        assert equal(first, drawn(batches, 0))
        assert not equal(first, second)


def test_another_seed_and_another_epoch_give_other_augmentation_of_the_same_image(rng: np.random.Generator) -> None:
    images, tensors = pictures(rng, samples=1), Augmented(image_set(1))
    for make in (
        lambda seed: in_memory(images, plan(1, seed=seed)),
        lambda seed: DatasetBatches(images, plan(1, seed=seed), device=CPU, pipeline=PIPELINE),
        lambda seed: DatasetBatches(tensors, plan(1, seed=seed), device=CPU),
    ):
        found = [drawn(make(seed), epoch)[0][0] for seed in (1, 2) for epoch in (0, 1)]
        assert len({tensor.numpy().tobytes() for tensor in found}) == 4


def test_steps_of_an_epoch_are_augmented_differently(rng: np.random.Generator) -> None:
    one = pictures(rng, samples=1).pixels[[0] * 8]
    images = ImageSet(split="train", classes=("a",), labels=np.zeros(8, np.int64), pixels=one, image_size=8)
    found = torch.cat([batch for batch, _ in drawn(in_memory(images, plan(8, batch_size=2)))])
    assert len({image.numpy().tobytes() for image in found}) == 8


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_give_the_same_batches_epoch_after_epoch(workers: int) -> None:
    dataset = Augmented(image_set(22))
    here = DatasetBatches(dataset, plan(), device=CPU)
    there = DatasetBatches(dataset, plan(), device=CPU, workers=workers)
    for epoch in (0, 1, 0):
        assert equal(drawn(here, epoch), drawn(there, epoch))


def test_an_abandoned_epoch_does_not_disturb_the_next_one_of_the_workers() -> None:
    dataset = Augmented(image_set(22))
    there = DatasetBatches(dataset, plan(), device=CPU, workers=1)
    next(iter(there.epoch(0)))
    assert equal(drawn(there, 1), drawn(DatasetBatches(dataset, plan(), device=CPU), 1))


def test_each_index_is_fetched_once_an_epoch_and_labels_stay_with_their_images(rng: np.random.Generator) -> None:
    dataset = Counting(image_set(22))
    drawn(DatasetBatches(dataset, plan(), device=CPU))
    assert dataset.counts == dict.fromkeys(range(22), 1)
    assert dataset.fetched == torch.cat(plan().batches(0)).tolist()
    images, labels = image_set(22).tensors
    batches = DatasetBatches(image_set(22), plan(), device=CPU)
    for step, (got, targets) in enumerate(drawn(batches, 4)):
        rows = batches.indices(4, step)
        assert torch.equal(got, images[rows])
        assert torch.equal(targets, labels[rows])


def test_every_image_is_mirrored_in_every_second_epoch(rng: np.random.Generator) -> None:
    images = pictures(rng, samples=200)
    mirror = Pipeline(augmentation=AugmentConfig(flip=True, shift=0.0))
    pixels = torch.from_numpy(images.pixels).float().permute(0, 3, 1, 2)
    for batches in (
        in_memory(images, plan(200), mirror),
        DatasetBatches(images, plan(200), device=CPU, pipeline=mirror),
    ):
        mirrored = torch.zeros(4, 200, dtype=torch.bool)
        for epoch in range(4):
            for step, (got, _) in enumerate(drawn(batches, epoch)):
                for image, row in zip(got, batches.indices(epoch, step), strict=True):
                    mirrored[epoch, row] = not torch.equal(image, pixels[row])
                    assert torch.equal(image, pixels[row].flip(2) if mirrored[epoch, row] else pixels[row])
        assert torch.equal(mirrored[0], ~mirrored[1])
        assert torch.equal(mirrored[0], mirrored[2])
        assert 70 < int(mirrored[0].sum()) < 130


def test_images_are_smaller_in_the_first_half_of_the_training(rng: np.random.Generator) -> None:
    images = pictures(rng)
    how = Pipeline(shrink=0.75, augmentation=AugmentConfig(flip=False, shift=0.0, start_shrink=0.5))
    for batches in (
        in_memory(images, plan(), how, epochs=3),
        DatasetBatches(images, plan(), device=CPU, pipeline=how, epochs=3),
    ):
        sides = [image.shape[-1] for epoch in range(3) for image, _ in drawn(batches, epoch)]
        assert sides == [4] * 8 + [6] * 7  # 15 steps: the eighth begins before the half


def test_labels_stay_with_their_images_in_memory(rng: np.random.Generator) -> None:
    images = pictures(rng)
    plain = in_memory(images, plan(), Pipeline(scale=1.0))
    for step, (got, targets) in enumerate(drawn(plain, 2)):
        rows = plain.indices(2, step)
        assert torch.equal(got.permute(0, 2, 3, 1), torch.from_numpy(images.pixels[rows]).float())
        assert targets.tolist() == images.labels[rows].tolist()


def test_users_code_is_seeded_and_the_generators_given_back() -> None:
    batches = DatasetBatches(Augmented(image_set(22)), plan(), device=CPU)
    before = generator_states()
    states = []
    for _ in batches.epoch(0):
        states.append(generator_states())
    assert all(state == before for state in states)


def test_damaged_images_are_found_again_through_random_augmentation() -> None:
    dataset = image_set(22)
    dataset.tensors[0][[3, 17], 0, 0, 0] = torch.tensor([torch.nan, torch.inf])
    batches = DatasetBatches(Augmented(dataset), plan(), device=CPU)
    steps = range(plan().steps)
    assert {row for step in steps for row in batches.damaged(0, step)} == {3, 17}
    assert all(set(batches.damaged(0, step)) <= set(batches.indices(0, step)) for step in steps)


def test_the_label_range_is_that_of_the_labels(rng: np.random.Generator) -> None:
    images = pictures(rng)
    assert all(batch.labels == (0, 1, 2) for batch in in_memory(images, plan()).epoch(0))
    for batch in DatasetBatches(image_set(22), plan(), device=CPU).epoch(0):
        assert batch.labels == tuple(batch.targets.unique().tolist())
        assert batch.targets.dtype == torch.int64


def test_an_error_in_the_data_set_leaves_the_generators_as_they_were() -> None:
    before = generator_states()
    with pytest.raises(Exception, match="from the data set"):
        drawn(DatasetBatches(Raising(image_set(22), at=7), plan(), device=CPU))
    assert generator_states() == before


def test_an_image_set_is_taken_from_memory_where_it_holds_pixels(rng: np.random.Generator) -> None:
    images = pictures(rng)
    batches = make_batches(images, batch_size=5, device=CPU, role="training set")
    assert isinstance(batches, MemoryBatches)
    found = torch.cat([batch.images for batch in batches.epoch(0)])
    assert torch.equal(found, torch.from_numpy(images.pixels).permute(0, 3, 1, 2) / 255)


# --- streams


class Drawing(IterableDataset[Any]):
    """A stream that decides its order when iteration starts, from NumPy's generator."""

    def __iter__(self) -> Iterator[Any]:
        order = np.random.permutation(8)  # noqa: NPY002
        return iter([(torch.full((3, 2, 2), float(i)), 0) for i in order])


def test_a_stream_is_cut_as_it_comes_and_the_same_epoch_is_the_same() -> None:
    batches = IterableBatches(Stream(image_set(11)), 4, device=CPU, share_last=False, seed=1)
    assert [len(batch) for batch in batches.epoch(0)] == [4, 4, 3]
    assert torch.equal(torch.cat([images for images, _ in drawn(batches)]), image_set(11).tensors[0])
    assert batches.samples is None
    assert batches.steps is None


def test_a_stream_that_draws_when_it_starts_is_seeded_too() -> None:
    batches = IterableBatches(Drawing(), 4, device=CPU, share_last=False, seed=1)
    before = generator_states()
    first, again = drawn(batches, 0), drawn(batches, 0)
    assert generator_states() == before
    assert equal(first, again)


# --- parts of a batch


@given(
    full=st.integers(1, 80),
    count=st.integers(1, 8),
    fraction=st.floats(0, 1),
)
def test_parts_are_even_and_hold_every_sample_once(full: int, count: int, fraction: float) -> None:
    count = min(count, full)
    size = max(1, round(fraction * full))
    batch = Batch(torch.arange(size), torch.arange(size), (0, 0))
    parts = batch.parts(count, full)
    assert torch.equal(torch.cat([part.images for part in parts]), batch.images)
    assert all(torch.equal(part.images, part.targets) for part in parts)
    assert all(part.labels is batch.labels for part in parts)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert len(parts) <= count
    # One more than an even share where a part would otherwise hold a single sample.
    assert max(map(len, parts)) <= -(-full // count) + 1


@pytest.mark.parametrize(("full", "count", "size"), [(64, 4, 33), (64, 4, 17), (4, 2, 3), (5, 3, 5), (5, 2, 4)])
def test_no_part_is_left_with_a_single_sample(full: int, count: int, size: int) -> None:
    parts = Batch(torch.arange(size), torch.arange(size), (0, 0)).parts(count, full)
    assert min(map(len, parts)) > 1
