"""Batch normalisation of few channels, as of many: torch's is slow where a pixel's channels do not fill a register.

Neighbouring pixels of a row are taken together as one with their channels, and the sums over these added up at the
end. Source: Ioffe and Szegedy (2015), "Batch Normalization: Accelerating Deep Network Training by Reducing Internal
Covariate Shift", algorithm 1; its gradients stand in section 3.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

# Channels up to which it is quicker, and numbers of a row that are taken together at most.
MOST_CHANNELS, MOST_TOGETHER = 8, 256


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """torch.nn.functional.batch_norm, computed so where it is quicker."""
    whole = running_mean is not None and running_var is not None and weight is not None and bias is not None
    if not (training and whole and _is_quicker(input, running_mean)):
        return F.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)
    assert running_mean is not None
    assert running_var is not None
    out: Tensor
    out, mean, variance = _BatchNorm.apply(input, weight, bias, eps)
    apart = input.numel() // input.shape[1]
    running_mean.lerp_(mean, momentum)
    running_var.lerp_(variance * (apart / (apart - 1)), momentum)
    return out


def _is_quicker(images: Tensor, statistics: Tensor | None) -> bool:
    """Whether these are images of few channels in channels_last, on a CPU, of more than one pixel, and the norm itself
    in float32.
    """
    types = (torch.float32, torch.bfloat16)
    if images.ndim != 4 or images.device.type != "cpu" or images.dtype not in types:
        return False
    if statistics is None or statistics.dtype != torch.float32:
        return False
    channels = images.shape[1]
    few = 0 < channels <= MOST_CHANNELS and images.numel() > channels
    return few and images.is_contiguous(memory_format=torch.channels_last)


class _BatchNorm(torch.autograd.Function):
    """Images (N, C, H, W), weight and bias (C,): the normalised images, the batch's mean and variance (C,).

    Computed in float32; the images come back in the type that they came in.
    """

    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        rows, together = _rows(images)
        mean = _mean(rows, together)
        centred = rows - mean.repeat(together)
        variance = _mean(centred * centred, together)
        scale = torch.rsqrt(variance + eps)
        out = torch.addcmul(bias.repeat(together), centred, (weight * scale).repeat(together))
        ctx.save_for_backward(centred, weight, scale)
        ctx.mark_non_differentiable(mean, variance)
        # Detached: torch refuses changes in place, such as those of a ReLU, to a view that was made in here.
        return _like(out, images).to(images.dtype).detach(), mean, variance

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        centred, weight, scale = ctx.saved_tensors
        rows, together = _rows(gradient)
        mean, with_images = _mean(rows, together), _mean(rows * centred, together) * scale
        factor = weight * scale
        of_images = torch.addcmul((-factor * mean).repeat(together), rows, factor.repeat(together))
        of_images.addcmul_(centred, (-factor * scale * with_images).repeat(together))
        apart = len(rows) * together
        return _like(of_images, gradient).to(gradient.dtype), with_images * apart, mean * apart, None


def _rows(images: Tensor) -> tuple[Tensor, int]:
    """Pixels of a row taken together, (n, together x C) float32, and how many these are."""
    channels, width = images.shape[1], images.shape[3]
    together = width if width * channels <= MOST_TOGETHER else 1
    return images.permute(0, 2, 3, 1).reshape(-1, together * channels).float(), together


def _mean(rows: Tensor, together: int) -> Tensor:
    """The mean of each channel, (C,)."""
    return rows.sum(0).view(together, -1).sum(0) / (len(rows) * together)


def _like(rows: Tensor, images: Tensor) -> Tensor:
    """Rows as images (N, C, H, W) in channels_last."""
    samples, channels, height, width = images.shape
    return rows.view(samples, height, width, channels).permute(0, 3, 1, 2)
