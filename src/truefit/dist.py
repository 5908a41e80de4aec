"""Several processes that do one training together; in a single one everything here does nothing.

The processes are started by torchrun, or by anything else that sets RANK, LOCAL_RANK, WORLD_SIZE, MASTER_ADDR and
MASTER_PORT. They form a group only within `joined`: outside of it, and in a process of its own, `world()` is 1, and
the collectives give back what they were given. So nobody who calls them asks how many processes there are.
"""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from truefit.errors import InputError, TruefitError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

T = TypeVar("T")

# How long a process waits for the others, of which the first may be decoding images or writing a report.
PATIENCE = timedelta(hours=1)

# What a process does for the others before a collective, while they may still need it (see sharding.py).
helpers: list[Callable[[], None]] = []

_joined = 0
_alone = 0
# Where the processes agree who tells an error; kept after the group has ended.
_store: Any = None


class ProcessLostError(TruefitError):
    """Another process of the training has ended, or can't be reached any more."""


def started_together() -> int:
    """How many processes were started together with this one, itself included, as the environment says."""
    try:
        return int(os.environ["WORLD_SIZE"]) if "RANK" in os.environ else 1
    except (KeyError, ValueError):
        return 1


def world() -> int:
    """How many processes share the work: 1 outside of `joined`, and within `alone`."""
    return started_together() if _joined and not _alone else 1


def rank() -> int:
    """The number of this process, from 0; 0 outside of `joined`."""
    return int(os.environ["RANK"]) if _joined and started_together() > 1 else 0


def is_first() -> bool:
    """Whether this is the process that prints and writes."""
    return rank() == 0


@contextmanager
def joined(device: str | None = None) -> Iterator[None]:
    """Form a group with the processes that were started together; without any, nothing.

    device: as the user named it; None is the best there is. On CUDA each process of a machine takes a GPU of its own,
    which is "cuda" from then on. Raises InputError where there are more processes than GPUs.
    """
    global _joined, _store
    if started_together() == 1 or _joined:
        yield
        return
    import torch
    from torch import distributed

    on_cuda = torch.cuda.is_available() and (device is None or device.partition(":")[0] in ("auto", "cuda"))
    if on_cuda:
        _take_gpu(device)
    meeting = distributed.rendezvous("env://", timeout=PATIENCE)  # type: ignore[attr-defined]
    store, number, processes = next(meeting)
    if os.environ.get("GROUP_WORLD_SIZE", "1") == "1":
        # An elastic restart finds the store of the attempt before, with the addresses of processes that are dead.
        # Several agents count their restarts apart, so that the count is no name that all of them know.
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        store = distributed.PrefixStore(f"truefit/attempt-{attempt}", store)  # type: ignore[attr-defined]
    distributed.init_process_group(
        "cpu:gloo,cuda:nccl" if on_cuda else "gloo", store=store, rank=number, world_size=processes, timeout=PATIENCE
    )
    _joined, _store = 1, store
    try:
        yield
        distributed.destroy_process_group()
    finally:
        # After an error the group is left to the end of the process: leaving it properly would wait for the others.
        _joined = 0
        helpers.clear()


def _take_gpu(device: str | None) -> None:
    import torch

    if device is not None and ":" in device:
        raise InputError("several processes can't share one GPU", found=device, wanted="cuda", fix="--device cuda")
    number = int(os.environ.get("LOCAL_RANK", "0"))
    if number >= torch.cuda.device_count():
        raise InputError(
            "there are more processes than GPUs on this machine",
            found=f"process {number + 1} of this machine, {torch.cuda.device_count()} GPUs",
            wanted="at most one process for each GPU",
            fix="fewer processes, or --device cpu",
        )
    torch.cuda.set_device(number)


@contextmanager
def alone() -> Iterator[None]:
    """Work that this process does without the others: collectives do nothing."""
    global _alone
    _alone += 1
    try:
        yield
    finally:
        _alone -= 1


def may_tell_error(error: BaseException) -> bool:
    """Whether this process is the one to say what went wrong: the first that asks, in all that were started together.

    The others fail because it did. Before there is a group, each finds what is wrong with the command by itself.
    """
    if _store is None:
        return not isinstance(error, TruefitError) or os.environ.get("RANK", "0") == "0"
    # A new attempt of an elastic training has the same store.
    key = f"truefit/error/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
    try:
        return bool(_store.add(key, 1) == 1)
    except Exception:
        # The store is gone with the process that had it, and nobody can be asked any more.
        return True


@contextmanager
def first_goes_ahead() -> Iterator[None]:
    """The first process goes through the block while the others wait, then they do: they find its downloads there."""
    if not is_first():
        _wait()
    yield
    if is_first():
        _wait()


def _wait() -> None:
    largest([0])


def gathered(value: T) -> list[T]:
    """The values of all processes, in the order of their ranks, on each of them. Any picklable value.

    Tensors arrive on the CPU.
    """
    if world() == 1:
        return [value]
    from torch import distributed

    found: list[Any] = [None] * world()
    with lost():
        distributed.all_gather_object(found, _packed(value))
    return [pickle.loads(packed) for packed in found]


def from_first(make: Callable[[], T]) -> T:
    """Let the first process make a value, and give it to all."""
    if world() == 1:
        return make()
    from torch import distributed

    found: list[Any] = [_packed(make()) if is_first() else None]
    with lost():
        distributed.broadcast_object_list(found, src=0)
    value: T = pickle.loads(found[0])
    return value


def _packed(value: Any) -> bytes:
    """Pickled, as the processes of one training trust each other; tensors as bytes, as torch can't pickle all types."""
    import torch

    class Pickler(pickle.Pickler):
        def reducer_override(self, item: Any) -> Any:
            if not isinstance(item, torch.Tensor):
                return NotImplemented
            flat = item.detach().cpu().contiguous().reshape(-1)
            return _tensor, (flat.view(torch.uint8).numpy(), item.dtype, tuple(item.shape))

    stream = io.BytesIO()
    Pickler(stream).dump(value)
    return stream.getvalue()


def _tensor(content: Any, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
    import torch

    if content.size == 0:
        return torch.empty(shape, dtype=dtype)
    return torch.from_numpy(content.copy()).view(dtype).reshape(shape)


def largest(values: Sequence[int]) -> list[int]:
    """The largest of each number over the processes. On the host: no device is waited for."""
    if world() == 1:
        return list(values)
    import torch
    from torch import distributed

    tensor = torch.tensor(values, dtype=torch.int64)
    with lost():
        distributed.all_reduce(tensor, op=distributed.ReduceOp.MAX)
    found: list[int] = tensor.tolist()
    return found


def add_up(tensors: Sequence[Tensor]) -> None:
    """Put the sum over the processes in the place of each tensor, bit for bit the same on all of them.

    The tensors have the same shapes and element types on each process. Each kind of element makes one exchange.
    """
    if world() == 1 or not tensors:
        return
    import torch
    from torch import distributed

    kinds: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
    for tensor in tensors:
        kinds.setdefault((tensor.dtype, tensor.device), []).append(tensor.detach())
    for group in kinds.values():
        flat = torch.cat([tensor.reshape(-1) for tensor in group])
        with lost():
            distributed.all_reduce(flat)
        for tensor, summed in zip(group, torch.split(flat, [tensor.numel() for tensor in group]), strict=True):
            tensor.copy_(summed.view(tensor.shape))


def copy_first(tensors: Sequence[Tensor]) -> None:
    """Put the first process's values in the place of each tensor."""
    if world() == 1:
        return
    import torch
    from torch import distributed

    with torch.no_grad():
        for tensor in tensors:
            # Such as channels_last would be refused.
            whole = tensor.detach().contiguous()
            with lost():
                distributed.broadcast(whole, src=0)
            tensor.detach().copy_(whole)


@contextmanager
def lost() -> Iterator[None]:
    """Around a collective: help those who are not there yet, and say in plain words that a process is missing."""
    try:
        for helper in helpers:
            helper()
        yield
    except RuntimeError as error:
        raise ProcessLostError(
            "another process of this training has ended",
            where=f"process {rank()} of {world()}",
            found=str(error).partition("\n")[0].partition(". ")[0],
            fix="its own last words stand above, or in its log; the same command with --resume goes on from the "
            "last checkpoint",
        ) from error
