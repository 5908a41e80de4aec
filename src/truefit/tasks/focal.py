"""The focal loss: what is learnt already counts less (Lin et al. 2017, "Focal Loss for Dense Object Detection").

Eq. 4: -(1 - p)^gamma log p, where p is the probability of what is true. With gamma 0 it is cross-entropy.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

# Below this 1 - p is taken for it: with gamma below 1 the slope at 0 would be infinite.
_LEAST = 1e-7


def focal_cross_entropy(
    outputs: Tensor, targets: Tensor, gamma: float, *, weight: Tensor | None = None, label_smoothing: float = 0.0
) -> Tensor:
    """The mean over samples, for logits (N, K) and class indices (N,) or soft targets (N, K).

    Weights of classes, label smoothing and the mean are those of `torch.nn.functional.cross_entropy`.
    """
    logs = F.log_softmax(outputs.float(), dim=1)
    hard = targets.ndim == 1
    soft = F.one_hot(targets, logs.shape[1]).float() if hard else targets
    wanted = soft * (1 - label_smoothing) + label_smoothing / logs.shape[1]
    if weight is not None:
        wanted = wanted * weight
    losses = -(wanted * _still_open(logs, gamma) * logs).sum(dim=1)
    return losses.sum() / weight[targets].sum() if hard and weight is not None else losses.mean()


def focal_binary_cross_entropy(outputs: Tensor, targets: Tensor, gamma: float, *, weight: Tensor | None) -> Tensor:
    """The mean over samples and labels, for logits (N, K) and targets (N, K) from 0 to 1; each label by itself."""
    yes, no = F.logsigmoid(outputs.float()), F.logsigmoid(-outputs.float())
    losses = -(targets * _still_open(yes, gamma) * yes + (1 - targets) * _still_open(no, gamma) * no)
    return (losses if weight is None else losses * weight).mean()


def _still_open(logs: Tensor, gamma: float) -> Tensor:
    """(1 - p)^gamma of log p."""
    return (-torch.expm1(logs)).clamp(min=_LEAST) ** gamma
