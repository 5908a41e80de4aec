"""Muon: momentum whose direction is orthogonalised, for weights that are matrices or filters.

Source: Jordan, Jin, Boza, You, Cesista, Newhouse, Bernstein (2024), "Muon: An optimizer for hidden layers in
neural networks". The polynomial is theirs (quintic Newton-Schulz, coefficients 3.4445, -4.7750, 2.0315).
Parameters with fewer than two dimensions are stepped by Adam.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

ADAM_BETAS = (0.9, 0.99)
ADAM_EPS = 1e-8
# Adam's usual rate is about a sixth of the one that suits orthogonalised updates.
ADAM_SHARE = 0.15


class Muon(torch.optim.Optimizer):
    """Filters (out, in, h, w) are taken as (out, in*h*w) matrices; the update's spectral norm is about lr.

    lr: above 0. momentum: 0 to below 1. weight_decay: decoupled, a group's setting.
    """

    def __init__(self, params: Any, *, lr: float, momentum: float, nesterov: bool, weight_decay: float = 0.0) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "nesterov": nesterov, "weight_decay": weight_decay})
        # Tells the gradient step that this optimiser looks at `found_inf` on the device, as fused ones do.
        self._step_supports_amp_scaling = True

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Step once; does nothing where the tensor `found_inf`, set on this object, is not 0."""
        found_inf: Tensor | None = getattr(self, "found_inf", None)
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                gradient: Tensor = parameter.grad
                # 1 takes the step; 0 leaves weights and momenta as they are, whatever the gradient.
                taken = torch.ones((), device=gradient.device) if found_inf is None else (found_inf == 0).float()
                if found_inf is not None:
                    gradient = torch.where(taken > 0, gradient, 0.0)
                rate = taken * group["lr"]
                if parameter.ndim >= 2:
                    update = self._orthogonal(parameter, gradient, group, taken)
                else:
                    update = self._adam(parameter, gradient, taken)
                    rate = rate * ADAM_SHARE
                if group["weight_decay"]:
                    parameter.mul_(1 - rate * group["weight_decay"])
                parameter.sub_(update * rate)

    def _orthogonal(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any], taken: Tensor) -> Tensor:
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(gradient)
        momentum: Tensor = state["momentum"]
        momentum.lerp_(gradient, taken * (1 - group["momentum"]))
        direction = gradient.lerp(momentum, group["momentum"]) if group["nesterov"] else momentum
        matrix = direction.flatten(1)
        scale = max(1.0, matrix.shape[0] / matrix.shape[1]) ** 0.5
        update: Tensor = orthogonalised(matrix).view_as(direction) * scale
        return update

    def _adam(self, parameter: Tensor, gradient: Tensor, taken: Tensor) -> Tensor:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros((), device=parameter.device)
            state["mean"], state["square"] = torch.zeros_like(gradient), torch.zeros_like(gradient)
        state["step"] += taken
        steps = state["step"].clamp(min=1)  # 0 only where the first step is skipped
        first, second = ADAM_BETAS
        mean = state["mean"].lerp_(gradient, taken * (1 - first)) / (1 - first**steps)
        square = state["square"].lerp_(gradient.square(), taken * (1 - second)) / (1 - second**steps)
        update: Tensor = mean / (square.sqrt() + ADAM_EPS)
        return update


def orthogonalised(matrix: Tensor, steps: int = 5) -> Tensor:
    """Nearly the orthogonal factor of the matrix: singular values end between about 0.7 and 1.2."""
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    x: Tensor = wide / (wide.norm() + 1e-7)
    for _ in range(steps):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x if matrix.shape[0] <= matrix.shape[1] else x.T
