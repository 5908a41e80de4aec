"""The classification models of torchvision, by their names there: resnet18, mobilenet_v3_small, ..."""

from __future__ import annotations

from typing import Any

from torch import nn

from truefit.models.pretrained import Preprocessing, Pretrained

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


def pretrained(name: str) -> Pretrained | None:
    """Weights that torchvision has for the model, and how they want their images, from its metadata."""
    import torchvision

    smallest, _, largest = image_sizes(name)
    kinds = torchvision.models.get_model_weights(name)
    # The default ones, but for models of a fixed image size whose default weights are for another one.
    weights = next(w for w in (kinds.DEFAULT, *kinds) if smallest <= w.transforms().crop_size[0] <= largest)
    wanted = weights.transforms()
    side, cut = wanted.resize_size[0], wanted.crop_size[0]
    interpolation = wanted.interpolation.value
    if not wanted.antialias:
        interpolation += "-aliased"
    return Pretrained(
        about=str(weights),
        places=(weights.url,),
        preprocessing=Preprocessing(
            image_size=side,
            crop=cut / side,
            interpolation=interpolation,
            mean=tuple(wanted.mean),
            std=tuple(wanted.std),
        ),
    )
