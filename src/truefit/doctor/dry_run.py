"""`truefit.doctor.check`: a model, a loss and data tried out for a few steps, with the checks of `doctor run`."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from io import StringIO
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from truefit import loop
from truefit.config import require
from truefit.data.batch import Batch, Batches
from truefit.data.collate import distinct_labels
from truefit.data.shortened import Shortened
from truefit.doctor.checks import run_checks
from truefit.doctor.declarations import parse_declarations
from truefit.doctor.finding import Finding, exit_code, worst_first
from truefit.doctor.log import Log
from truefit.doctor.replay import untouched
from truefit.doctor.report import print_table
from truefit.doctor.watch import Ended, Limits, Watch
from truefit.doctor.watch.windows import window_of
from truefit.errors import InputError
from truefit.functions import evaluation_batches, training_batches
from truefit.precision import device_of
from truefit.tasks.given_loss import GivenLoss

AnySet = Dataset[Any] | DataLoader[Any]
PASSES, SECONDS = 2, 60.0


@dataclass(frozen=True, kw_only=True)
class Checkup:
    """What a dry run found. `print(checkup)` shows it as a table.

    findings: one a check, worst first. notes: sentences on how the dry run went. seconds: what it took.
    """

    findings: list[Finding]
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether no check failed. Warnings and tips stand in `findings`."""
        return exit_code(self.findings) == 0

    def to_json(self) -> dict[str, Any]:
        """Plain values: schema, findings, ok, notes and seconds."""
        return {
            "schema": 1,
            "findings": [finding.to_json() for finding in self.findings],
            "ok": self.ok,
            "notes": self.notes,
            "seconds": self.seconds,
        }

    def __str__(self) -> str:
        stream = StringIO()
        print_table(self.findings, stream, notes=self.notes)
        return stream.getvalue().strip("\n")


def check(
    model: nn.Module,
    loss: Callable[[Tensor, Tensor], Tensor],
    *,
    training_set: AnySet,
    optimizer: torch.optim.Optimizer | None = None,
    validation_set: AnySet | None = None,
    batch_size: int = 32,
    steps: int = 8,
    declare: Sequence[str] = (),
) -> Checkup:
    """Train for two short passes with an evaluation after each, and give the findings of `truefit doctor run`.

    model: gives outputs for images (N, ...). loss: of (outputs, targets), the mean as a 0-d tensor. training_set,
    validation_set: data sets of (image tensor, label), which are then batched by `batch_size`, the first one shuffled;
    or your own DataLoaders, used as they are. optimizer: of the model's parameters; None takes Adam at 1e-3. steps: of
    each pass, at least 4. declare: facts as in a comment `# truefit: ...`, such as "ignore FIT308 (why)".

    The model's weights, buffers, gradients and modes, the optimiser's state, and the generators of Python, NumPy and
    torch are given back as they came, and hashes prove it. What else your own code keeps (a counter in a data set's
    `__getitem__`, a DataLoader's own generator) is not.

    Raises InputError for a training set that gives no (images, targets), an optimiser of something else, labels outside
    the outputs; RuntimeError where something could not be given back. Errors of your own code pass through.
    """
    require(steps >= 4, "steps", steps, "at least 4")
    log = Log()
    for text in declare:
        log.declared |= parse_declarations(text, "declare")
    notes = [] if optimizer is not None else ["no optimizer was given: tried out with Adam at a learning rate of 0.001"]
    loss = _looked_up(loss)
    begin = time.perf_counter()
    with untouched(_whole(model, loss), optimizer):
        watch = Watch(log, limits=Limits(steps=steps, passes=PASSES + 1, seconds=SECONDS))
        with watch:
            if optimizer is None:
                optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-3)
            else:
                window_of(watch, optimizer)
                log.optimizers_made += 1
            try:
                for _ in range(PASSES):
                    _train(model, loss, optimizer, training_set, batch_size)
                    if validation_set is not None:
                        _validate(model, loss, validation_set, batch_size, steps)
            except Ended:
                notes.append(f"ended after {SECONDS:.0f} s")
        log.cut = True
        findings = run_checks(log)
    seconds = round(time.perf_counter() - begin, 3)
    return Checkup(findings=worst_first(findings), notes=notes, seconds=seconds)


def _looked_up(loss: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """A function of torch.nn.functional by its name, so that it is the watched one that is called."""
    name = getattr(loss, "__name__", "")
    if getattr(F, name, None) is not loss:
        return loss
    return lambda outputs, targets: getattr(F, name)(outputs, targets)


def _whole(model: nn.Module, loss: Any) -> nn.Module:
    """The model, with a loss that has weights of its own."""
    return nn.ModuleList([model, loss]) if isinstance(loss, nn.Module) else model


def _train(model: nn.Module, loss: Any, optimizer: torch.optim.Optimizer, data: AnySet, batch_size: int) -> None:
    batches = _Loaded(data, model) if isinstance(data, DataLoader) else training_batches(model, data, batch_size)
    loop.train_epoch(model, batches, GivenLoss(loss), optimizer)


def _validate(model: nn.Module, loss: Any, data: AnySet, batch_size: int, steps: int) -> None:
    batches: Batches
    if isinstance(data, DataLoader):
        batches = _Loaded(data, model)
    else:
        batches = Shortened(evaluation_batches(model, data, batch_size, "validation set"), steps)
    loop.evaluate(model, batches, GivenLoss(loss))


class _Loaded:
    """A DataLoader of somebody's as the loop wants it: the watch sees its passes, and cuts them."""

    def __init__(self, loader: DataLoader[Any], model: nn.Module) -> None:
        self.loader, self.device = loader, device_of(model)
        self.batch_size = loader.batch_size or 1
        self.samples = self.steps = None

    def epoch(self, epoch: int, first: int = 0) -> Generator[Batch, None, None]:
        for parts in self.loader:
            images, targets = _images_and_targets(parts)
            yield Batch(images.to(self.device), targets.to(self.device), distinct_labels(targets))

    def indices(self, epoch: int, step: int) -> list[int] | None:
        return None

    def damaged(self, epoch: int, step: int) -> list[int]:
        return []


def _images_and_targets(parts: Any) -> tuple[Tensor, Tensor]:
    values = list(parts.values()) if isinstance(parts, Mapping) else parts
    if not isinstance(values, list | tuple) or len(values) < 2 or not all(isinstance(v, Tensor) for v in values[:2]):
        raise InputError(
            "a DataLoader must give batches of (images, targets)",
            found=type(parts).__name__,
            wanted="two tensors, images first",
        )
    images, targets = values[:2]
    whole = targets.ndim == 1 and not targets.is_floating_point() and targets.dtype != torch.bool
    return images, targets.to(torch.int64) if whole else targets
