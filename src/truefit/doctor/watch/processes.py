"""Processes that the script starts itself, each to be watched in its own right."""

from __future__ import annotations

import multiprocessing.process
from typing import Any

from truefit.doctor.callsite import is_users
from truefit.doctor.children import Child
from truefit.doctor.watch.watch import Watch


def install(watch: Watch) -> None:
    """Wrap the making of processes whose function is the user's; workers of a DataLoader are none."""
    if watch.children is None:
        return
    folder = watch.children
    count = 0

    def watched(function: Any) -> Any:
        nonlocal count
        code = getattr(function, "__code__", None)
        if code is None or not is_users(code.co_filename):
            return function
        count += 1
        return Child(function, folder, count, watch.log.declared, watch.limits)

    def make(original: Any) -> Any:
        def init(
            process: Any,
            group: Any = None,
            target: Any = None,
            name: Any = None,
            args: Any = (),
            kwargs: Any = None,
            **more: Any,
        ) -> None:
            if watch.listening() and target is not None:
                if getattr(target, "__module__", "") == "torch.multiprocessing.spawn" and args:
                    args = (watched(args[0]), *args[1:])
                else:
                    target = watched(target)
            original(process, group, target, name, args, kwargs if kwargs is not None else {}, **more)

        return init

    watch.patch(multiprocessing.process.BaseProcess, "__init__", make)
