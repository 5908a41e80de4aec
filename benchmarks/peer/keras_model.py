"""Keras on its torch backend: the same layers in its own words, compile and fit."""

import os
import time

os.environ["KERAS_BACKEND"] = "torch"

import keras
from keras import layers

from peer.watch import BATCH

keras.config.set_image_data_format("channels_first")


def model():
    def block(filters, pool):
        found = [layers.Conv2D(filters, 3, padding="same")]
        # The pool before its ReLU, as in the network that the other sides train.
        found += [layers.MaxPooling2D(2)] if pool else []
        return [*found, layers.ReLU(), layers.BatchNormalization(axis=1, momentum=0.9, epsilon=1e-5)]

    return keras.Sequential(
        [
            keras.Input((3, 32, 32)),
            *block(8, False),
            *block(8, True),
            *block(32, False),
            *block(32, True),
            *block(128, False),
            *block(128, True),
            layers.Conv2D(10, 1),
            layers.AveragePooling2D(3),
            layers.Flatten(),
        ]
    )


class Stamps(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.stamps = []

    def on_train_batch_begin(self, batch, logs=None):
        self.stamps.append(time.perf_counter())


def prepare(images, labels):
    network = model()
    network.compile(
        optimizer=keras.optimizers.Adam(1e-3),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    images, labels = images.numpy(), labels.numpy()

    def epoch():
        stamps = Stamps()
        network.fit(images, labels, batch_size=BATCH, epochs=1, callbacks=[stamps])
        return stamps.stamps

    return epoch
