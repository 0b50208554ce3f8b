"""Our three networks against what Keras computed, step by step, from the same starting weights.

The fixture was recorded with Keras 3.15 on TensorFlow 2.21: 1,000 words, batches of 512 in order, no dropout. It
carries the reviews of its batches as bags of words, so that it needs no other file.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from imdb_lightning.data.bags import Bags
from imdb_lightning.data.sampling import Batch, BatchLoader
from imdb_lightning.model.module import SentimentClassifier
from tests import oracle

SETTINGS = {
    "shallow_relu_bce": {"hidden_units": [16], "activation": "relu", "loss": "bce"},
    "deep_tanh_mse": {"hidden_units": [32, 32, 32], "activation": "tanh", "loss": "mse"},
    "regularized_relu_bce": {"hidden_units": [64, 64], "activation": "relu", "loss": "bce", "l2": 0.001},
}


@pytest.fixture(scope="module")
def keras() -> dict[str, np.ndarray]:
    with np.load(Path(__file__).parent.parent / "fixtures" / "keras_parity.npz") as file:
        return dict(file)


def bags_of(keras: dict[str, np.ndarray], split: str) -> Bags:
    ids, offsets, labels = (keras[f"{split}/{part}"] for part in ("ids", "offsets", "labels"))
    return Bags(ids.astype(np.int32), offsets.astype(np.int64), labels)


def batch(bags: Bags, start: int, stop: int, layout: str) -> Batch:
    (loaded,) = BatchLoader(bags.part(start, stop), stop - start, 1000, layout)
    return loaded


@pytest.mark.parametrize("layout", ["sparse", "dense"])
@pytest.mark.parametrize("name", SETTINGS)
def test_losses_of_all_steps_equal_those_of_keras(name: str, layout: str, keras: dict[str, np.ndarray]) -> None:
    train, validation = bags_of(keras, "train"), bags_of(keras, "val")
    classifier = SentimentClassifier(num_words=1000, **SETTINGS[name])
    with torch.no_grad():
        for number, parameter in enumerate(classifier.network.parameters()):
            start = torch.from_numpy(keras[f"{name}/init/{number}"])
            parameter.copy_(start.T if number >= 2 and start.ndim == 2 else start)  # torch: [out, in]
    optimizer = classifier.configure_optimizers()
    losses = []
    for step in range(len(keras[f"{name}/loss"])):
        loss = classifier.training_step(batch(train, 512 * step, 512 * (step + 1), layout), step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    np.testing.assert_allclose(losses[0], keras[f"{name}/loss"][0], rtol=1e-5)
    np.testing.assert_allclose(losses, keras[f"{name}/loss"], rtol=1e-5)
    with torch.no_grad():
        reviews = batch(validation, 0, 2000, layout)
        loss = classifier.training_step(reviews, 0).item()
        assert loss == pytest.approx(float(keras[f"{name}/val_loss"]), abs=1e-3)
        probabilities = classifier.predict_step(reviews, 0).numpy()
    np.testing.assert_allclose(probabilities, keras[f"{name}/val_probability"], atol=5e-4)


def test_reviews_of_the_fixture_are_the_real_ones(keras: dict[str, np.ndarray], real_npz: Path) -> None:
    (sequences, labels), _ = oracle.keras_load_data(real_npz, 1000)
    for split in ("train", "val"):
        start, stop = keras[f"{split}/rows"]
        bags = bags_of(keras, split)
        ids, offsets = oracle.bags_of(oracle.multi_hot(sequences[start:stop], 1000))
        np.testing.assert_array_equal(bags.ids, ids)
        np.testing.assert_array_equal(bags.offsets, offsets)
        np.testing.assert_array_equal(bags.labels, labels[start:stop])
