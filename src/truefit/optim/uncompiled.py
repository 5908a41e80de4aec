"""torch's optimisers without torch's compiler, as long as nobody has loaded it: 1,300 modules, half a second to two."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch.optim import Optimizer, optimizer


@contextmanager
def uncompiled() -> Iterator[None]:
    """Calls of an optimiser's own methods in here do not import torch's compiler.

    These methods load it, when first called, to tell it that it must not trace them. While it is not loaded nothing
    can trace them, so they are called as they are. torch keeps what is called instead in an attribute of the method;
    it is set for the duration, and taken away again. With a torch that keeps it elsewhere nothing changes.
    """
    if "torch._dynamo" in sys.modules:
        yield
        return
    names = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")
    methods: list[Any] = [getattr(getattr(Optimizer, name), "__wrapped__", None) for name in names]
    plain = [method for method in methods if method is not None and not hasattr(method, "__dynamo_disable")]
    for method in plain:
        method.__dynamo_disable = method
    try:
        yield
    finally:
        for method in plain:
            del method.__dynamo_disable


def step(stepped: Optimizer) -> None:
    """`stepped.step()`, past the wrappers of torch's own optimisers that tell the compiler where a step is.

    They are passed only where nothing else hangs on them: no hooks, no compiler, no `step` that somebody has put in the
    place of the class's or the object's own.
    """
    plain = None if "torch._dynamo" in sys.modules else _unwrapped(stepped)
    if plain is None:
        stepped.step()
        return
    with torch.set_grad_enabled(stepped.defaults.get("differentiable", False)):
        plain(stepped)


def _unwrapped(stepped: Optimizer) -> Any:
    """The step of one of torch's classes without torch's wrappers; None where there is anything else about it."""
    if not type(stepped).__module__.startswith("torch.optim.") or "step" in vars(stepped):
        return None
    hooks = (
        optimizer._global_optimizer_pre_hooks,
        optimizer._global_optimizer_post_hooks,
        stepped._optimizer_step_pre_hooks,
        stepped._optimizer_step_post_hooks,
    )
    found: Any = type(stepped).step
    while getattr(found, "__code__", None) in _wrappers():
        found = found.__wrapped__
    return None if any(hooks) or hasattr(found, "__wrapped__") else found


@cache
def _wrappers() -> tuple[Any, ...]:
    """The code of the functions that torch wraps around each step."""

    def nothing(self: Any) -> None: ...

    return Optimizer.profile_hook_step(nothing).__code__, optimizer._use_grad_for_differentiable(nothing).__code__
