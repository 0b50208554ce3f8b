"""Numbers and pictures of a test against plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from imdb_lightning.inference.scoring import best_threshold, draw_test
from tests import oracle


@pytest.fixture
def answers() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 500)
    return labels, np.round(np.clip(labels * 0.3 + rng.random(500) * 0.7, 0, 1), 2).astype(np.float32)  # With ties.


def test_curves_hold_a_point_for_each_threshold(answers: tuple[np.ndarray, np.ndarray]) -> None:
    labels, probabilities = answers
    figures = draw_test(torch.from_numpy(labels), torch.from_numpy(probabilities), "title")
    taken = [probabilities >= threshold for threshold in np.unique(probabilities)[::-1]]
    true = np.array([labels[row].sum() for row in taken]) / labels.sum()
    false = np.array([(1 - labels[row]).sum() for row in taken]) / (1 - labels).sum()
    roc, recall = (figures[name].axes[0].get_lines()[0] for name in ("roc", "precision_recall"))
    np.testing.assert_allclose(roc.get_xydata(), np.column_stack([[0, *false], [0, *true]]), atol=1e-6)
    assert roc.get_label() == f"area {oracle.auroc(probabilities, labels):.4f}"
    precision = np.array([labels[row].mean() for row in taken])
    np.testing.assert_allclose(recall.get_xydata()[-2::-1], np.column_stack([true, precision]), atol=1e-6)
    average = np.sum(np.diff(true, prepend=0) * precision)
    assert recall.get_label() == f"average precision {average:.4f}"


def test_calibration_holds_means_of_ten_bins(answers: tuple[np.ndarray, np.ndarray]) -> None:
    labels, probabilities = answers
    (axes,) = draw_test(torch.from_numpy(labels), torch.from_numpy(probabilities), "title")["calibration"].axes
    found = {line.get_label(): line for line in axes.get_lines()}["found"].get_xydata()
    bins = [(probabilities >= low / 10) & (probabilities < (low + 1) / 10 + (low == 9)) for low in range(10)]
    expected = [(probabilities[chosen].mean(), labels[chosen].mean()) for chosen in bins if chosen.any()]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_probability_of_one_half_is_not_positive() -> None:
    labels, probabilities = torch.tensor([0, 0, 0, 1, 1, 1]), torch.tensor([0.1, 0.2, 0.9, 0.6, 0.7, 0.5])
    axes = draw_test(labels, probabilities, "title")["confusion"].axes[0]
    texts = {text.get_position(): text.get_text().split("\n")[0] for text in axes.texts}
    assert texts == {(0, 0): "2", (1, 0): "1", (0, 1): "1", (1, 1): "2"}  # By (predicted, true).


def test_best_threshold_is_the_best_of_all() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        labels = rng.integers(0, 2, 40)
        probabilities = np.round(np.clip(labels * 0.2 + rng.random(40) * 0.8, 0, 1), 1).astype(np.float32)
        threshold = best_threshold(labels, probabilities)
        best = max(((probabilities > cut) == labels).mean() for cut in np.linspace(-0.05, 1.05, 221))
        assert ((probabilities > threshold) == labels).mean() == best
