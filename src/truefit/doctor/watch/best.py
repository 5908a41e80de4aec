"""Variables whose names say "best" and that hold the weights that are being trained."""

from __future__ import annotations

import sys
from typing import Any

from torch import Tensor, nn
from torch.utils.data import DataLoader

from truefit.doctor.callsite import user_frame
from truefit.doctor.finding import Where
from truefit.doctor.log import NamedBest
from truefit.doctor.watch.watch import Watch


def install(watch: Watch) -> None:
    """Look at the user's variables whenever a pass over a DataLoader begins, once a step was taken."""

    def make_iter(original: Any) -> Any:
        def iterate(loader: Any) -> Any:
            if watch.listening() and watch.log.steps:
                _look(watch)
            return original(loader)

        return iterate

    watch.patch(DataLoader, "__iter__", make_iter)


def _look(watch: Watch) -> None:
    models = {id(p): seen.key for seen in watch.log.models.values() for p in seen.module.parameters()}
    addresses = {
        p.data_ptr(): seen.key
        for seen in watch.log.models.values()
        for p in seen.module.parameters()
        if p.numel() and p.requires_grad
    }
    frame = user_frame(sys._getframe(1))
    while frame is not None:
        named = dict(frame.f_locals)
        if "self" in named and hasattr(named["self"], "__dict__") and not isinstance(named["self"], nn.Module):
            named |= {f"self.{name}": value for name, value in vars(named["self"]).items()}
        for name, value in named.items():
            if "best" not in name.lower().removeprefix("self.").split("_"):
                continue
            key = None
            if isinstance(value, nn.Module):
                # The best of an earlier training may be trained further under that name alone.
                if not any(other is value for this, other in named.items() if "best" not in this.lower()):
                    continue
                key = next((models[id(p)] for p in value.parameters() if id(p) in models), None)
            elif isinstance(value, dict):
                tensors = [one for one in value.values() if isinstance(one, Tensor) and one.numel()]
                key = next((addresses[one.data_ptr()] for one in tensors if one.data_ptr() in addresses), None)
            if key is not None:
                where = Where(file=frame.f_code.co_filename, line=frame.f_lineno, subject=name)
                whole = isinstance(value, nn.Module)
                watch.add(NamedBest(at=watch.now(), where=where, name=name, model=key, whole=whole))
        frame = user_frame(frame.f_back) if frame.f_back is not None else None
