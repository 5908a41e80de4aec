"""ConvNet: seven convolutions, 199,000 parameters, for images of about 32 x 32."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.module import _has_any_global_hook

from truefit.errors import InputError

SMALLEST, LARGEST = 24, 47


class ConvNet(nn.Module):
    """A small convolutional classifier that gives logits.

    Input: float images (N, 3, H, W), H and W from 24 to 47, or flat vectors (N, 3072) of 32 x 32 images.
    Output: logits (N, num_classes). Three stages of two 3x3 convolutions (8, 32 and 128 channels), each halved
    by its pool; ReLU, then the pool where there is one, then BatchNorm; a 1x1 convolution to the classes and an
    average over 3 x 3 positions.

    Raises InputError for any other shape.
    """

    HEAD = "conv7"

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1)
        self.batchnorm1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1)
        self.pool2 = nn.MaxPool2d(2)
        self.batchnorm2 = nn.BatchNorm2d(8)
        self.conv3 = nn.Conv2d(8, 32, 3, padding=1)
        self.batchnorm3 = nn.BatchNorm2d(32)
        self.conv4 = nn.Conv2d(32, 32, 3, padding=1)
        self.pool4 = nn.MaxPool2d(2)
        self.batchnorm4 = nn.BatchNorm2d(32)
        self.conv5 = nn.Conv2d(32, 128, 3, padding=1)
        self.batchnorm5 = nn.BatchNorm2d(128)
        self.conv6 = nn.Conv2d(128, 128, 3, padding=1)
        self.pool6 = nn.MaxPool2d(2)
        self.batchnorm6 = nn.BatchNorm2d(128)
        self.conv7 = nn.Conv2d(128, num_classes, 1)
        self.pool7 = nn.AvgPool2d(3)

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim == 2 and x.shape[1] == 3072:
            x = x.reshape(-1, 3, 32, 32)
        if x.ndim != 4 or x.shape[1] != 3 or not all(SMALLEST <= side <= LARGEST for side in x.shape[2:]):
            raise InputError(
                "ConvNet can't take images of this shape",
                found=tuple(x.shape),
                wanted=f"(N, 3, H, W) with H and W from {SMALLEST} to {LARGEST}, or (N, 3072)",
                fix="resize the images (--image-size 32), or make them RGB",
            )
        x = self.batchnorm1(F.relu(self.conv1(x)))
        # The pool comes before its ReLU here: the same values and gradients bit for bit, as ReLU keeps the order of
        # numbers, and a quarter of the work.
        x = self.batchnorm2(F.relu(self.pool2(_for_pool(self.conv2, x))))
        x = self.batchnorm3(F.relu(self.conv3(x)))
        x = self.batchnorm4(F.relu(self.pool4(_for_pool(self.conv4, x))))
        x = self.batchnorm5(F.relu(self.conv5(x)))
        x = self.batchnorm6(F.relu(self.pool6(_for_pool(self.conv6, x))))
        logits: Tensor = self.pool7(self.conv7(x)).flatten(1)
        return logits


def _for_pool(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """The convolution where a pool of 2 follows: of an odd side the last row and column, which no pool reads, are
    left out (a quarter of the work on 7 x 7). A module that somebody watches or has replaced is called as it is.
    """
    odd_height, odd_width = x.shape[2] % 2, x.shape[3] % 2
    if not (odd_height or odd_width) or type(conv) is not nn.Conv2d or _is_hooked(conv):
        out: Tensor = conv(x)
        return out
    return F.conv2d(F.pad(x, (1, 1 - odd_width, 1, 1 - odd_height)), conv.weight, conv.bias)


def _is_hooked(module: nn.Module) -> bool:
    """Whether calling the module does more than its forward."""
    own = (module._forward_pre_hooks, module._forward_hooks, module._backward_pre_hooks, module._backward_hooks)
    return any(own) or bool(_has_any_global_hook())  # type: ignore[no-untyped-call]


def names() -> list[str]:
    """The names under which this file's models are found."""
    return ["convnet"]


def build(name: str, num_classes: int) -> nn.Module:
    """A freshly initialised model."""
    return ConvNet(num_classes)


def image_sizes(name: str) -> tuple[int, int, int]:
    """Smallest, usual and largest side of its images, in pixels."""
    return SMALLEST, 32, LARGEST
