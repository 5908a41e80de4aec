"""DataLoaders: each pass over one, its order and labels, and where it is cut."""

from __future__ import annotations

import dis
import sys
import weakref
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data.dataloader import _BaseDataLoaderIter

from truefit.doctor.callsite import call_site, user_frame
from truefit.doctor.finding import Where
from truefit.doctor.log import LoaderSeen, Pass
from truefit.doctor.watch import windows
from truefit.doctor.watch.watch import Ended, Watch

MOST_LABELS = 100_000
# Samples of a pass's first batch that are kept, of the first three passes over a loader.
FIRST = 16


def install(watch: Watch) -> None:
    """Wrap DataLoader.__iter__ and what its iterators give."""
    running: weakref.WeakKeyDictionary[Any, Pass] = weakref.WeakKeyDictionary()
    made: weakref.WeakKeyDictionary[Any, Where] = weakref.WeakKeyDictionary()

    def make_init(original: Any) -> Any:
        def init(loader: Any, *args: Any, **kwargs: Any) -> None:
            original(loader, *args, **kwargs)
            if watch.listening():
                made[loader] = call_site()

        return init

    def make_iter(original: Any) -> Any:
        def iterate(loader: DataLoader[Any]) -> Any:
            if not watch.listening():
                return original(loader)
            begin_or_end(watch, loader)
            iterator = original(loader)
            running[iterator] = new_pass(watch, loader, made.get(loader))
            return iterator

        return iterate

    def make_next(original: Any) -> Any:
        def following(iterator: Any) -> Any:
            current = running.get(iterator)
            if current is None or not watch.listening():
                return original(iterator)
            watch.check_time()
            limits = watch.limits
            if limits is not None and current.batches >= limits.steps and _asked_by_a_loop(sys._getframe(1)):
                current.ended, current.end = "cut", watch.now()
                watch.log.cut = True
                leave(watch, current)
                raise StopIteration
            watch.current = current
            try:
                batch = original(iterator)
            except StopIteration:
                current.ended, current.end = "complete", watch.now()
                leave(watch, current)
                raise
            current.batches += 1
            windows.fetched(watch)
            note_batch(watch, current, batch)
            return batch

        return following

    def make_index(original: Any) -> Any:
        def next_index(iterator: Any) -> Any:
            index = original(iterator)
            current = running.get(iterator)
            current = current or watch.starting
            if watch.on and len(current.order) < MOST_LABELS and isinstance(index, list):
                current.order.extend(one for one in index if isinstance(one, int))
            return index

        return next_index

    watch.patch(DataLoader, "__init__", make_init)
    watch.patch(DataLoader, "__iter__", make_iter)
    watch.patch(_BaseDataLoaderIter, "__next__", make_next)
    watch.patch(_BaseDataLoaderIter, "_next_index", make_index)


def begin_or_end(watch: Watch, loader: Any) -> None:
    """A pass that is still running has been left; a script that has trained enough ends here."""
    # Worker processes are asked for their first batches while the iterator is made: its order starts here.
    watch.starting = Pass(number=-1, loader=0, where=call_site(), begin=0)
    limits = watch.limits
    if limits is None:
        return
    trained = [one for one in watch.log.passes if one.trains]
    trains = any(one.loader == id(loader) for one in trained)
    if trains and len(trained) >= limits.passes:
        watch.log.cut = True
        raise Ended


def new_pass(watch: Watch, loader: Any, made_at: Where | None = None) -> Pass:
    where = call_site()
    seen = watch.log.loaders.get(id(loader))
    if seen is None:
        place = made_at if made_at is not None and made_at.file else where
        seen = LoaderSeen(key=id(loader), loader=loader, where=place, name=_name(loader))
        watch.log.loaders[id(loader)] = seen
    for one in watch.log.passes:
        if one.loader == id(loader) and not one.ended:
            one.ended, one.end = "left", watch.now()
    made = Pass(number=len(watch.log.passes), loader=id(loader), where=where, begin=watch.now())
    made.order.extend(watch.starting.order)
    watch.log.passes.append(made)
    return made


def leave(watch: Watch, current: Pass) -> None:
    """After an inner pass ends, an outer one that still runs goes on."""
    watch.labels = watch.batch = None
    if watch.current is current:
        outer = [one for one in watch.log.passes if not one.ended and one.backwards]
        watch.current = outer[-1] if outer else current


def note_batch(watch: Watch, current: Pass, batch: Any) -> None:
    parts = list(batch.values()) if isinstance(batch, dict) else batch
    tensors = [one for one in parts if isinstance(one, Tensor) and one.ndim] if isinstance(parts, list | tuple) else []
    current.sizes.append(len(tensors[0]) if tensors else 0)
    if current.batches == 1 and tensors and sum(one.loader == current.loader for one in watch.log.passes) <= 3:
        current.first = tensors[0][:FIRST].detach().clone()
    watch.batch, watch.labels = (parts if tensors else None), None
    for tensor in reversed(tensors[1:]):
        if tensor.ndim == 1 and tensor.dtype in (torch.int64, torch.int32, torch.uint8, torch.int16):
            watch.labels = tensor
            if len(current.labels) < MOST_LABELS:
                current.labels.extend(tensor.tolist())
            break


def _asked_by_a_loop(frame: Any) -> bool:
    """Whether a `for` asks: it takes the end well. A bare next() in a counted loop would not."""
    return bool(dis.opname[frame.f_code.co_code[frame.f_lasti]] == "FOR_ITER")


def _name(loader: Any) -> str:
    """What the script calls this loader or its data set, in the functions that are running, in the attributes of what
    their methods belong to, and in dictionaries of either; outermost last."""
    names: list[str] = []
    frame = user_frame(sys._getframe(1))
    things = [loader, getattr(loader, "dataset", None)]
    while frame is not None:
        known = dict(frame.f_locals)
        known |= dict(getattr(known.get("self"), "__dict__", {}))
        for held in [one for one in known.values() if type(one) is dict and len(one) <= 10]:
            known |= {key: value for key, value in held.items() if isinstance(key, str) and key not in known}
        for name, value in known.items():
            if any(value is thing for thing in things) and name not in names and name.isidentifier():
                names.append(name)
        frame = user_frame(frame.f_back) if frame.f_back is not None else None
    return ", ".join(names)
