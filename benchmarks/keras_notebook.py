"""The notebook's three networks in Keras, timed: the yardstick of `against_keras.py`.

Run in an environment of its own (pip install keras tensorflow-cpu):

    python benchmarks/keras_notebook.py imdb.npz shallow_relu_bce

Prints one JSON object: `epochs` (seconds of each), `test_accuracy`.
"""

import json
import os
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import keras
import numpy as np
from keras import layers, regularizers


class Clock(keras.callbacks.Callback):
    """Seconds of each epoch, validation included."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: object = None) -> None:
        """Starts the clock."""
        self.start = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: object = None) -> None:
        """Stops it."""
        self.seconds.append(time.perf_counter() - self.start)


def load_data(path: str, num_words: int = 10_000, seed: int = 113) -> list[tuple[list[list[int]], np.ndarray]]:
    """What `keras.datasets.imdb.load_data` does, on a local file: unlike Keras, it does not insist on a zip's bytes."""
    rng = np.random.RandomState(seed)
    splits = []
    with np.load(path, allow_pickle=True) as file:
        for split in ("train", "test"):
            reviews, labels = file[f"x_{split}"], file[f"y_{split}"]
            order = np.arange(len(reviews))
            rng.shuffle(order)
            ids = [[1] + [word + 3 for word in reviews[row]] for row in order]
            splits.append(([[i if i < num_words else 2 for i in review] for review in ids], labels[order]))
    return splits


def multi_hot(sequences: list[list[int]]) -> np.ndarray:
    """The notebook's encoding."""
    results = np.zeros((len(sequences), 10_000))
    for row, sequence in enumerate(sequences):
        results[row, sequence] = 1.0
    return results


def main(path: str, name: str) -> None:
    """Trains and tests one network."""
    keras.utils.set_random_seed(0)
    (train, train_labels), (test, test_labels) = load_data(path)
    x_train, x_test = multi_hot(train), multi_hot(test)
    y_train, y_test = train_labels.astype("float32"), test_labels.astype("float32")
    clock = Clock()
    callbacks: list[keras.callbacks.Callback] = [clock]
    loss, epochs = "binary_crossentropy", 20
    if name == "shallow_relu_bce":
        hidden = [layers.Dense(16, activation="relu")]
        callbacks.append(keras.callbacks.EarlyStopping("val_loss", patience=2, restore_best_weights=True))
    elif name == "deep_tanh_mse":
        hidden, loss = [layers.Dense(32, activation="tanh") for _ in range(3)], "mse"
    else:
        hidden, epochs = [], 5
        for _ in range(2):
            hidden.append(layers.Dense(64, activation="relu", kernel_regularizer=regularizers.l2(0.001)))
            hidden.append(layers.Dropout(0.5))
    model = keras.Sequential([keras.Input((10_000,)), *hidden, layers.Dense(1, activation="sigmoid")])
    model.compile(optimizer="adam", loss=loss, metrics=["accuracy"])
    model.fit(
        x_train[10_000:], y_train[10_000:], epochs=epochs, batch_size=512, callbacks=callbacks, verbose=0,
        validation_data=(x_train[:10_000], y_train[:10_000]),
    )  # fmt: skip
    accuracy = model.evaluate(x_test, y_test, verbose=0)[1]
    model.predict(x_test, verbose=0)
    print(json.dumps({"epochs": clock.seconds, "test_accuracy": accuracy}))


if __name__ == "__main__":
    main(*sys.argv[1:])
