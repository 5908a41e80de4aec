"""Mixup and CutMix: images of a batch mixed with others of it, and their targets in the same proportion.

Sources: Zhang et al. 2018, "mixup: Beyond Empirical Risk Minimization"; Yun et al. 2019, "CutMix: Regularization
Strategy to Train Strong Classifiers with Localizable Features". Partners, shares and boxes are drawn for each image by
itself, from a generator keyed by seed, epoch and step.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from truefit.precision import sent


@dataclass(frozen=True, kw_only=True)
class Mix:
    """How each image of one step is mixed. partner: (n,) int64, whose image is added. share: (n,) float32, what is
    kept of one's own. cut: (n,) bool, whether a box is pasted (else the images are averaged). centre: (n, 2) float32,
    the box's, as parts of height and width.
    """

    partner: Tensor
    share: Tensor
    cut: Tensor
    centre: Tensor

    def of(self, part: slice) -> Mix:
        """Those images of the step alone; partners are still numbered within the step."""
        return Mix(partner=self.partner[part], share=self.share[part], cut=self.cut[part], centre=self.centre[part])


@dataclass(frozen=True, kw_only=True)
class Mixing:
    """mixup, cutmix: the alpha of Beta(alpha, alpha), from which shares are drawn; 0 is without. With both, half of the
    images have the one, half the other. classes: how many, where targets are class indices; None where they are
    labels (N, K).
    """

    mixup: float
    cutmix: float
    classes: int | None

    def draw(self, key: int, samples: int) -> Mix:
        """How a step of so many samples is mixed."""
        draws = np.random.default_rng(key)
        partner = draws.permutation(samples)
        coins, centre = draws.random(samples), draws.random((samples, 2))
        cut = coins < (0.5 if self.mixup else 1.0) if self.cutmix else np.zeros(samples, bool)
        averaged = draws.beta(self.mixup or 1.0, self.mixup or 1.0, samples)
        pasted = draws.beta(self.cutmix or 1.0, self.cutmix or 1.0, samples)
        return Mix(
            partner=torch.from_numpy(partner),
            share=torch.from_numpy(np.where(cut, pasted, averaged).astype(np.float32)),
            cut=torch.from_numpy(cut),
            centre=torch.from_numpy(centre.astype(np.float32)),
        )

    def mix(self, how: Mix, images: Tensor, targets: Tensor, others: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Images (N, C, H, W) with those of their partners, and float32 targets (N, K).

        targets, labels: of the images and of their partners, class indices (N,) or labels (N, K).
        """
        box, kept = _boxes(how, *images.shape[2:])
        share = sent(torch.where(how.cut, 1.0, how.share), images.device).view(-1, 1, 1, 1)
        mixed = torch.where(sent(box, images.device)[:, None], others, images * share + others * (1 - share))
        weight = sent(torch.where(how.cut, kept, how.share), targets.device)[:, None]
        soft = self._soft(targets) * weight + self._soft(labels) * (1 - weight)
        last = images.is_contiguous(memory_format=torch.channels_last)
        return mixed.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format), soft

    def _soft(self, targets: Tensor) -> Tensor:
        if targets.ndim == 2 or self.classes is None:
            return targets.float()
        # A label that is out of range becomes a row of zeros here; the task says so.
        return (targets[:, None] == torch.arange(self.classes, device=targets.device)).float()


def _boxes(how: Mix, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Which pixels come from the partner, (n, H, W) bool, and the part (n,) that is one's own, counted exactly."""
    side = torch.where(how.cut, (1 - how.share).sqrt(), 0.0)
    inside = []
    for axis, size in enumerate((height, width)):
        middle, length = how.centre[:, axis] * size, (side * size).round()
        begin = (middle - length / 2).floor()[:, None]
        places = torch.arange(size)
        inside.append((places >= begin) & (places < begin + length[:, None]))
    box = inside[0][:, :, None] & inside[1][:, None, :]
    return box, 1 - box.float().mean(dim=(1, 2))
