"""Muon: momentum whose direction is orthogonalised, for weights that are matrices or filters.

Source: Jordan, Jin, Boza, You, Cesista, Newhouse, Bernstein (2024), "Muon: An optimizer for hidden layers in
neural networks". The polynomial is theirs (quintic Newton-Schulz, coefficients 3.4445, -4.7750, 2.0315).
Parameters with fewer than two dimensions are stepped by Adam, fused into one call.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.optim.adam import adam

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
            with_gradient = [parameter for parameter in group["params"] if parameter.grad is not None]
            for parameter in with_gradient:
                if parameter.ndim >= 2:
                    self._step_matrix(parameter, parameter.grad, group, found_inf)
            self._step_vectors([parameter for parameter in with_gradient if parameter.ndim < 2], group, found_inf)

    def _step_matrix(
        self, parameter: Tensor, gradient: Tensor, group: dict[str, Any], found_inf: Tensor | None
    ) -> None:
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(gradient)
        momentum: Tensor = state["momentum"]
        # 1 takes the step; 0 leaves weights and momenta as they are, whatever the gradient.
        taken: float | Tensor = 1.0
        if found_inf is not None:
            taken = (found_inf == 0).to(gradient.dtype)
            gradient = torch.where(found_inf == 0, gradient, 0.0)
        momentum.lerp_(gradient, taken * (1 - group["momentum"]))
        direction = gradient.lerp(momentum, group["momentum"]) if group["nesterov"] else momentum
        matrix = direction.flatten(1)
        update = orthogonalised(matrix).view_as(direction)
        rate = taken * group["lr"]
        if group["weight_decay"]:
            parameter.mul_(1 - rate * group["weight_decay"])
        parameter.sub_(update * (rate * max(1.0, matrix.shape[0] / matrix.shape[1]) ** 0.5))

    def _step_vectors(self, parameters: list[Tensor], group: dict[str, Any], found_inf: Tensor | None) -> None:
        if not parameters:
            return
        for parameter in parameters:
            if not self.state[parameter]:
                self.state[parameter] = {
                    "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
                    "mean": torch.zeros_like(parameter),
                    "square": torch.zeros_like(parameter),
                }
        states = [self.state[parameter] for parameter in parameters]
        adam(
            parameters,
            [parameter.grad for parameter in parameters],  # type: ignore[misc]
            [state["mean"] for state in states],
            [state["square"] for state in states],
            [],
            [state["step"] for state in states],
            fused=True,
            found_inf=found_inf,
            decoupled_weight_decay=True,
            amsgrad=False,
            beta1=ADAM_BETAS[0],
            beta2=ADAM_BETAS[1],
            lr=ADAM_SHARE * group["lr"],
            weight_decay=group["weight_decay"],
            eps=ADAM_EPS,
            maximize=False,
        )


def orthogonalised(matrix: Tensor, steps: int = 5) -> Tensor:
    """Nearly the orthogonal factor of the matrix: singular values end between about 0.7 and 1.2.

    Each step multiplies X by a I + b G + c G^2, where G = X X^T. All these factors commute, so they are gathered
    in one small square matrix, and the wide one is read twice instead of twice a step.
    """
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    x: Tensor = wide / (wide.norm() + 1e-7)
    gram = x @ x.T
    product: Tensor | None = None
    for step in range(steps):
        factor = torch.addmm(gram, gram, gram, beta=-4.7750, alpha=2.0315)
        factor.diagonal().add_(3.4445)
        product = factor if product is None else factor @ product
        if step < steps - 1:
            gram = factor @ gram @ factor
    assert product is not None
    x = product @ x
    return x if matrix.shape[0] <= matrix.shape[1] else x.T
