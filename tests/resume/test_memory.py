"""Memory for the copies of a state is there before the first of them is made."""

from __future__ import annotations

from pathlib import Path

import torch

from truefit.checkpoint.interval import Interval
from truefit.checkpoint.saver import Saver
from truefit.checkpoint.signals import Signals
from truefit.checkpoint.store import Position, Store
from truefit.checkpoint.tree import blank, flatten
from truefit.events import PassSoFar, StepFinished, nobody

TREE = {
    "weights": [torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last), torch.randn(5)],
    "count": {"steps": torch.tensor(3), "name": "x"},
}
STEP = StepFinished(epoch=0, step=0, samples=1, loss=torch.zeros(()), so_far=lambda: PassSoFar(losses=[], sizes=[]))


def test_copies_are_made_into_the_memory_that_was_fetched():
    memory = blank(TREE)
    _, copies = flatten(TREE, memory)
    assert copies.keys() == memory.keys()
    assert all(copies[name] is memory[name] for name in memory)
    assert torch.equal(copies["/weights/0"], TREE["weights"][0])


def test_memory_is_fetched_after_the_first_step(tmp_path: Path):
    saver = Saver(Store(tmp_path), Interval(), lambda: (Position(0, 1), TREE), Signals(), notify=nobody)
    saver(STEP)
    saver.wait()
    places = {name: tensor.data_ptr() for name, tensor in saver._buffers.items()}
    assert len(places) == 3
    saver.end_of_epoch()
    saver.wait()
    assert {name: tensor.data_ptr() for name, tensor in saver._buffers.items()} == places
    assert saver.saved == 1
