"""Randomness: keyed generators for data, and the global generators lent and given back.

Everything random about the data is a pure function of (seed, epoch, position in the epoch): each draw comes
from a generator keyed by those numbers, never from a global one. Only the model's own randomness (dropout)
uses the global generators of torch.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def key(*parts: int | str) -> int:
    """A 63-bit number from the parts: equal parts give equal numbers, others practically never."""
    text = "\x1f".join(str(part) for part in parts)
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator(*parts: int | str) -> torch.Generator:
    """A CPU generator keyed by the parts."""
    return torch.Generator().manual_seed(key(*parts))


def seed_all(number: int) -> None:
    """Seed the global generators of Python, NumPy and torch (every device)."""
    random.seed(number)
    np.random.seed(number % 2**32)  # noqa: NPY002  user code draws from NumPy's global generator
    torch.manual_seed(number)


def seed_apart(number: int, rank: int) -> None:
    """Seed the global generators of a process that works together with others: each by its own number from 0.

    The first one is left as it is, so that it draws what a single process would.
    """
    if rank:
        seed_all(key(number, "process", rank))


@contextmanager
def preserved(device: torch.device | None = None) -> Iterator[None]:
    """Give the global generators of Python, NumPy and torch (CPU and `device`) back as they were."""
    state = _state(device)
    try:
        yield
    finally:
        _restore(state, device)


@contextmanager
def seeded(number: int, device: torch.device | None = None) -> Iterator[None]:
    """Run with all global generators seeded by `number`; afterwards they are as they were."""
    with preserved(device):
        seed_all(number)
        yield


@contextmanager
def seeded_host(number: int) -> Iterator[None]:
    """As `seeded`, for code that runs on the host only: device generators are not touched, so it is cheap."""
    state = _state(None)
    random.seed(number)
    np.random.seed(number % 2**32)  # noqa: NPY002  user code draws from NumPy's global generator
    torch.default_generator.manual_seed(number)
    try:
        yield
    finally:
        _restore(state, None)


def states(device: torch.device) -> dict[str, Any]:
    """The states of all global generators (Python, NumPy, torch on the CPU and on `device`), as plain values and
    uint8 tensors.
    """
    python, numpy, host, on_device = _state(device)
    kind, keys, *rest = numpy
    return {
        "python": python,
        "numpy": [kind, torch.from_numpy(keys.copy()), *rest],
        "torch": host,
        "device": on_device,
    }


def set_states(states: dict[str, Any], device: torch.device) -> None:
    """Put all global generators into the states that `states` gave, also where tuples have become lists."""
    version, internal, gauss = states["python"]
    kind, keys, *rest = states["numpy"]
    on_device = states["device"]
    numpy = (kind, keys.cpu().numpy(), *rest)
    _restore(((version, tuple(internal), gauss), numpy, states["torch"].cpu(), on_device), device)


def _state(device: torch.device | None) -> tuple[Any, Any, torch.Tensor, torch.Tensor | None]:
    on_device = None
    if device is not None and device.type != "cpu":
        on_device = torch.get_device_module(device).get_rng_state()
    return random.getstate(), np.random.get_state(), torch.default_generator.get_state(), on_device  # noqa: NPY002


def _restore(state: tuple[Any, Any, torch.Tensor, torch.Tensor | None], device: torch.device | None) -> None:
    python, numpy, host, on_device = state
    random.setstate(python)
    np.random.set_state(numpy)  # noqa: NPY002
    torch.default_generator.set_state(host)
    if device is not None and on_device is not None:
        torch.get_device_module(device).set_rng_state(on_device)
