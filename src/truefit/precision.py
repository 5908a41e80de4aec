"""Device, threads, precision and memory format: resolved once, before the first step."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch
from torch import Tensor, nn

from truefit.errors import InputError
from truefit.operations import NORMS, Quicker
from truefit.provenance import cpu_vendor

# Of malloc.h: from which size on a piece is fetched for itself, and how much is kept (-1: all). Bytes.
M_MMAP_THRESHOLD, M_TRIM_THRESHOLD = -3, -1
LARGEST_KEPT = 2**27

PrecisionName = Literal["auto", "fastest", "float32", "bfloat16", "float16"]
Resolved = Literal["float32", "bfloat16", "float16", "float32-fast"]
# What autocast computes in, where it is used.
DTYPES: dict[Resolved, torch.dtype | None] = {
    "float32": None,
    "float32-fast": None,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a run was made with, so that a later evaluation can be made with the same.

    `evaluation_batch_size` is part of it because sums in floating point depend on it in the last bit.
    precision: of inference, and so of every evaluation. training_precision: of the steps that train, and so of what is
    counted in passing; "float32-fast" is float32 by the quicker ways of `operations`.
    recorded: a training step is replayed as one CUDA graph. compiled: the network is trained through torch.compile.
    """

    device: str = "cpu"
    threads: int = 1
    precision: Resolved = "float32"
    training_precision: Resolved = "float32"
    channels_last: bool = True
    evaluation_batch_size: int = 128
    workers: int = 0
    recorded: bool = False
    compiled: bool = False

    @property
    def memory_format(self) -> torch.memory_format:
        """How 4-d tensors lie in memory."""
        return torch.channels_last if self.channels_last else torch.contiguous_format


def resolve(
    *,
    device: str | None,
    precision: PrecisionName,
    image_size: tuple[int, int],
    workers: int = 0,
    recorded: bool = False,
    compiled: bool = False,
) -> Settings:
    """Fixed rules, the same answer each time on one machine.

    "auto" precision is float32. So is "fastest", which depends on the network: `fastest` says in what it is trained,
    and float32 measures it. recorded, compiled: wished for, and done on a CUDA device.
    """
    named: Resolved = "float32" if precision == "auto" or precision == "fastest" else precision
    chosen = find_device(device)
    # As many pixels a batch as 128 images of 32 x 32, which fit the caches of a CPU; eight times that on a GPU.
    room = 2**17 * (1 if chosen.type == "cpu" else 8)
    return Settings(
        device=str(chosen),
        threads=torch.get_num_threads(),
        precision=named,
        training_precision=named,
        # Convolutions are fastest in this layout on CPUs and NVIDIA's GPUs; Apple's have no use for it.
        channels_last=chosen.type != "mps",
        evaluation_batch_size=max(32, min(1024, room // max(1, image_size[0] * image_size[1]))),
        workers=workers,
        recorded=recorded and chosen.type == "cuda",
        compiled=compiled and chosen.type == "cuda",
    )


def find_device(name: str | None = None) -> torch.device:
    """The named device, or the best one there is: CUDA, then MPS, then the CPU. InputError where unavailable."""
    if name is None or name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    available = ["cpu"]
    if torch.cuda.is_available():
        available += ["cuda", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        available.append("mps")
    if name not in available:
        raise InputError(
            f'device "{name}" is not available', found=name, wanted=", ".join(available), fix="--device auto"
        )
    return torch.device(name)


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device has units for bfloat16, rather than doing without."""
    if device.type == "cuda":
        with torch.cuda.device(device):
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def bfloat16_pays(device: torch.device) -> bool:
    """Whether the device's units for bfloat16 are quicker than float32.

    Of CPUs those with AMX, and AMD's: convolutions through Intel's AVX512-BF16 alone are slower (step_precision.json).
    """
    if device.type == "cpu" and not torch.cpu._is_amx_tile_supported() and cpu_vendor() == "Intel":
        return False
    return has_bfloat16(device)


def fastest(network: nn.Module, device: torch.device) -> Resolved:
    """In which precision steps of the network are fastest: bfloat16 where the device's units for it pay.

    On a CPU the gradients of grouped convolutions are slower in it, so that networks with some keep float32.
    """
    grouped = any(isinstance(m, nn.modules.conv._ConvNd) and m.groups > 1 for m in network.modules())
    if bfloat16_pays(device) and not (device.type == "cpu" and grouped):
        return "bfloat16"
    return fastest_float32(device)


def fastest_float32(device: torch.device) -> Resolved:
    """The fastest way to train in float32."""
    return "float32-fast" if device.type == "cpu" else "float32"


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on the device, without waiting for it: what comes from the host is copied from pinned memory, behind
    what the device has yet to do. A plain `to` would wait for all of that.
    """
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def device_of(network: nn.Module) -> torch.device:
    """Where the network's parameters are; the CPU for one without any."""
    for tensor in (*network.parameters(), *network.buffers()):
        return tensor.device
    return torch.device("cpu")


def describe(device: torch.device) -> str:
    """Such as "Running on the CPU (2 threads)"."""
    if device.type == "cuda":
        return f"Running on the GPU ({torch.cuda.get_device_name(device)})"
    if device.type == "mps":
        return "Running on the GPU (Apple MPS)"
    threads = torch.get_num_threads()
    return f"Running on the CPU ({threads} thread{'s' if threads != 1 else ''})"


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Run with `count` threads, then give the number back."""
    _keep_memory()
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@cache
def _keep_memory() -> None:
    """Have the C library keep what is freed for what is asked for next, in this process and from now on.

    glibc gives large pieces back to the system at once, and each step of a training then begins with fetching them
    again, page by page: up to a fifth of the time of a step of small networks on large images. Very large pieces still
    go back, as a heap of them would have gaps that nothing fits in. Other C libraries are left.
    """
    if sys.platform == "linux":
        with suppress(AttributeError, OSError):
            libc = ctypes.CDLL(None)
            libc.mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT)
            libc.mallopt(M_TRIM_THRESHOLD, -1)


class Precision:
    """The precision of one training: autocast, and a gradient scaler where float16 needs one."""

    def __init__(self, name: Resolved = "float32", device: torch.device | None = None) -> None:
        self.name, self.device = name, device or torch.device("cpu")
        self.dtype = DTYPES[name]
        # float16 gradients underflow without scaling; bfloat16 has the range of float32.
        self.scaler = torch.amp.GradScaler(self.device.type) if name == "float16" else None

    def autocast(self) -> AbstractContextManager[object]:
        """Within this a network's outputs are computed so."""
        if self.name == "float32-fast" and self.device.type == "cpu":
            return Quicker()
        if self.dtype is None:
            return nullcontext()
        autocast = torch.autocast(self.device.type, dtype=self.dtype)
        if self.dtype == torch.bfloat16 and self.device.type == "cpu":
            # torch's norms of few channels are as slow in it as in float32.
            return _within(autocast, Quicker(NORMS))
        return autocast


@contextmanager
def _within(*contexts: AbstractContextManager[object]) -> Iterator[None]:
    with ExitStack() as stack:
        for context in contexts:
            stack.enter_context(context)
        yield
