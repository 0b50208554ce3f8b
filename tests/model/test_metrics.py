"""Metrics of a test: what is 0/0 is no number."""

from __future__ import annotations

import pytest
import torch

from imdb_lightning.model.metrics import classification_metrics

NONE = None


@pytest.mark.parametrize(
    ("labels", "probabilities", "expected"),
    [
        ([1, 0], [0.9, 0.1], [1.0, 1.0, 1.0, 1.0]),
        ([1, 0], [0.1, 0.4], [NONE, 0.0, 0.0, 0.0]),
        ([0, 0], [0.1, 0.1], [NONE, NONE, NONE, NONE]),
        ([0, 0], [0.9, 0.1], [0.0, NONE, 0.0, NONE]),
        ([1, 1], [0.1, 0.1], [NONE, 0.0, 0.0, NONE]),
        ([1, 1], [0.9, 0.1], [1.0, 0.5, 2 / 3, NONE]),
    ],
)
def test_undefined_metrics_are_none(labels: list[int], probabilities: list[float], expected: list) -> None:
    metrics = classification_metrics(torch.tensor(probabilities), torch.tensor(labels))
    assert list(metrics) == ["precision", "recall", "f1", "auroc"]
    for value, wanted in zip(metrics.values(), expected, strict=True):
        assert value == (None if wanted is None else pytest.approx(wanted))
