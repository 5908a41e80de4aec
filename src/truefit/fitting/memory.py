"""When a batch does not fit in the device's memory: which one would, and what to do."""

from __future__ import annotations

import torch
from torch import nn

from truefit import loop, rng
from truefit.errors import DeviceMemoryError
from truefit.fitting.plan import AnySet
from truefit.measure import image_size_of
from truefit.recipes.recipe import Recipe


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out. On CPUs torch has only words for it."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def out_of_memory(
    error: BaseException, network: nn.Module, training_set: AnySet, recipe: Recipe, device: torch.device
) -> DeviceMemoryError:
    """The error to raise instead, with the largest part of a batch that fits."""
    size = -(-recipe.batch_size // recipe.accumulate)
    fits = _largest(network, training_set, recipe, size, device)
    found = f"{size} images at once"
    if fits is None:
        return DeviceMemoryError(
            f"out of memory on {device}", found=f"{found}; not even one fits", fix="smaller images or a smaller model"
        )
    parts = -(-recipe.batch_size // fits)
    return DeviceMemoryError(
        f"out of memory on {device}",
        found=str(error).partition("\n")[0],
        wanted=f"{found} to fit; {fits} do",
        fix=f"--accumulate {parts} computes each batch of {recipe.batch_size} in {parts} parts: the same step",
    )


def _largest(network: nn.Module, training_set: AnySet, recipe: Recipe, size: int, device: torch.device) -> int | None:
    """The largest half, quarter, ... of `size` blank images that goes through the network and back; None: not one."""
    height, width = (
        round(round(side * recipe.augment.crop) * recipe.augment.shrink) for side in image_size_of(training_set)
    )
    buffers = [(buffer, buffer.clone()) for buffer in network.buffers()]
    try:
        while size > 1:
            size //= 2
            network.zero_grad(set_to_none=True)
            if device.type != "cpu":
                torch.get_device_module(device).empty_cache()
            try:
                with loop.mode(network, training=size > 1), rng.preserved(device):
                    network(torch.zeros(size, 3, height, width, device=device)).sum().backward()
                return size
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    return None
        return None
    finally:
        network.zero_grad(set_to_none=True)
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)
