"""How the steps of a training are run on a GPU: one call after another, as a CUDA graph, or compiled.

A step of a small network is hundreds of kernels of a few microseconds, and the host takes longer to ask for them than
the device to run them. As a graph the whole step (forward, loss, backward, clipping, update) is recorded once and then
asked for by a single call: the same kernels in the same order, without waiting for the host.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from truefit.data.batch import Batch

# Steps that are run before one is recorded: libraries choose their kernels, optimisers make their state.
WARM_UP = 3
# Shapes of batches that are recorded: those of a training whose images grow, and no more.
MOST_GRAPHS = 4


class Taken(NamedTuple):
    """What a step gave: its mean loss (0-d), its hits (0-d, or None where they are not counted), and whether the
    weights were stepped, as far as the host knows."""

    loss: Tensor
    correct: Tensor | None
    stepped: bool


Step = Callable[[Batch], Taken]


class Recorder:
    """Runs steps, and replays them once they are recorded. For a training on one CUDA device, in one process.

    What a step decides in Python it decides while it is recorded, so a network must not choose there by what it has
    counted or drawn on the host. say: told where recording fails; the steps are then run as they were.
    """

    def __init__(self, parameters: Sequence[Tensor], device: torch.device, say: Callable[[str], None]) -> None:
        self.parameters, self.device, self.say = parameters, device, say
        self.stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self.pool: Any = None
        self.graphs: dict[Any, _Recorded] = {}
        self.seen: Counter[Any] = Counter()
        self.kind: tuple[Any, ...] = ()
        self.given_up = False
        # The range of the labels that were checked: those of a replayed step must lie in it.
        self.lowest, self.highest = 0, -1

    def begin(self, frozen: Sequence[nn.Module]) -> None:
        """An epoch begins, with these modules frozen."""
        kind = (tuple(map(id, frozen)), tuple(parameter.requires_grad for parameter in self.parameters))
        if kind != self.kind:
            # What was recorded is not needed again, and holds the memory of whole steps.
            self.kind = kind
            self.graphs.clear()
            self.seen.clear()

    def __call__(self, step: Step, batch: Batch) -> Taken:
        if self.given_up:
            return step(batch)
        shapes = [(part.shape, part.stride(), part.dtype) for part in (batch.images, batch.targets)]
        key = tuple(shapes)
        if key in self.graphs and self._has_checked(batch):
            return self.graphs[key].replay(batch, self.parameters)
        self.seen[key] += 1
        if key not in self.graphs and self.seen[key] > WARM_UP and len(self.graphs) < MOST_GRAPHS:
            recorded = self._record(step, batch)
            if recorded is None:
                return step(batch)
            self.graphs[key] = recorded
            return recorded.replay(batch, self.parameters)
        # On the stream that it is recorded on later: gradients must not be tied to another one by then.
        current = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream):
            taken = step(batch)
        current.wait_stream(self.stream)
        if batch.labels:
            self.lowest, self.highest = min(self.lowest, batch.labels[0]), max(self.highest, batch.labels[-1])
        return taken

    def _has_checked(self, batch: Batch) -> bool:
        return not batch.labels or (self.lowest <= batch.labels[0] and batch.labels[-1] <= self.highest)

    def _record(self, step: Step, batch: Batch) -> _Recorded | None:
        """The step as a graph: nothing of it has happened. None where it can't be recorded."""
        fixed = Batch(batch.images.clone(), batch.targets.clone(), batch.labels)
        for parameter in self.parameters:
            parameter.grad = None
        graph = torch.cuda.CUDAGraph()
        generator = torch.cuda.default_generators[batch.images.get_device()]
        drawn = generator.clone_state()
        try:
            with torch.cuda.graph(
                graph,
                pool=self.pool,
                stream=self.stream,
                # The thread that pins a DataLoader's batches goes on meanwhile.
                capture_error_mode="thread_local",
            ):
                taken = step(fixed)
        except RuntimeError as error:
            with suppress(RuntimeError):
                torch.cuda.synchronize(self.device)
            # It still counts what it draws as a part of the graph.
            generator.graphsafe_set_state(drawn)
            self._give_up(str(error).splitlines()[0])
            return None
        self.pool = graph.pool()
        return _Recorded(graph, fixed, taken, [parameter.grad for parameter in self.parameters])

    def _give_up(self, why: str) -> None:
        self.given_up = True
        self.graphs.clear()
        for parameter in self.parameters:
            parameter.grad = None
        self.say(f"this network's steps can't be recorded as a CUDA graph, and are run one call after another: {why}")


@dataclass(frozen=True)
class _Recorded:
    """A step as a graph, with the tensors that it reads and writes."""

    graph: torch.cuda.CUDAGraph
    batch: Batch
    taken: Taken
    gradients: list[Tensor | None]

    def replay(self, batch: Batch, parameters: Sequence[Tensor]) -> Taken:
        self.batch.images.copy_(batch.images)
        self.batch.targets.copy_(batch.targets)
        self.graph.replay()
        for parameter, gradient in zip(parameters, self.gradients, strict=True):
            parameter.grad = gradient
        correct = None if self.taken.correct is None else self.taken.correct.clone()
        # The next replay writes to these again.
        return Taken(self.taken.loss.clone(), correct, True)


@contextmanager
def compiled(network: nn.Module, wanted: bool) -> Iterator[None]:
    """Within this the network's forward goes through torch.compile, where that is wanted; its hooks do not."""
    if not wanted:
        yield
        return
    own = network.__dict__.get("forward")
    # For each size of images by itself: kernels for any size are slower.
    network.forward = torch.compile(network.forward, dynamic=False)
    try:
        yield
    finally:
        del network.forward
        if own is not None:
            network.forward = own
