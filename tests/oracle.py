"""Independent NumPy: what the project computes, written down again in the plainest way."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def keras_load_data(
    path: Path, num_words: int, seed: int = 113
) -> tuple[tuple[list, np.ndarray], tuple[list, np.ndarray]]:
    """Keras's `imdb.load_data`, on a file that we trust: it unpickles."""
    with np.load(path, allow_pickle=True) as file:
        splits = [(file[f"x_{split}"], file[f"y_{split}"]) for split in ("train", "test")]
    rng = np.random.RandomState(seed)
    loaded = []
    for reviews, labels in splits:
        order = np.arange(len(reviews))
        rng.shuffle(order)
        sequences = [[1] + [rank + 3 for rank in reviews[row]] for row in order]
        loaded.append(([[i if i < num_words else 2 for i in ids] for ids in sequences], labels[order]))
    return loaded[0], loaded[1]


def multi_hot(sequences: list[list[int]], num_words: int) -> np.ndarray:
    """The notebook's encoding: float64 `[rows, num_words]`."""
    rows = np.zeros((len(sequences), num_words))
    for row, sequence in enumerate(sequences):
        rows[row][sequence] = 1.0
    return rows


def bags_of(dense: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ids and offsets of dense rows, by a loop over them."""
    bags = [np.flatnonzero(row) for row in dense]
    return np.concatenate([*bags, []]).astype(np.int32), np.cumsum([0, *map(len, bags)]).astype(np.int32)


def network(dense: np.ndarray, weights: list[np.ndarray], activation: str) -> np.ndarray:
    """Probabilities of a network of kernels `[in, out]` and biases, in layer order, in float64."""
    act = {"relu": lambda z: np.maximum(z, 0), "tanh": np.tanh}[activation]
    hidden = dense.astype(np.float64)
    layers = list(zip(weights[::2], weights[1::2], strict=True))
    for kernel, bias in layers[:-1]:
        hidden = act(hidden @ kernel.astype(np.float64) + bias)
    kernel, bias = layers[-1]
    return 1 / (1 + np.exp(-(hidden @ kernel.astype(np.float64) + bias)[:, 0]))


def binary_cross_entropy(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean over reviews."""
    return float(-np.mean(np.where(labels == 1, np.log(probabilities), np.log1p(-probabilities))))


def auroc(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """The share of (positive, negative) pairs in the right order, ties for half: Mann and Whitney's statistic."""
    values, first = np.unique(probabilities, return_inverse=True)
    positive, negative = (np.bincount(first[labels == y], minlength=len(values)) for y in (1, 0))
    below = np.cumsum(negative) - negative
    return float((positive * (below + negative / 2)).sum() / (positive.sum() * negative.sum()))


def words_and_marks(text: str) -> list[str]:
    """What `data.tokens=punctuation` splits a text into, character by character."""
    found, word = [], ""
    for character in text.lower().replace("<br />", " ") + " ":
        if character.isalnum() or character in "_'":
            word += character
            continue
        found += [word] if word else []
        found += [character] if character in '.,!?;:()"*/-' else []
        word = ""
    return found
