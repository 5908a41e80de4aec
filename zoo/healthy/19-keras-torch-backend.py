"""Keras 3 with the torch backend."""
import os

os.environ["KERAS_BACKEND"] = "torch"

import keras  # noqa: E402
from sklearn.datasets import load_digits  # noqa: E402

keras.utils.set_random_seed(int(os.environ.get("SEED", 0)))
d = load_digits()
x, y = d.images[..., None].astype("float32") / 16, d.target
model = keras.Sequential([
    keras.Input((8, 8, 1)),
    keras.layers.Conv2D(16, 3, activation="relu"),
    keras.layers.MaxPooling2D(2),
    keras.layers.Flatten(),
    keras.layers.Dropout(0.2),
    keras.layers.Dense(10, activation="softmax"),
])  # fmt: skip
model.compile(optimizer=keras.optimizers.Adam(5e-3), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit(x[:1400], y[:1400], batch_size=50, epochs=3, validation_data=(x[1400:], y[1400:]), verbose=2)
