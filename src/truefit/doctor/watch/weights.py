"""Weights and training states: taken, loaded, saved and read. With limits, no written file replaces one."""

from __future__ import annotations

import copy
import os
import shutil
import weakref
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from truefit.doctor.callsite import call_site
from truefit.doctor.log import Kept, Loaded, Read, Saved
from truefit.doctor.watch.watch import Watch

EPOCH_KEYS = {"epoch", "epochs", "start_epoch", "last_epoch", "global_step", "step", "iteration"}


class Taken:
    """Tensors that state_dict() gave, with the number of steps taken by then."""

    def __init__(self) -> None:
        self.steps: dict[int, tuple[weakref.ref[Tensor], int]] = {}

    def add(self, state: Any, steps: int) -> None:
        for value in state.values():
            if isinstance(value, Tensor) and value.is_floating_point():
                self.steps[id(value)] = (weakref.ref(value), steps)

    def age(self, value: Any, steps: int) -> int:
        """Steps since this very tensor was given; 0 where it was not."""
        reference, then = self.steps.get(id(value), (None, steps))
        return steps - then if reference is not None and reference() is value else 0


def install(watch: Watch) -> None:
    """Wrap state_dict and load_state_dict, torch.save and torch.load, and safetensors where it is."""
    taken = Taken()
    read: list[tuple[int, Any]] = []
    _models(watch, taken, read)
    _others(watch, read)
    _files(watch, taken, read)
    _safetensors(watch)
    _moves(watch)


def _checkpoint(read: list[tuple[int, Any]], state: Any) -> int | None:
    """The number of the read file that this state came from."""
    for number, content in read:
        if content is state or (isinstance(content, dict) and any(value is state for value in content.values())):
            return number
    return None


def _models(watch: Watch, taken: Taken, read: list[tuple[int, Any]]) -> None:
    def make_state(original: Any) -> Any:
        def state_dict(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
            if not watch.listening() or args or kwargs.get("prefix"):
                return original(module, *args, **kwargs)
            watch.on = False
            try:
                state = original(module, *args, **kwargs)
            finally:
                watch.on = True
            taken.add(state, watch.log.steps)
            watch.add(Kept(at=watch.now(), where=call_site(), model=id(module)))
            return state

        return state_dict

    def make_load(original: Any) -> Any:
        def load_state_dict(module: nn.Module, state: Any, *args: Any, **kwargs: Any) -> Any:
            if not watch.listening():
                return original(module, state, *args, **kwargs)
            watch.on = False
            try:
                live = module.state_dict()
                shared = [(live[k], state[k]) for k in live if isinstance(state.get(k), Tensor) and live[k].numel()]
                alias = bool(shared) and all(a.data_ptr() == b.data_ptr() for a, b in shared)
                age = max((taken.age(b, watch.log.steps) for _, b in shared), default=0) if alias else 0
                matched = {k for k in live if k in state}
                held = {id(p) for k, p in module.named_parameters() if k in matched}
                event = Loaded(
                    at=watch.now(),
                    where=call_site(type(module).__name__),
                    what="model",
                    target=id(module),
                    keys=len(live),
                    missing=len(live) - len(matched),
                    unexpected=len(set(state) - set(live)),
                    alias=alias,
                    age=age,
                    example=_example(live, state),
                    checkpoint=_checkpoint(read, state),
                    parameters=frozenset(held),
                    digest=_sum([b for _, b in shared if b.is_floating_point()]),
                )
                result = original(module, state, *args, **kwargs)
            finally:
                watch.on = True
            watch.add(event)
            return result

        return load_state_dict

    def make_copy(original: Any) -> Any:
        def deepcopy(x: Any, *args: Any, **kwargs: Any) -> Any:
            if isinstance(x, nn.Module) and watch.listening() and watch.log.steps and watch.inside is None:
                watch.add(Kept(at=watch.now(), where=call_site(), model=id(x)))
            return original(x, *args, **kwargs)

        return deepcopy

    watch.patch(copy, "deepcopy", make_copy)
    watch.patch(nn.Module, "state_dict", make_state)
    watch.patch(nn.Module, "load_state_dict", make_load)


def _sum(tensors: list[Tensor]) -> float:
    return float(sum(float(one) for one in torch._foreach_norm([t.detach() for t in tensors]))) if tensors else 0.0


def _example(live: Any, state: Any) -> str:
    wanted = next((key for key in live if key not in state), "")
    given = next((key for key in state if key not in live), "")
    return f'the model\'s "{wanted}", the file\'s "{given}"' if wanted and given else ""


def _others(watch: Watch, read: list[tuple[int, Any]]) -> None:
    def make(what: str) -> Any:
        def wrap(original: Any) -> Any:
            def load_state_dict(owner: Any, state: Any, *args: Any, **kwargs: Any) -> Any:
                result = original(owner, state, *args, **kwargs)
                if watch.listening():
                    watch.add(
                        Loaded(
                            at=watch.now(),
                            where=call_site(type(owner).__name__),
                            what=what,
                            target=id(owner),
                            checkpoint=_checkpoint(read, state),
                        )
                    )
                return result

            return load_state_dict

        return wrap

    watch.patch(torch.optim.Optimizer, "load_state_dict", make("optimizer"))
    watch.patch(LRScheduler, "load_state_dict", make("scheduler"))
    watch.patch(torch.amp.GradScaler, "load_state_dict", make("scaler"))


def _files(watch: Watch, taken: Taken, read: list[tuple[int, Any]]) -> None:
    def make_save(original: Any) -> Any:
        def save(obj: Any, f: Any, *args: Any, **kwargs: Any) -> Any:
            if not watch.listening():
                return original(obj, f, *args, **kwargs)
            age = max((taken.age(value, watch.log.steps) for value in _tensors(obj)), default=0)
            watch.add(Saved(at=watch.now(), where=call_site(), path=str(f)[:200], alias_age=age))
            return original(obj, _redirect(watch, f), *args, **kwargs)

        return save

    def make_load(original: Any) -> Any:
        def load(f: Any, *args: Any, **kwargs: Any) -> Any:
            content = original(_written(watch, f), *args, **kwargs)
            if watch.listening() and isinstance(content, dict):
                number = len(read)
                read.append((number, content))
                states = tuple(filter(None, (_kind(value) for value in content.values())))
                epoch = bool(EPOCH_KEYS & {key for key in content if isinstance(key, str)})
                watch.add(
                    Read(
                        at=watch.now(),
                        where=call_site(),
                        number=number,
                        states=states,
                        epoch=epoch,
                        path=str(f)[:200],
                    )
                )
            return content

        return load

    watch.patch(torch, "save", make_save)
    watch.patch(torch, "load", make_load)


def _safetensors(watch: Watch) -> None:
    try:
        import safetensors.torch as library
    except ImportError:
        return
    for name in ("save_file", "save_model"):
        position = 1

        def make(original: Any, position: int = position) -> Any:
            def save(first: Any, filename: Any, *args: Any, **kwargs: Any) -> Any:
                return original(first, _redirect(watch, filename), *args, **kwargs)

            return save

        watch.patch(library, name, make)

    def make_load(original: Any) -> Any:
        def load_file(filename: Any, *args: Any, **kwargs: Any) -> Any:
            return original(_written(watch, filename), *args, **kwargs)

        return load_file

    watch.patch(library, "load_file", make_load)


def _redirect(watch: Watch, target: Any) -> Any:
    if not watch.listening() or watch.scratch is None or not isinstance(target, str | os.PathLike):
        return target
    watch.redirected.append(str(target))
    if watch.is_new(target):
        watch.made.add(Path(target).absolute())
        return target
    place: Path = watch.place(target)
    place.parent.mkdir(parents=True, exist_ok=True)
    return place


def _moves(watch: Watch) -> None:
    """Files that the script saved, and then renames or copies, as many do to keep the best or to write whole files."""
    copyfile_before = shutil.copyfile

    def make_move(original: Any) -> Any:
        def move(src: Any, dst: Any, **kwargs: Any) -> None:
            source = _saved(watch, src)
            if source is None or kwargs:
                original(src, dst, **kwargs)
                return
            place = _redirect(watch, dst)
            if place is dst:
                shutil.move(source, dst) if source != Path(src).absolute() else original(src, dst)
            else:
                copyfile_before(source, place)
                source.unlink()
            watch.made.discard(source)

        return move

    def make_copy(original: Any) -> Any:
        def copyfile(src: Any, dst: Any, *args: Any, **kwargs: Any) -> Any:
            source = _saved(watch, src)
            if source is None:
                return original(src, dst, *args, **kwargs)
            original(source, _redirect(watch, dst), *args, **kwargs)
            return dst

        return copyfile

    watch.patch(os, "replace", make_move)
    watch.patch(os, "rename", make_move)
    watch.patch(shutil, "copyfile", make_copy)


def _saved(watch: Watch, path: Any) -> Path | None:
    """Where a file that this script has saved lies; None for any other."""
    if not watch.listening() or watch.scratch is None or not isinstance(path, str | os.PathLike):
        return None
    place: Path = watch.place(path)
    target = Path(path).absolute()
    return place if place.is_file() else target if target in watch.made else None


def _written(watch: Watch, source: Any) -> Any:
    """What this script has written is read from where it went."""
    if watch.scratch is not None and isinstance(source, str | os.PathLike):
        place: Path = watch.place(source)
        if place.exists():
            return place
    return source


def _tensors(obj: Any, depth: int = 3) -> list[Tensor]:
    if isinstance(obj, Tensor):
        return [obj]
    if isinstance(obj, dict) and depth:
        return [found for value in obj.values() for found in _tensors(value, depth - 1)]
    return []


def _kind(value: Any) -> str | None:
    if not isinstance(value, dict):
        return None
    if {"state", "param_groups"} <= set(value):
        return "optimizer"
    if "growth_factor" in value:
        return "scaler"
    return "scheduler" if "last_epoch" in value else None
