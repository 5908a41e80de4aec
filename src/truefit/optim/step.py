"""The gradient step: the only place in truefit where weights change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from truefit import dist, sharding
from truefit.data.batch import Batch
from truefit.errors import InputError
from truefit.optim import uncompiled
from truefit.optim.buffers import alike, is_plain
from truefit.optim.execution import Recorder, Step, Taken
from truefit.precision import Precision, device_of

# Steps in a row that a gradient scaler may skip: by then it has halved its scale from 2^16 to below 2^-8.
MOST_MISSED = 25


class Scheduler(Protocol):
    """Anything that changes the learning rate when stepped, such as those of torch.optim.lr_scheduler."""

    def step(self) -> None: ...


class Average(Protocol):
    """Anything that follows the weights when stepped, such as `WeightAverage`."""

    def step(self) -> None: ...


class GradientStep:
    """Clears gradients, runs backward, clips and steps, without asking the device for anything.

    A step whose loss or gradient is not finite is not taken, nor is any after it: `first_bad` then holds its
    number on the device (-1 until then), and weights and buffers stay those from before it. recorder: replays steps
    as a CUDA graph; what they read and write of this object is always the same memory.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        clip_norm: float | None,
        precision: Precision,
        recorder: Recorder | None = None,
    ) -> None:
        self.optimizer, self.clip_norm, self.scaler = optimizer, clip_norm, precision.scaler
        self.parameters = [p for group in optimizer.param_groups for p in group["params"]]
        # Where the network is split between processes, the optimiser has this one's parts of the parameters.
        self.parts = sharding.parts(network)
        if not {id(sharding.part_of(p)) for p in network.parameters()} & {id(p) for p in self.parameters}:
            raise InputError(
                "the optimizer holds none of the network's parameters",
                found=f"{len(self.parameters)} parameters of something else",
                wanted="parameters of the network that is trained",
                fix="make the optimizer from network.parameters() of this very network",
            )
        self.holders = [module for module in network.modules() if module._buffers]
        # Those that were there when the step began: by name, as a forward pass may put another tensor in their place.
        self.buffers: list[tuple[nn.Module, str]] = []
        self.before: list[Tensor] = []
        self.saved: list[Tensor] = []
        device = device_of(network)
        self.first_bad = torch.full((), -1, dtype=torch.int64, device=device)
        self.number = torch.zeros((), dtype=torch.int64, device=device)
        self.missed = torch.zeros((), dtype=torch.int64, device=device)
        self.recorder = recorder

    def begin(self, number: int, missed: int, frozen: Sequence[nn.Module]) -> None:
        """An epoch begins, or goes on, with its step `number` (from 0). missed: steps in a row that were skipped."""
        self.first_bad.fill_(-1)
        self.number.fill_(number)
        self.missed.fill_(missed)
        if self.recorder is not None:
            self.recorder.begin(frozen)

    def run(self, step: Step, batch: Batch) -> Taken:
        """The step with this batch, or what is recorded of it."""
        return step(batch) if self.recorder is None else self.recorder(step, batch)

    def clear(self) -> None:
        """Gradients to None, and buffers (BatchNorm's statistics) remembered."""
        with uncompiled.uncompiled():
            self.optimizer.zero_grad(set_to_none=True)
        for split, _ in self.parts:
            split.grad = None
        found = [
            (module, name, buffer)
            for module in self.holders
            for name, buffer in module._buffers.items()
            if buffer is not None and is_plain(buffer)
        ]
        self.buffers = [(module, name) for module, name, _ in found]
        self.before = [buffer for _, _, buffer in found]
        buffers = [buffer.detach() for buffer in self.before]
        self.saved = [torch.empty_like(buffer) for buffer in buffers]
        for floating in (True, False):
            # Of one type, so that a GPU copies all of them at once.
            pairs = [p for p in zip(self.saved, buffers, strict=True) if p[0].is_floating_point() == floating]
            if pairs:
                torch._foreach_copy_([saved for saved, _ in pairs], [buffer for _, buffer in pairs])

    def backward(self, loss: Tensor) -> None:
        """Add this loss's gradients."""
        if self.scaler is not None:
            # The scaler skips steps by its own flag; a NaN makes it skip all that follow a bad one.
            loss = self.scaler.scale(loss * torch.where(self.first_bad < 0, 1.0, torch.nan))
        loss.backward()  # type: ignore[no-untyped-call]

    def of_all(self, batch: Batch, loss: Tensor | None, correct: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The step's mean loss and its hits in all processes, of what this one has of them; the same for gradients.

        Each process computes its share of the batch, its losses weighted by its samples over the step's, so what counts
        is the sum. Floating buffers (BatchNorm's statistics) become the mean of what the processes made of them,
        weighted in the same way, and counters those of the first.
        """
        if dist.world() == 1:
            assert loss is not None
            return loss, correct
        # Who has none of the step's samples has no gradients; a parameter that nobody used keeps none.
        used = dist.largest([correct is not None, *(p.grad is not None for p in self.parameters)])
        figures = torch.zeros(2, dtype=torch.float64, device=self.first_bad.device)
        for place, figure in enumerate((loss, correct)):
            if figure is not None:
                figures[place] = figure
        parameters = [p for p, one in zip(self.parameters, used[1:], strict=True) if one]
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        changes = self._changes(len(batch) / batch.samples)
        dist.add_up([figures, *changes, *(p.grad for p in parameters if p.grad is not None)])
        for (module, name), saved, change in zip(self.buffers, self.saved, changes, strict=True):
            getattr(module, name).detach().copy_(saved.to(torch.float64) + change)
        for split, part in self.parts:
            # The sum over the processes already, as backward leaves it.
            part.grad = None if split.grad is None else sharding.local(split.grad)
        return figures[0].to(torch.float32), figures[1].to(torch.int64) if used[0] else None

    def _changes(self, weight: float) -> list[Tensor]:
        """What this step did to the buffers, of which the processes' sum is wanted: nothing stays exactly nothing."""
        found = []
        for (module, name), saved in zip(self.buffers, self.saved, strict=True):
            now, before = getattr(module, name).detach().to(torch.float64), saved.to(torch.float64)
            # Counters, which every process that has samples counts on: the first one always has.
            part = weight if saved.is_floating_point() else float(dist.is_first())
            found.append(torch.where(now == before, 0.0, (now - before) * part))
        return found

    def take(self, loss: Tensor) -> bool:
        """The epoch's next step, whose mean loss is `loss`. False where it is known not to be taken."""
        if self.scaler is not None:
            self.scaler.unscale_(self.optimizer)
        norm = self._norm()
        finite = loss.isfinite() & self._gradient_is_fine(norm)
        self.first_bad.copy_(torch.where((self.first_bad < 0) & ~finite, self.number, self.first_bad))
        self.number.add_(1)
        if self.clip_norm is not None:
            nn.utils.clip_grads_with_norm_(self.parameters, self.clip_norm, norm)
        taken = self._step()
        self._put_back(self.first_bad >= 0)
        return taken

    def _put_back(self, bad: Tensor) -> None:
        """The buffers from before this step, where it was not taken."""
        if self._put_back_replaced(bad):
            return
        buffers = [getattr(module, name).detach() for module, name in self.buffers]
        if bad.device.type != "cuda":
            for buffer, saved in zip(buffers, self.saved, strict=True):
                torch.where(bad, saved, buffer, out=buffer)
            return
        # As whole numbers, which add up exactly whatever their bits mean: a few kernels instead of one a buffer.
        for width in (torch.int32, torch.int64):
            pairs = [
                (buffer.view(width), saved.view(width))
                for buffer, saved in zip(buffers, self.saved, strict=True)
                if buffer.element_size() == width.itemsize
            ]
            if pairs:
                now = [buffer for buffer, _ in pairs]
                back = list(torch._foreach_sub([saved for _, saved in pairs], now))
                torch._foreach_mul_(back, bad.to(width))
                torch._foreach_add_(now, back)
        for buffer, saved in zip(buffers, self.saved, strict=True):
            if buffer.element_size() not in (4, 8):
                torch.where(bad, saved, buffer, out=buffer)

    def _put_back_replaced(self, bad: Tensor) -> bool:
        """Where the forward pass has put something of another kind in a buffer's place: the tensors from before, all of
        them, where the step was not taken. This asks the device. False where there is no such buffer.
        """
        now = [getattr(module, name) for module, name in self.buffers]
        # As a rule they are the very same tensors, which is quickly seen.
        triples = zip(now, self.before, self.saved, strict=True)
        if all((one is before and one.shape == saved.shape) or alike(one, saved) for one, before, saved in triples):
            return False
        if bool(bad):
            for (module, name), saved in zip(self.buffers, self.saved, strict=True):
                setattr(module, name, saved)
        return True

    def _norm(self) -> Tensor:
        """The gradient's L2 norm, over all parameters and all of their parts."""
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        # The square of what float16 can just hold is far beyond it.
        norm = nn.utils.get_total_norm([g.float() if g.dtype == torch.float16 else g for g in gradients])
        if not self.parts:
            return norm
        square = norm.to(self.first_bad.device, torch.float64).square()
        dist.add_up([square])
        return square.sqrt().to(torch.float32)

    def _gradient_is_fine(self, norm: Tensor) -> Tensor:
        if self.scaler is None:
            return norm.isfinite()
        # With a scaler an infinite gradient is everyday: it halves the scale and goes on, but not for ever.
        self.missed.copy_(torch.where(norm.isfinite(), 0, self.missed + 1))
        return self.missed < MOST_MISSED

    def _step(self) -> bool:
        optimizer: Any = self.optimizer
        if self.scaler is not None:
            _write_first_momenta(optimizer)
            self.scaler.step(optimizer)
            self.scaler.update()
        elif getattr(optimizer, "_step_supports_amp_scaling", False):
            # Fused optimisers look at this flag on the device themselves, as they do for GradScaler.
            _write_first_momenta(optimizer)
            optimizer.found_inf = (self.first_bad >= 0).to(torch.float32)
            uncompiled.step(optimizer)
            del optimizer.found_inf
        elif int(self.first_bad) < 0:
            # The others are asked from here: nothing on the CPU, one wait a step elsewhere, as in GradScaler.
            uncompiled.step(optimizer)
        else:
            return False
        return True


def _write_first_momenta(optimizer: torch.optim.Optimizer) -> None:
    """Give fused SGD momenta of zero before its first step: the same step, bit for bit.

    torch leaves them unwritten memory where that very step is skipped, and goes on from there.
    """
    if not isinstance(optimizer, torch.optim.SGD):
        return
    for group in optimizer.param_groups:
        if group["fused"] and group["momentum"] and not group["dampening"]:
            for parameter in group["params"]:
                state = optimizer.state[parameter]
                if parameter.grad is not None and state.get("momentum_buffer") is None:
                    state["momentum_buffer"] = torch.zeros_like(parameter)
