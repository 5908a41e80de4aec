"""Optimisers and schedulers: their making, and each of their steps."""

from __future__ import annotations

import sys
import time
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from truefit.doctor.callsite import call_site, user_frame
from truefit.doctor.log import OptimizerSeen, Scheduled, SchedulerSeen, Step
from truefit.doctor.watch import windows
from truefit.doctor.watch.watch import Watch

# Steps whose effect on the weights is measured, and how many tensors of each.
MEASURED, TENSORS = 20, 4
# Tensors whose norms are compared between processes.
DIGESTED = 16


def install(watch: Watch) -> None:
    """Global hooks of torch.optim, and a wrapper around the making of optimisers and schedulers."""
    before: dict[int, list[tuple[Tensor, Tensor]]] = {}
    frozen: dict[int, list[tuple[Tensor, Tensor]]] = {}
    norms: dict[int, tuple[float, float] | None] = {}

    def make(original: Any) -> Any:
        def init(optimizer: Any, *args: Any, **kwargs: Any) -> None:
            original(optimizer, *args, **kwargs)
            if watch.listening():
                windows.window_of(watch, optimizer)
                watch.log.optimizers_made += 1

        return init

    watch.patch(torch.optim.Optimizer, "__init__", make)

    def pre(optimizer: Any, args: Any, kwargs: Any) -> None:
        if not watch.listening():
            return
        seen = _seen(watch, optimizer)
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        if seen.steps < MEASURED:
            live = [p for p in parameters if p.grad is not None and p.requires_grad and not p.grad.is_sparse]
            chosen = [p for p in sorted(live, key=Tensor.numel)[:64] if bool(p.grad.any())][:TENSORS]
            before[id(optimizer)] = [(p, p.detach().clone()) for p in chosen]
        summed = windows.window_of(watch, optimizer).summed
        norms[id(optimizer)] = (summed, windows.norm(parameters) or 0.0) if summed is not None else None
        still = [p for p in parameters if not p.requires_grad and p.grad is not None]
        frozen[id(optimizer)] = [(p, p.detach().clone()) for p in still]
        for p in parameters:
            if p.grad is None and p.requires_grad:
                seen.without_gradient[id(p)] = seen.without_gradient.get(id(p), 0) + 1

    def post(optimizer: Any, args: Any, kwargs: Any) -> None:
        if not watch.listening():
            return
        seen, window = _seen(watch, optimizer), windows.window_of(watch, optimizer)
        pairs = before.pop(id(optimizer), [])
        changed = any(not torch.equal(p.detach(), old) for p, old in pairs) if pairs else None
        for p, old in frozen.pop(id(optimizer), []):
            if not torch.equal(p.detach(), old):
                seen.moved_frozen[id(p)] = seen.moved_frozen.get(id(p), 0) + 1
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        suspicious = window.dropped > 0 and window.kept == 0
        empty = all(p.grad is None for p in parameters) or (suspicious and not windows.norm(parameters))
        current = watch.current
        watch.add(
            Step(
                at=watch.now(),
                optimizer=seen.key,
                number=seen.steps,
                where=call_site(type(optimizer).__name__),
                rates=tuple(float(group["lr"]) for group in optimizer.param_groups if "lr" in group),
                backwards=window.backwards,
                fetches=window.fetches,
                dropped=window.dropped,
                clean=window.clean,
                stale=window.stale,
                empty=empty,
                changed=changed,
                loader_pass=current.number if current is not None else None,
                norms=norms.pop(id(optimizer), None),
                code=_code(),
                digest=_digest(watch, parameters, seen.steps),
            )
        )
        seen.steps += 1
        window.steps += 1
        window.reset()
        if current is not None and not current.ended:
            current.steps += 1
        if watch.first_step is None:
            watch.first_step = time.perf_counter()
        watch.check_time()

    def make_replicas(original: Any) -> Any:
        def init(wrapper: Any, *args: Any, **kwargs: Any) -> None:
            original(wrapper, *args, **kwargs)
            watch.log.replicated = watch.log.replicated or watch.listening()

        return init

    watch.patch(torch.nn.parallel.DistributedDataParallel, "__init__", make_replicas)
    watch.on_exit(register_optimizer_step_pre_hook(pre).remove)
    watch.on_exit(register_optimizer_step_post_hook(post).remove)
    _install_schedulers(watch)


def _digest(watch: Watch, parameters: list[Tensor], step: int) -> tuple[float, ...] | None:
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return None
    watch.log.rank = torch.distributed.get_rank(), torch.distributed.get_world_size()
    plain = [p.detach() for p in parameters if type(p) in (Tensor, torch.nn.Parameter)]
    if watch.log.rank[1] < 2 or len(plain) < len(parameters) or (step >= MEASURED and step % 10):
        return None
    return tuple(float(one) for one in torch._foreach_norm(plain)[:DIGESTED])


def _code() -> int:
    """The function of the user's that takes the step, by its code."""
    frame = user_frame(sys._getframe(1))
    return id(frame.f_code) if frame is not None else 0


def _seen(watch: Watch, optimizer: Any) -> OptimizerSeen:
    seen = watch.log.optimizers.get(id(optimizer))
    if seen is None:
        seen = OptimizerSeen(key=id(optimizer), optimizer=optimizer, where=call_site(type(optimizer).__name__))
        watch.log.optimizers[id(optimizer)] = seen
    return seen


def _install_schedulers(watch: Watch) -> None:
    # Only the outermost step of a scheduler counts: not those in its making, nor those of schedulers inside it.
    busy: list[Any] = []
    patched: set[type] = set()

    def make_step(original: Any) -> Any:
        def step(scheduler: Any, *args: Any, **kwargs: Any) -> Any:
            if busy or not watch.listening():
                return original(scheduler, *args, **kwargs)
            busy.append(scheduler)
            try:
                result = original(scheduler, *args, **kwargs)
            finally:
                busy.pop()
            seen = watch.log.schedulers.get(id(scheduler))
            if seen is not None:
                watch.add(
                    Scheduled(
                        at=watch.now(),
                        scheduler=seen.key,
                        where=call_site(type(scheduler).__name__),
                        rate=float(seen.optimizer.param_groups[0]["lr"]),
                        loader_pass=_running(watch),
                    )
                )
            return result

        return step

    def patch_step(kind: type) -> None:
        # On the class, never on the instance: a scheduler's state_dict is all that stands in its __dict__.
        for one in kind.__mro__:
            if "step" in vars(one) and one not in patched:
                patched.add(one)
                watch.patch(one, "step", make_step)

    def make_init(original: Any) -> Any:
        def init(scheduler: Any, optimizer: Any, *args: Any, **kwargs: Any) -> None:
            if watch.listening():
                if id(scheduler) not in watch.log.schedulers:
                    where = call_site(type(scheduler).__name__)
                    seen = SchedulerSeen(key=id(scheduler), scheduler=scheduler, where=where, optimizer=optimizer)
                    watch.log.schedulers[id(scheduler)] = seen
                patch_step(type(scheduler))
            busy.append(scheduler)
            try:
                original(scheduler, optimizer, *args, **kwargs)
            finally:
                busy.pop()

        return init

    watch.patch(LRScheduler, "__init__", make_init)
    for name in ("ReduceLROnPlateau", "SequentialLR"):
        watch.patch(getattr(torch.optim.lr_scheduler, name), "__init__", make_init)


def _running(watch: Watch) -> int | None:
    """The pass that is going on; None between passes."""
    current = watch.current
    return current.number if current is not None and not current.ended else None
