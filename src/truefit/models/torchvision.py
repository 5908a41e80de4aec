"""The classification models of torchvision, by their names there: resnet18, mobilenet_v3_small, ..."""

from __future__ import annotations

from typing import Any

from torch import nn

# These add outputs of auxiliary heads in train mode; without them the model gives logits alone.
_WITH_AUXILIARY_HEADS = {"googlenet", "inception_v3"}


def names() -> list[str]:
    """The names under which this file's models are found."""
    import torchvision

    found: list[str] = torchvision.models.list_models(module=torchvision.models)
    return found


def build(name: str, num_classes: int) -> nn.Module:
    """A freshly initialised model."""
    import torchvision

    more: dict[str, Any] = {"aux_logits": False, "init_weights": True} if name in _WITH_AUXILIARY_HEADS else {}
    model: nn.Module = torchvision.models.get_model(name, weights=None, num_classes=num_classes, **more)
    return model


def image_sizes(name: str) -> tuple[int, int, int]:
    """Smallest, usual and largest side of its images, in pixels."""
    if name.startswith("vit_"):
        return 224, 224, 224
    if name == "inception_v3":
        return 75, 299, 2**12
    return 32, 224, 2**12
