"""Muon: momentum whose direction is orthogonalised, for weights that are matrices or filters.

Source: Jordan, Jin, Boza, You, Cesista, Newhouse, Bernstein (2024), "Muon: An optimizer for hidden layers in
neural networks". The polynomial is theirs (quintic Newton-Schulz, coefficients 3.4445, -4.7750, 2.0315).
Parameters with fewer than two dimensions are stepped by Adam, fused into one call. On a GPU matrices of one shape go
through the polynomial together and in bfloat16, as the authors do: its kernels are too small to fill the device alone.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.optim.adam import adam

ADAM_EPS = 1e-8


class Muon(torch.optim.Optimizer):
    """Filters (out, in, h, w) are taken as (out, in*h*w) matrices; the update's spectral norm is about lr.

    lr: above 0. momentum: 0 to below 1. weight_decay: decoupled, a group's setting. betas: of Adam. adam_share: its
    learning rate as a share of lr; its usual one is about a sixth of what suits orthogonalised updates. fixed_norm:
    before each step filters are scaled to the norm sqrt(out), so that a step always turns them as far; for networks
    with a norm layer after each convolution, which take no notice of the scale. iterations: of the polynomial.
    """

    def __init__(
        self,
        params: Any,
        *,
        lr: float,
        momentum: float,
        nesterov: bool,
        weight_decay: float = 0.0,
        betas: tuple[float, float] = (0.9, 0.99),
        adam_share: float = 0.15,
        fixed_norm: bool = False,
        iterations: int = 5,
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "nesterov": nesterov, "weight_decay": weight_decay}
        # fused: where Adam's count of steps lies when a state is loaded, as torch reads it.
        of_adam = {"betas": betas, "adam_share": adam_share, "fused": True}
        super().__init__(params, {**defaults, **of_adam, "fixed_norm": fixed_norm, "iterations": iterations})
        # Tells the gradient step that this optimiser looks at `found_inf` on the device, as fused ones do.
        self._step_supports_amp_scaling = True

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Step once; does nothing where the tensor `found_inf`, set on this object, is not 0."""
        found_inf: Tensor | None = getattr(self, "found_inf", None)
        for group in self.param_groups:
            with_gradient = [parameter for parameter in group["params"] if parameter.grad is not None]
            matrices = [parameter for parameter in with_gradient if _is_matrix(parameter)]
            if group["fixed_norm"]:
                _scale([parameter for parameter in matrices if parameter.ndim == 4], found_inf)
            if matrices and matrices[0].is_cuda:
                self._step_together(matrices, group, found_inf)
            else:
                for parameter in matrices:
                    self._step_matrix(parameter, parameter.grad, group, found_inf)
            self._step_vectors([p for p in with_gradient if not _is_matrix(p)], group, found_inf)

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
        lying = _as_it_lies(direction)
        matrix = lying.flatten(1)
        update = orthogonalised(matrix, group["iterations"]).view_as(lying)
        rate = taken * group["lr"]
        if group["weight_decay"]:
            parameter.mul_(1 - rate * group["weight_decay"])
        _as_it_lies(parameter).sub_(update * (rate * max(1.0, matrix.shape[0] / matrix.shape[1]) ** 0.5))

    def _step_together(self, parameters: list[Tensor], group: dict[str, Any], found_inf: Tensor | None) -> None:
        """What `_step_matrix` does, for all of a group with as few kernels as there can be."""
        gradients: list[Tensor] = [parameter.grad for parameter in parameters]  # type: ignore[misc]
        for parameter, gradient in zip(parameters, gradients, strict=True):
            if not self.state[parameter]:
                self.state[parameter]["momentum"] = torch.zeros_like(gradient)
        momenta: list[Tensor] = [self.state[parameter]["momentum"] for parameter in parameters]
        rate: float | Tensor = group["lr"]
        if found_inf is not None:
            fine = found_inf == 0
            # A momentum that moves towards itself stays what it is.
            gradients = [torch.where(fine, g, m) for g, m in zip(gradients, momenta, strict=True)]
            rate = fine * rate
        torch._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
        directions = momenta
        if group["nesterov"]:
            directions = list(torch._foreach_lerp(gradients, momenta, group["momentum"]))
        if group["weight_decay"]:
            torch._foreach_mul_(parameters, 1 - rate * group["weight_decay"])
        alike: dict[torch.Size, list[int]] = {}
        for place, direction in enumerate(directions):
            alike.setdefault(direction.shape, []).append(place)
        for places in alike.values():
            stacked = torch.stack([_as_it_lies(directions[place]) for place in places])
            matrices = stacked.flatten(2)
            rate_here = -rate * max(1.0, matrices.shape[1] / matrices.shape[2]) ** 0.5
            updates = (orthogonalised_together(matrices, group["iterations"]) * rate_here).view_as(stacked)
            torch._foreach_add_([_as_it_lies(parameters[place]) for place in places], list(updates.unbind()))

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
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["adam_share"] * group["lr"],
            weight_decay=group["weight_decay"],
            eps=ADAM_EPS,
            maximize=False,
        )


def orthogonalised(matrix: Tensor, iterations: int = 5) -> Tensor:
    """Nearly the orthogonal factor of the matrix: singular values end between about 0.7 and 1.2.

    Each step multiplies X by a I + b G + c G^2, where G = X X^T. All these factors commute, so they are gathered
    in one small square matrix, and the wide one is read twice instead of twice a step.
    """
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    x: Tensor = wide / (wide.norm() + 1e-7)
    gram = x @ x.T
    product: Tensor | None = None
    for iteration in range(iterations):
        factor = torch.addmm(gram, gram, gram, beta=-4.7750, alpha=2.0315)
        factor.diagonal().add_(3.4445)
        product = factor if product is None else factor @ product
        if iteration < iterations - 1:
            gram = factor @ gram @ factor
    assert product is not None
    x = product @ x
    return x if matrix.shape[0] <= matrix.shape[1] else x.T


def orthogonalised_together(matrices: Tensor, iterations: int = 5) -> Tensor:
    """As `orthogonalised`, of each of the matrices (n, rows, columns), computed in bfloat16; float32 comes back.

    The powers of the small square matrix are not gathered here: they would need more digits than bfloat16 has.
    """
    wide = matrices if matrices.shape[1] <= matrices.shape[2] else matrices.mT
    x: Tensor = (wide / (wide.norm(dim=(1, 2), keepdim=True) + 1e-7)).to(torch.bfloat16)
    for _ in range(iterations):
        gram = x @ x.mT
        factor = torch.baddbmm(gram, gram, gram, beta=-4.7750, alpha=2.0315)
        x = torch.baddbmm(x, factor, x, beta=3.4445)
    x = x.to(torch.float32)
    return x if matrices.shape[1] <= matrices.shape[2] else x.mT


def _as_it_lies(filters: Tensor) -> Tensor:
    """A view of filters in channels_last with their channels last: which columns are which makes no difference here."""
    return filters.permute(0, 2, 3, 1) if filters.ndim == 4 else filters


def _is_matrix(parameter: Tensor) -> bool:
    return parameter.ndim >= 2


def _scale(filters: list[Tensor], found_inf: Tensor | None) -> None:
    """Scale each bank of filters (out, in, h, w) to the norm sqrt(out); none where the step is not to be taken."""
    if not filters:
        return
    norms = torch.stack(torch._foreach_div(torch._foreach_norm(filters), [len(bank) ** 0.5 for bank in filters]))
    # A bank of zeros stays one.
    scaled = norms > 0 if found_inf is None else (norms > 0) & (found_inf == 0)
    torch._foreach_mul_(filters, list(torch.where(scaled, 1 / norms, 1.0).unbind()))
