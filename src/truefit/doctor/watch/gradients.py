"""Backward passes, and the clearing and clipping of gradients."""

from __future__ import annotations

import math
import weakref
from collections import deque
from typing import Any

import torch
from torch import Tensor, nn

from truefit.doctor.callsite import call_site
from truefit.doctor.log import Backward, Clear, Clip
from truefit.doctor.watch import windows
from truefit.doctor.watch.watch import Watch

# Backward passes after which every parameter is asked for a gradient.
ASKED = 10
# Graphs of the last backwards that are followed: a node's metadata lives as long as the node.
GRAPHS = 16


class _Alive:
    """Dies with the graph that holds it."""

    __slots__ = ("__weakref__",)


def install(watch: Watch) -> None:
    """Wrap torch.autograd.backward (Tensor.backward calls it), zero_grad, and the clipping functions."""
    watch.patch(torch.autograd, "backward", lambda original: _backward(watch, original))
    watch.patch(torch.optim.Optimizer, "zero_grad", lambda original: _zero_grad(watch, original))
    watch.patch(nn.Module, "zero_grad", lambda original: _zero_grad(watch, original))
    for name in ("clip_grad_norm_", "clip_grad_value_"):
        watch.patch(nn.utils, name, lambda original: _clip(watch, original))


def _backward(watch: Watch, original: Any) -> Any:
    count = 0
    graphs: deque[weakref.ref[_Alive]] = deque(maxlen=GRAPHS)

    def backward(tensors: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal count
        if not watch.listening():
            return original(tensors, *args, **kwargs)
        windows.before_backward(watch)
        loss = tensors if isinstance(tensors, Tensor) else None
        value = float(loss.detach()) if loss is not None and loss.ndim == 0 else None
        scaled = watch.scaling
        finite = value is None or math.isfinite(value) or scaled
        forwards = tuple(watch.pending)
        alive = sum(one() is not None for one in graphs)
        result = original(tensors, *args, **kwargs)
        count += 1
        if loss is not None and loss.grad_fn is not None:
            sentinel = _Alive()
            # A property, which the stubs take for a method.
            metadata: Any = loss.grad_fn.metadata
            metadata["truefit doctor"] = sentinel
            graphs.append(weakref.ref(sentinel))
            del sentinel
        event = Backward(
            at=watch.now(),
            where=call_site(),
            value=value,
            finite=finite,
            bad_input=False if finite else _bad_batch(watch),
            loader_pass=watch.current.number if watch.current is not None else None,
            forwards=tuple(one.at for one in forwards if one.grad),
            graphs_alive=alive,
        )
        watch.add(event)
        watch.pending.clear()
        watch.scaling = False
        if watch.current is not None:
            watch.current.backwards += 1
        windows.after_backward(watch)
        if count <= ASKED:
            for key in {one.model for one in forwards if one.grad}:
                for parameter in watch.log.models[key].module.parameters():
                    if parameter.grad is not None:
                        watch.log.with_gradient[id(parameter)] = parameter
        return result

    return backward


def _bad_batch(watch: Watch) -> bool:
    batch = watch.batch
    images = next((one for one in batch if isinstance(one, Tensor)), None) if isinstance(batch, list | tuple) else None
    return images is not None and images.is_floating_point() and not bool(images.isfinite().all())


def _zero_grad(watch: Watch, original: Any) -> Any:
    def zero_grad(owner: Any, *args: Any, **kwargs: Any) -> Any:
        if watch.listening():
            watch.add(Clear(at=watch.now(), where=call_site()))
            windows.before_clear(watch, owner)
        return original(owner, *args, **kwargs)

    return zero_grad


def _clip(watch: Watch, original: Any) -> Any:
    def clip(parameters: Any, *args: Any, **kwargs: Any) -> Any:
        # A generator can be read once only: it becomes a list, for the record and for the function.
        listed = [parameters] if isinstance(parameters, Tensor) else list(parameters)
        if watch.listening():
            watch.add(
                Clip(
                    at=watch.now(),
                    where=call_site(),
                    parameters=frozenset(map(id, listed)),
                    fresh=windows.fresh(watch, listed),
                    scaled=windows.scaled(watch, listed),
                )
            )
        return original(listed, *args, **kwargs)

    return clip
