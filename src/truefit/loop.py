"""How training works: one epoch of training, one evaluation. Nothing here touches a disk or prints."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor, nn

from truefit import dist, rng
from truefit.data.batch import Batch, Batches
from truefit.errors import InputError, NonFiniteError, shorten
from truefit.events import Observer, PassFinished, PassSoFar, PassStarted, Progress, StepFinished, nobody
from truefit.optim.execution import Taken
from truefit.optim.step import Average, GradientStep, Scheduler
from truefit.precision import Precision, device_of
from truefit.tasks import Task

READ_BACK_SECONDS = 0.2


@dataclass(frozen=True, kw_only=True)
class PassResult:
    """A complete pass over a split. `correct` is None where hits were not counted."""

    losses: list[float]
    sizes: list[int]
    correct: int | None
    outputs: Tensor | None = None
    targets: Tensor | None = None

    @property
    def samples(self) -> int:
        return sum(self.sizes)

    @property
    def loss(self) -> float:
        """The mean loss over samples: sum and count, then one division."""
        return math.fsum(loss * size for loss, size in zip(self.losses, self.sizes, strict=True)) / self.samples

    @property
    def accuracy(self) -> float:
        """The fraction of samples hit, 0..1."""
        assert self.correct is not None
        return self.correct / self.samples


def train_epoch(
    network: nn.Module,
    batches: Batches,
    task: Task,
    optimizer: torch.optim.Optimizer,
    *,
    epoch: int = 0,
    scheduler: Scheduler | None = None,
    accumulate: int = 1,
    clip_norm: float | None = None,
    precision: Precision | None = None,
    gradient: GradientStep | None = None,
    average: Average | None = None,
    so_far: PassSoFar | None = None,
    frozen: Sequence[nn.Module] = (),
    observe: Observer = nobody,
) -> PassResult:
    """Train for one epoch (numbered from 0): one optimiser step for each batch, `accumulate` parts a step.

    gradient: of this optimizer, clip_norm and precision, where several epochs share what is recorded of their steps.
    average: follows the weights after each step. so_far: what was done of this epoch already; it begins after that.
    frozen: modules that stay in eval mode, so that their BatchNorm does not move.
    """
    precision = precision or Precision()
    gradient = gradient or GradientStep(network, optimizer, clip_norm=clip_norm, precision=precision)
    meter = _Meter("train", epoch, batches, observe, gradient, so_far)
    gradient.begin(meter.begun, 0 if so_far is None else so_far.missed, frozen)

    def take_step(batch: Batch) -> Taken:
        """All that the device does in a step."""
        gradient.clear()
        loss: Tensor | None = None
        correct: Tensor | None = None
        for part in batch.parts(accumulate, batches.batch_size):
            with precision.autocast():
                outputs = network(part.images)
                task.check(outputs, part)
                weighted = task.loss(outputs, part.targets) * (len(part) / batch.samples)
            gradient.backward(weighted)
            loss = _plus(loss, weighted.detach())
            with torch.no_grad():
                correct = _plus(correct, task.count(outputs, part.targets))
        loss, correct = gradient.of_all(batch, loss, correct)
        return Taken(loss, correct, gradient.take(loss))

    with mode(network, training=True, frozen=frozen), closing(batches.epoch(epoch, meter.begun)) as stream:
        for step, batch in enumerate(stream, start=meter.begun):
            loss, correct, stepped = gradient.run(take_step, batch)
            if stepped and scheduler is not None:
                scheduler.step()
            if stepped and average is not None:
                average.step()
            meter.add(batch, loss, correct)
            observe(StepFinished(epoch=epoch, step=step, samples=batch.samples, loss=loss, so_far=meter.so_far))
    return meter.result()


def evaluate(
    network: nn.Module,
    batches: Batches,
    task: Task,
    *,
    split: str = "validation",
    epoch: int = 0,
    precision: Precision | None = None,
    keep_outputs: bool = False,
    observe: Observer = nobody,
) -> PassResult:
    """Run once over the batches in eval mode, without gradients and without a trace in any generator.

    `keep_outputs`: outputs (n, K) float32 and targets (n,) come back too, on the CPU, in order.
    """
    precision = precision or Precision()
    meter = _Meter(split, epoch, batches, observe)
    kept: list[Tensor] = []
    targets: list[Tensor] = []
    with (
        mode(network, training=False),
        rng.preserved(device_of(network)),
        torch.no_grad(),
        closing(batches.epoch(epoch)) as stream,
    ):
        for batch in stream:
            with precision.autocast():
                outputs = network(batch.images)
                task.check(outputs, batch)
                loss = task.loss(outputs, batch.targets)
            meter.add(batch, loss, task.count(outputs, batch.targets))
            if keep_outputs:
                kept.append(outputs.float())
                targets.append(batch.targets)
    return meter.result_of_all(kept, targets)


@contextmanager
def mode(network: nn.Module, *, training: bool, frozen: Sequence[nn.Module] = ()) -> Iterator[None]:
    """Put the network in train or eval mode, what is frozen in eval mode; then give every module its own mode back."""
    before = [(module, module.training) for module in network.modules()]
    try:
        network.train(training)
        for module in frozen:
            module.eval()
        yield
    finally:
        for module, was in before:
            module.training = was


class _Meter:
    """Keeps losses and hits on the device, and reads them back at most five times a second."""

    def __init__(
        self,
        split: str,
        epoch: int,
        batches: Batches,
        observe: Observer,
        gradient: GradientStep | None = None,
        so_far: PassSoFar | None = None,
    ) -> None:
        self.split, self.epoch, self.batches, self.observe, self.gradient = (
            split,
            epoch,
            batches,
            observe,
            gradient,
        )
        done = so_far or PassSoFar(losses=[], sizes=[])
        self.sizes, self.losses, self.correct = list(done.sizes), list(done.losses), done.correct
        self.begun, self._before = len(self.sizes), done.correct or 0
        self._rows: list[Tensor | None] = []
        self._losses: list[Tensor] = []
        self._correct: Tensor | None = None
        self._sum = sum(loss * size for loss, size in zip(self.losses, self.sizes, strict=True))
        self._samples = sum(self.sizes)
        self._read = time.perf_counter()
        observe(PassStarted(split=split, epoch=epoch, steps=batches.steps, samples=batches.samples))

    def add(self, batch: Batch, loss: Tensor, correct: Tensor | None) -> None:
        self.sizes.append(batch.samples)
        self._rows.append(batch.rows)
        self._losses.append(loss)
        self._correct = _plus(self._correct, correct)
        if time.perf_counter() - self._read >= READ_BACK_SECONDS:
            self._read_back()

    def result(self) -> PassResult:
        if not self.sizes:
            raise InputError(f"the {self.split} data set is empty", found="no samples", wanted="at least 1 sample")
        self._read_back()
        self.observe(PassFinished(split=self.split, epoch=self.epoch))
        return PassResult(losses=self.losses, sizes=self.sizes, correct=self.correct)

    def result_of_all(self, outputs: list[Tensor], targets: list[Tensor]) -> PassResult:
        """The result of a pass whose batches were dealt to the processes: what each of them found, in order."""
        if dist.world() > 1:
            outputs, targets = self._put_together(outputs, targets)
        result = self.result()
        if not outputs:
            return result
        return replace(result, outputs=torch.cat(outputs).cpu(), targets=torch.cat(targets).cpu())

    def _put_together(self, outputs: list[Tensor], targets: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Take what all processes found for one's own; each sample must be there once."""
        self._settle()
        kept = [batch.cpu() for batch in outputs], [batch.cpu() for batch in targets]
        mine = list(zip_longest(self._rows, self.sizes, self.losses, *kept))
        found: list[Any] = dist.gathered((mine, self.correct))
        batches = sorted((batch for part, _ in found for batch in part), key=lambda batch: int(batch[0][0]))
        if not batches:
            return [], []
        rows, sizes, losses, outputs, targets = (list(column) for column in zip(*batches, strict=True))
        if not torch.equal(torch.cat(rows), torch.arange(sum(sizes))):
            raise AssertionError(f"the samples of {self.split} did not all go by once")
        self.sizes, self.losses, self._samples = sizes, losses, sum(sizes)
        self._sum = math.fsum(loss * size for loss, size in zip(losses, sizes, strict=True))
        hits = [correct for _, correct in found if correct is not None]
        self.correct, self._correct = sum(hits) if hits else None, None
        return (outputs, targets) if outputs[0] is not None else ([], [])

    def so_far(self) -> PassSoFar:
        """What is done of this pass, up to now."""
        self._settle()
        missed = int(self.gradient.missed) if self.gradient is not None else 0
        return PassSoFar(losses=list(self.losses), sizes=list(self.sizes), correct=self.correct, missed=missed)

    def _settle(self) -> None:
        """Read back what is still on the device."""
        for loss in torch.stack(self._losses).tolist() if self._losses else []:
            size = self.sizes[len(self.losses)]
            self.losses.append(loss)
            self._sum, self._samples = self._sum + loss * size, self._samples + size
        self._losses.clear()
        if self._correct is not None:
            self.correct = self._before + int(self._correct)
        if self.gradient is not None:
            self._raise_where_bad(int(self.gradient.first_bad))

    def _read_back(self) -> None:
        self._settle()
        self.observe(
            Progress(
                split=self.split,
                epoch=self.epoch,
                step=len(self.sizes) - 1,
                samples=self._samples,
                loss=self._sum / self._samples,
                accuracy=None if self.correct is None else self.correct / self._samples,
            )
        )
        self._read = time.perf_counter()

    def _raise_where_bad(self, step: int) -> None:
        if step < 0:
            return
        indices = self.batches.indices(self.epoch, step)
        damaged = self.batches.damaged(self.epoch, step)
        loss = self.losses[step]
        raise NonFiniteError(
            "the loss is not finite" if not math.isfinite(loss) else "the gradient's norm is not finite",
            epoch=self.epoch,
            step=step,
            indices=indices,
            where=f"epoch {self.epoch + 1}, step {step + 1}"
            + (f", samples {shorten(indices, 64)}" if indices is not None else ""),
            found=f"loss {loss}" + (f"; NaN or inf in the images of samples {shorten(damaged)}" if damaged else ""),
            wanted="a finite loss and gradient; the weights are those from before this step",
            fix="mend these images" if damaged else "lower the learning rate, or clip the gradient's norm",
        )


def _plus(total: Tensor | None, more: Tensor | None) -> Tensor | None:
    return more if total is None else total if more is None else total + more
