"""Calls of modules: which model ran, in which mode, and which of its layers."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.modules.loss import _Loss

from truefit.doctor.callsite import call_chain, call_site
from truefit.doctor.log import Forward, ModelSeen
from truefit.doctor.replay import outputs_of
from truefit.doctor.watch.watch import Watch

MOST_MODELS = 16
EXAMPLES = 2
EXAMPLE_SAMPLES = 16
LOOKED_AT = 8
# Calls for training in which layers are looked at.
DETAILED = 5


def sensitive(module: nn.Module) -> bool:
    """Whether train and eval mode differ: BatchNorm with statistics, dropout that drops something."""
    if isinstance(module, _BatchNorm):
        return bool(module.track_running_stats)
    return isinstance(module, _DropoutNd) and module.p > 0


def _frozen(module: nn.Module) -> bool:
    parameters = list(module.parameters(recurse=False))
    return bool(parameters) and not any(p.requires_grad for p in parameters)


class Call:
    """An outermost call while it runs."""

    __slots__ = ("detailed", "functional", "off", "on", "registered", "seen")

    def __init__(self, seen: ModelSeen, detailed: bool) -> None:
        self.seen, self.detailed = seen, detailed
        self.on = self.off = 0
        self.functional = False
        self.registered = {id(module) for module in seen.module.modules()} if detailed else set()

    def note(self, module: nn.Module) -> None:
        if sensitive(module):
            if module.training:
                self.on += 1
                if self.detailed and isinstance(module, _BatchNorm) and torch.is_grad_enabled() and _frozen(module):
                    self.seen.moving_norms.setdefault(id(module), call_site())
            else:
                self.off += 1
        if self.detailed:
            self.seen.called[id(module)] = module
            if module._parameters:
                self.seen.last_called = module
                if id(module) not in self.registered and torch.is_grad_enabled():
                    self.seen.unregistered.setdefault(id(module), (module, call_site()))


def install(watch: Watch) -> None:
    """Wrap nn.Module.__call__ and F.dropout."""
    without_parameters: weakref.WeakSet[nn.Module] = weakref.WeakSet()

    def is_model(module: nn.Module) -> bool:
        if isinstance(module, _Loss) or module in without_parameters:
            return False
        if next(module.parameters(), None) is None:
            without_parameters.add(module)
            return False
        return True

    def make(original: Any) -> Any:
        def call(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
            if torch.compiler.is_compiling() or not watch.listening():
                return original(module, *args, **kwargs)
            inside = watch.inside
            if inside is not None:
                inside.note(module)
                return original(module, *args, **kwargs)
            if not is_model(module):
                return original(module, *args, **kwargs)
            seen = _seen(watch, module)
            if seen is None:
                return original(module, *args, **kwargs)
            running = Call(seen, detailed=_looks(seen))
            running.note(module)
            watch.inside = running
            training = module.training
            try:
                outputs = original(module, *args, **kwargs)
            finally:
                watch.inside = None
            _record(watch, seen, running, training, args, kwargs, outputs)
            return outputs

        return call

    watch.patch(nn.Module, "__call__", make)

    def make_dropout(original: Any) -> Any:
        def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
            inside = watch.inside
            if training and p > 0 and inside is not None and watch.listening() and not inside.seen.module.training:
                inside.functional = True
            return original(input, p, training, inplace)

        return dropout

    watch.patch(F, "dropout", make_dropout)


def _seen(watch: Watch, module: nn.Module) -> ModelSeen | None:
    seen = watch.log.models.get(id(module))
    if seen is None and len(watch.log.models) < MOST_MODELS:
        seen = ModelSeen(key=id(module), module=module, where=call_site(type(module).__name__), chain=call_chain())
        seen.norms_at_first = [
            (one, one.running_mean.detach().clone(), one.running_var.detach().clone())
            for one in module.modules()
            if isinstance(one, _BatchNorm) and one.running_mean is not None and one.running_var is not None
        ]
        weights = [(name, p) for name, p in module.named_parameters() if p.ndim >= 2 and p.is_floating_point()]
        if seen.norms_at_first and weights:
            name, weight = min(weights, key=lambda pair: pair[1].numel())
            seen.weight_at_first = (name, weight.detach().clone())
        watch.log.models[id(module)] = seen
    return seen


def _looks(seen: ModelSeen) -> bool:
    """Whether layers are looked at: in the first calls for training, and again once more or less is frozen."""
    if torch.is_grad_enabled():
        frozen = sum(not p.requires_grad for p in seen.module.parameters())
        if frozen != seen.frozen:
            seen.frozen, seen.detailed = frozen, 0
        seen.detailed += seen.module.training
    return seen.detailed <= DETAILED


def _record(watch: Watch, seen: ModelSeen, running: Call, training: bool, args: Any, kwargs: Any, outputs: Any) -> None:
    inputs = args if args else tuple(kwargs.values())
    first = next((one for one in inputs if isinstance(one, Tensor)), None)
    # A frozen part is called for training without being trained.
    grad = torch.is_grad_enabled() and any(one.requires_grad for one in outputs_of(outputs))
    kind = first.device.type if first is not None else "cpu"
    half = torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind) is torch.float16
    event = Forward(
        at=watch.now(),
        model=seen.key,
        where=call_site(type(seen.module).__name__),
        training=training,
        grad=grad,
        on=running.on,
        off=running.off,
        functional_dropout=running.functional,
        samples=len(first) if first is not None and first.ndim else 0,
        loader_pass=watch.current.number if watch.current is not None else None,
        half=half,
    )
    watch.add(event)
    watch.pending.append(event)
    if len(watch.pending) > 1000:
        del watch.pending[:500]
    if grad and training:
        seen.trained_forwards += 1
    mode = "train" if grad and training else "eval"
    if first is not None and not kwargs and all(isinstance(one, Tensor) for one in args):
        _keep_example(seen, mode, args)
        _keep_statistics(seen, mode, event, first)
    if not grad or not training:
        _count_hits(watch, outputs)


def _keep_example(seen: ModelSeen, mode: str, args: tuple[Tensor, ...]) -> None:
    kept = seen.examples[mode]
    if len(kept) < EXAMPLES and all(one.ndim and len(one) == len(args[0]) for one in args):
        kept.append(tuple(one[:EXAMPLE_SAMPLES].detach().clone() for one in args))


def _keep_statistics(seen: ModelSeen, mode: str, event: Forward, images: Tensor) -> None:
    kept = seen.statistics[mode]
    if len(kept) >= LOOKED_AT or images.ndim != 4 or not images.is_floating_point() or images.numel() == 0:
        return
    values = images.detach().float()
    kept.append(
        {
            "at": event.at,
            "mean": values.mean(dim=(0, 2, 3)).tolist(),
            "std": values.std(dim=(0, 2, 3)).tolist(),
            "low": float(values.min()),
            "high": float(values.max()),
            "whole": bool((values == values.round()).all()),
            "samples": len(values),
            "file": event.where,
        }
    )


def _count_hits(watch: Watch, outputs: Any) -> None:
    """Hits of an evaluation's batch, kept on the device: a recount of the accuracy."""
    current = watch.current
    labels = watch.labels
    if current is None or labels is None or not isinstance(outputs, Tensor) or outputs.ndim != 2:
        return
    if len(labels) == len(outputs) and outputs.shape[1] > 1:
        batch = current.batches - 1
        if batch not in current.hits:
            current.hits[batch] = outputs.detach().argmax(dim=1) == labels.to(outputs.device)
