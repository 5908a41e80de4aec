"""A network that is split between the processes: each has a part of every tensor, of gradients and optimiser state.

Layers are put together for as long as they are used, by torch's fully_shard (FSDP2); Zhao et al. (2023), "PyTorch
FSDP: Experiences on Scaling Fully Sharded Data Parallel", section 3. What stands here besides:

- The optimiser steps on plain tensors that share their memory with this process's parts, so that every optimiser works
  that looks at each number by itself.
- Putting layers together takes all processes. One that has no samples for a pass (a short last batch, an evaluation
  with fewer batches) makes it on blank images, with gradients of zero: whoever arrives at a collective helps in the
  passes that others are still at. So nobody else asks who has how many.
"""

from __future__ import annotations

import copy
from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from truefit import dist, rng
from truefit.errors import InputError

# A layer with more than this part of all parameters is split into its own layers, where it can be.
LARGE = 1 / 8
_DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.uint8, torch.int32, torch.int64)
_DIMENSIONS = 6
_BLANK_SAMPLES = 2
_NOTHING, _MEASURED, _TRAINED = range(3)


class Shards:
    """The networks of one training, split between the processes of the group."""

    def __init__(self, device: torch.device) -> None:
        # Only here: it takes a second to import.
        from torch.distributed.device_mesh import init_device_mesh

        self.mesh = init_device_mesh(device.type, (dist.world(),))
        self.networks: list[nn.Module] = []
        self._helping = False
        dist.helpers.append(self.help)

    def split(self, network: nn.Module) -> nn.Module:
        """A copy of the network, on the device, of which this process has its part. InputError where it can't be."""
        from torch.distributed.fsdp import FSDPModule, fully_shard

        copied = copy.deepcopy(network).to(memory_format=torch.contiguous_format)
        try:
            for unit in [*_units(copied), copied]:
                fully_shard(unit, mesh=self.mesh, reshard_after_forward=True)
        except (ValueError, NotImplementedError, AssertionError) as error:
            raise InputError(
                "this network can't be split between processes", found=error, fix="without shard"
            ) from error
        for module in copied.modules():
            if isinstance(module, FSDPModule):
                # The loop weighs each process's losses by its samples: what counts is the sum.
                module.set_gradient_divide_factor(1.0)
                module.set_force_sum_reduction_for_comms(True)
        for parameter in copied.parameters():
            part: Any = nn.Parameter(local(parameter.detach()), requires_grad=parameter.requires_grad)
            parameter.part, part.whole = part, parameter  # type: ignore[attr-defined]
        number = len(self.networks)
        self.networks.append(copied)
        copied.register_forward_pre_hook(lambda _, images: self._announce(number, images[0]), prepend=True)
        return copied

    def end(self) -> None:
        """The networks are not used any more."""
        if self.help in dist.helpers:
            dist.helpers.remove(self.help)
        self.networks.clear()

    def help(self) -> None:
        """Take part in the passes that other processes are still at."""
        if self._helping or dist.world() == 1:
            return
        with self._on_its_own():
            while (told := _exchanged([_NOTHING]))[0] != _NOTHING:
                kind, number, dtype, dimensions, _, *shape = told
                blank = torch.zeros(
                    (_BLANK_SAMPLES, *shape[: dimensions - 1]), dtype=_DTYPES[dtype], device=self.mesh.device_type
                )
                self._pass(self.networks[number], blank, kind)

    def _announce(self, number: int, images: Tensor) -> None:
        if self._helping or dist.world() == 1:
            return
        kind = _TRAINED if torch.is_grad_enabled() else _MEASURED
        with self._on_its_own():
            _exchanged([kind, number, _DTYPES.index(images.dtype), images.ndim, *images.shape])

    @contextmanager
    def _on_its_own(self) -> Iterator[None]:
        """Nothing in here is a pass that others have to be told of, or a collective that waits for passes."""
        self._helping = True
        try:
            yield
        finally:
            self._helping = False

    def _pass(self, network: nn.Module, images: Tensor, kind: int) -> None:
        """The same layers in the same mode as in the others; it leaves no trace."""
        modes = [(module, module.training) for module in network.modules()]
        buffers = [(buffer, buffer.clone()) for buffer in network.buffers()]
        try:
            network.train(kind == _TRAINED)
            with rng.preserved(images.device), torch.set_grad_enabled(kind == _TRAINED):
                outputs = network(images)
                if kind == _TRAINED:
                    outputs.backward(torch.zeros_like(outputs))
        finally:
            for module, was in modes:
                module.training = was
            for buffer, before in buffers:
                buffer.copy_(before)


def local(tensor: Tensor) -> Tensor:
    """This process's part of a tensor that is split; any other as it is."""
    split: Any = tensor
    part: Tensor = split.to_local() if _is_split(split) else tensor
    return part


def part_of(parameter: Tensor) -> Tensor:
    """What the optimiser has for this parameter: its part, where it is split, with the same memory."""
    part: Tensor = getattr(parameter, "part", parameter)
    return part


def parts(network: nn.Module) -> list[tuple[Tensor, Tensor]]:
    """Parameters that are split, and this process's parts of them."""
    return [(parameter, part_of(parameter)) for parameter in network.parameters() if _is_split(parameter)]


def whole(tree: Any) -> Any:
    """A tree with every split tensor put together, on the CPU of the first process; the others have empty ones."""
    if isinstance(tree, Tensor) and _is_split(tree):
        together = _together(tree)
        return together if dist.is_first() else together.new_empty(0)
    if isinstance(tree, dict):
        return {name: whole(child) for name, child in tree.items()}
    return tree


def weights(network: nn.Module) -> dict[str, Any]:
    """A copy of the network's state_dict; of a split one put together, on the CPU of every process."""
    state = network.state_dict()
    if not any(_is_split(value) for value in state.values()):
        # A deep copy keeps the versions of the modules' states, which some need to load them.
        return copy.deepcopy(state)
    copied = OrderedDict(
        (name, _together(value) if _is_split(value) else copy.deepcopy(value)) for name, value in state.items()
    )
    copied._metadata = getattr(state, "_metadata", {})  # type: ignore[attr-defined]
    return copied


def optimizer_state(optimizer: torch.optim.Optimizer) -> dict[int, dict[str, Any]]:
    """The state of each parameter, by its number; of split ones put together, as `whole` does."""
    owners = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    return {
        number: {name: _like(value, owners[number]) for name, value in state.items()}
        for number, state in optimizer.state_dict()["state"].items()
    }


def cut(value: Any, target: Any) -> Any:
    """A whole tensor cut as `target` is: a split tensor, or an optimiser's part of one. Others as they are."""
    owner = getattr(target, "whole", target)
    if not isinstance(value, Tensor) or not isinstance(owner, Tensor) or not _is_split(owner) or value.ndim == 0:
        return value
    if value.shape != owner.shape:
        raise ValueError(f"a tensor of {tuple(value.shape)} for one of {tuple(owner.shape)}")
    mine = local(owner.detach())
    size = -(-len(value) // dist.world())
    part = value[dist.rank() * size :][: len(mine)].to(mine.device)
    return part if owner is not target else _split_like(part, owner)


def _like(value: Any, owner: Any) -> Any:
    split = getattr(owner, "whole", None)
    if split is None or not isinstance(value, Tensor) or value.ndim == 0:
        return value
    return whole(_split_like(value, split))


def _split_like(part: Tensor, split: Any) -> Tensor:
    from torch.distributed.tensor import DTensor

    return DTensor.from_local(
        part, split.device_mesh, split.placements, run_check=False, shape=split.shape, stride=split.stride()
    )


def _exchanged(words: list[int]) -> list[int]:
    told = torch.tensor(words + [0] * (4 + _DIMENSIONS - len(words)))
    with dist.lost():
        torch.distributed.all_reduce(told, op=torch.distributed.ReduceOp.MAX)
    found: list[int] = told.tolist()
    return found


def _together(split: Any) -> Tensor:
    with dist.lost():
        found: Tensor = split.detach().full_tensor().cpu()
    return found


def _is_split(tensor: Any) -> bool:
    # A DTensor, without importing it.
    return hasattr(tensor, "device_mesh")


def _units(network: nn.Module) -> list[nn.Module]:
    """Layers that are put together one at a time. Weights that several layers share stay with the whole network."""
    total = sum(parameter.numel() for parameter in network.parameters())
    uses = Counter(id(parameter) for module in network.modules() for parameter in module.parameters(recurse=False))
    found: dict[int, nn.Module] = {}

    def visit(module: nn.Module) -> None:
        for child in module.children():
            own = list(child.parameters())
            # Modules of torch other than containers use the weights of those within them without calling these.
            of_torch = type(child).__module__.startswith("torch.nn.")
            large = sum(parameter.numel() for parameter in own) > LARGE * total
            if isinstance(child, nn.Sequential | nn.ModuleList | nn.ModuleDict) or (large and not of_torch):
                visit(child)
            elif own and all(uses[id(parameter)] == 1 for parameter in own):
                found[id(child)] = child

    visit(network)
    return list(found.values())
