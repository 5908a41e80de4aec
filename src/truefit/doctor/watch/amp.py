"""Gradient scalers: when a loss was scaled, and when gradients were unscaled."""

from __future__ import annotations

from typing import Any

import torch

from truefit.doctor.callsite import call_site
from truefit.doctor.log import Scaled
from truefit.doctor.watch import windows
from truefit.doctor.watch.watch import Watch


def install(watch: Watch) -> None:
    """Wrap scale, unscale_ and step of GradScaler."""
    scaler = torch.amp.GradScaler

    def make_scale(original: Any) -> Any:
        def scale(self: Any, outputs: Any) -> Any:
            if watch.listening() and self.is_enabled():
                watch.add(Scaled(at=watch.now(), where=call_site()))
                watch.scaling = True
                for window in windows.of(watch):
                    window.scaled = True
            return original(self, outputs)

        return scale

    def make_unscale(original: Any) -> Any:
        def unscale_(self: Any, optimizer: Any) -> Any:
            if watch.listening():
                windows.window_of(watch, optimizer).scaled = False
            return original(self, optimizer)

        return unscale_

    def make_step(original: Any) -> Any:
        def step(self: Any, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
            result = original(self, optimizer, *args, **kwargs)
            if watch.listening() and self.is_enabled():
                # Also where the scaler left the step out because of an overflow, the gradients are used up.
                windows.window_of(watch, optimizer).reset()
            return result

        return step

    watch.patch(scaler, "scale", make_scale)
    watch.patch(scaler, "unscale_", make_unscale)
    watch.patch(scaler, "step", make_step)
