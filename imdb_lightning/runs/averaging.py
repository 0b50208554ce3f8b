"""The mean of several runs' probabilities: an ensemble, which often errs less than its runs do."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from imdb_lightning.runs.tables import read_predictions


def mean_probabilities(parts: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """The mean of probabilities of the same reviews, float32 `[R]` each, at least one; summed in float64, in order."""
    total = np.zeros(len(parts[0]), np.float64)
    # Not `np.sum`, whose order of summation depends on the number of reviews.
    for part in parts:
        total += part
    mean: NDArray[np.float32] = (total / len(parts)).astype(np.float32)
    return mean


def ensemble_accuracy(folders: Sequence[Path]) -> float | None:
    """Test accuracy of the mean of what runs predicted; None for one run, or without the same test's rows from each.

    Raises:
        UserError: a `predictions.csv` is damaged.
    """
    if len(folders) < 2:
        return None
    read = [read_predictions(folder) for folder in folders]
    found = [predictions for predictions in read if predictions is not None]
    if len(found) < len(read) or not all(np.array_equal(labels, found[0][0]) for labels, _ in found):
        return None
    labels, probabilities = found[0][0], mean_probabilities([part for _, part in found])
    return float(((probabilities > 0.5) == (labels == 1)).mean())
