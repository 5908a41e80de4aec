"""The functions of torch.nn.init, and seeds."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from truefit.doctor.callsite import call_site
from truefit.doctor.log import Initialised, Seeded
from truefit.doctor.watch.watch import Watch


def install(watch: Watch) -> None:
    """Wrap each function of torch.nn.init that writes a tensor, and torch.manual_seed."""
    for name in [name for name in vars(nn.init) if name.endswith("_") and not name.startswith("_")]:
        if callable(getattr(nn.init, name)):
            watch.patch(nn.init, name, partial(_wrapped, watch, name))

    def make_seed(original: Any) -> Any:
        def manual_seed(seed: int) -> Any:
            if watch.listening():
                watch.add(Seeded(at=watch.now()))
            return original(seed)

        return manual_seed

    watch.patch(torch, "manual_seed", make_seed)


def _wrapped(watch: Watch, name: str, original: Any) -> Any:
    def initialise(*args: Any, **kwargs: Any) -> Any:
        tensor = kwargs.get("tensor", args[0] if args else None)
        if watch.listening() and isinstance(tensor, Tensor):
            storage = tensor.data_ptr()
            where = call_site()
            watch.log.initialised_at[storage] = where
            if not watch.log.optimizers:
                return original(*args, **kwargs)
            trained = any(
                p.data_ptr() == storage
                for seen in watch.log.optimizers.values()
                for group in seen.optimizer.param_groups
                for p in group["params"]
            )
            watch.add(Initialised(at=watch.now(), where=where, name=name, storage=storage, trained=trained))
        return original(*args, **kwargs)

    return initialise
