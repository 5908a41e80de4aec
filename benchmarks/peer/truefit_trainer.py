"""truefit's Trainer, with its progress bar, its lines and its history."""

import numpy as np

from peer.watch import BATCH, stamped
from truefit import ConvNet, ImageSet, Trainer
from truefit.progress import Bar, Lines
from truefit.recipes.recipe import AugmentConfig, OptimizerConfig, Recipe, ScheduleConfig

RECIPE = Recipe(
    epochs=1,
    batch_size=BATCH,
    optimizer=OptimizerConfig(name="adam", lr=1e-3, weight_decay=0.0),
    schedule=ScheduleConfig(name="constant"),
    augment=AugmentConfig(flip=False, shift=0.0),
)


def images_of(images, labels):
    pixels = (images * 255).round().byte().permute(0, 2, 3, 1).contiguous().numpy()
    return ImageSet(
        split="train",
        classes=tuple("abcdefghij"),
        labels=labels.numpy().astype(np.int64),
        pixels=pixels,
        image_size=pixels.shape[1],
    )


def prepare(images, labels):
    stamps = []
    data = images_of(images, labels)
    trainer = Trainer(stamped(ConvNet(), stamps), RECIPE, observers=[Lines(), Bar()])

    def epoch():
        stamps.clear()
        trainer.fit(data)
        # The first pass of the network is not a step where the Trainer looks at its outputs before.
        return stamps

    return epoch
