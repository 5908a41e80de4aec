"""The single operations of a replayed call, each with the line of the user's code that asked for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from truefit.doctor.callsite import call_site
from truefit.doctor.finding import Where

# Operations of one call that are looked at.
MOST = 20_000
_RELUS = (F.relu, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_)


class Operations(TorchFunctionMode):
    """`with Operations(note):` calls note(where, arrays among the arguments, result) after each operation on tensors.
    `function` is the operation, `no_grad` the line that last turned gradients off."""

    def __init__(self, note: Callable[[Where, list[Any], Any], None]) -> None:
        super().__init__()
        self.note, self.no_grad, self.count = note, Where(), 0
        self.function: Any = None

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        if function is torch._C._set_grad_enabled:
            self.no_grad = Where() if args and args[0] else call_site()
            return result
        self.count += 1
        if self.count <= MOST:
            self.function = function
            with torch._C.DisableTorchFunction():
                self.note(call_site(), list(arrays_in((args, kwargs))), result)
        return result


def arrays_in(value: Any) -> Iterator[Any]:
    """The tensors and arrays of floating numbers in arguments or results, also within lists and dictionaries."""
    if (isinstance(value, Tensor) and value.is_floating_point()) or (isinstance(value, np.ndarray) and value.ndim):
        yield value
    elif isinstance(value, list | tuple):
        for part in value:
            yield from arrays_in(part)
    elif isinstance(value, dict):
        yield from arrays_in(list(value.values()))


def mixes_samples(run: Callable[[Any], Any], inputs: Any, others: Any, count: int) -> Where | None:
    """The first line at which what is computed for one of `count` samples can't be told from what is computed for the
    rest: two calls that share this sample alone are compared operation by operation. Each result should have an axis
    along which a share of 1 / count is the same in both."""
    before: list[tuple[Where, list[Tensor]]] = []

    def remember(where: Where, _: list[Any], result: Any) -> None:
        before.append((where, [one.detach().clone() for one in arrays_in(result) if isinstance(one, Tensor)]))

    found: list[Where] = []
    at = 0

    def compare(where: Where, _: list[Any], result: Any) -> None:
        nonlocal at
        then, values = before[at] if at < len(before) else (Where(), [])
        at += 1
        now = [one for one in arrays_in(result) if isinstance(one, Tensor)]
        if found or then != where or not where.file or [one.shape for one in now] != [one.shape for one in values]:
            return
        if not all(_apart(a, b, count) for a, b in zip(values, now, strict=True)):
            found.append(where)

    with Operations(remember):
        run(inputs)
    with Operations(compare):
        run(others)
    return found[0] if found else None


def _apart(one: Tensor, two: Tensor, count: int) -> bool:
    same = torch.isclose(one, two.detach(), rtol=1e-4, atol=1e-6)
    if bool(same.all()):
        return True
    axes = (axis for axis, size in enumerate(same.shape) if size % count == 0)
    return any(
        int(same.movedim(axis, 0).flatten(1).all(dim=1).sum() if same.ndim > 1 else same.sum()) * count
        >= same.shape[axis]
        for axis in axes
    )


def cuts_graph(run: Callable[[], list[Tensor]], parameters: list[Tensor]) -> Where | None:
    """The first line that takes what depends on one of the parameters, and gives something without a gradient from
    which the outputs are made."""
    wanted = {id(one) for one in parameters}
    cuts: list[Where] = []
    # Which cuts each result was made behind; results are kept alive, as they are told apart by their ids.
    behind: dict[int, tuple[Any, frozenset[int]]] = {}

    def cuts_in(things: list[Any]) -> frozenset[int]:
        return frozenset().union(*(behind[id(one)][1] for one in things if id(one) in behind))

    def note(where: Where, given: list[Any], result: Any) -> None:
        results = list(arrays_in(result))
        found = cuts_in(given)
        lost = bool(results) and not any(getattr(one, "requires_grad", False) for one in results)
        tensors = [one for one in given if isinstance(one, Tensor)]
        if lost and any(id(one) in wanted or _reaches(one, wanted) for one in tensors):
            place = operations.no_grad if not torch.is_grad_enabled() and operations.no_grad.file else where
            found |= {len(cuts)}
            cuts.append(place)
        for one in results:
            behind[id(one)] = one, found

    operations = Operations(note)
    with operations:
        outputs = run()
    reached = sorted(cuts_in(outputs)) or range(len(cuts))
    return next((cuts[number] for number in reached if cuts[number].file), None)


def _reaches(tensor: Tensor, wanted: set[int]) -> bool:
    """Whether the graph behind a tensor leads to one of the parameters."""
    todo, seen = [tensor.grad_fn], set()
    while todo:
        node: Any = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if id(getattr(node, "variable", None)) in wanted:
            return True
        todo += [following for following, _ in node.next_functions]
    return False


def never_positive(run: Callable[[], Any]) -> list[tuple[Where, Tensor]]:
    """For each ReLU in the order of a call: its line, and which of its units (bool) were zero for all samples."""
    found: list[tuple[Where, Tensor]] = []

    def note(where: Where, _: list[Any], result: Any) -> None:
        if operations.function not in _RELUS or not isinstance(result, Tensor) or result.ndim < 2:
            return
        # Units are the channels of images, and the last axis of sequences.
        units = 2 if result.ndim == 3 else 1
        found.append((where, (result.detach() <= 0).movedim(units, 0).flatten(1).all(dim=1)))

    operations = Operations(note)
    with operations:
        run()
    return found
