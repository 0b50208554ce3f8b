"""Pictures: numbers behind them against an independent library, and titles and axes that a reader needs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchmetrics.functional.classification import binary_roc

from imdb_lightning.runs import plots
from imdb_lightning.runs.records import Epoch

HISTORY = [Epoch(number, 1 / number, 1 - 0.3 / number, 1.1 / number, 0.9 - 0.3 / number, 0.1) for number in range(1, 8)]


def test_roc_curve_equals_that_of_torchmetrics() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 500)
    probabilities = np.round(np.clip(labels * 0.3 + rng.random(500) * 0.7, 0, 1), 2)  # With ties.
    false_rate, true_rate = plots.roc_curve(labels, probabilities)
    expected_false, expected_true, _ = binary_roc(torch.from_numpy(probabilities), torch.from_numpy(labels))
    np.testing.assert_allclose(false_rate, expected_false, atol=1e-6)
    np.testing.assert_allclose(true_rate, expected_true, atol=1e-6)


@pytest.mark.parametrize("epochs", [1, 2, 7])
def test_epochs_are_whole_numbers(epochs: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    monkeypatch.setattr(plots, "_save", lambda figure, path: drawn.append(figure))
    plots.plot_curves(HISTORY[:epochs], "loss", "title", tmp_path / "loss.png", best_epoch=1)
    (axes,) = drawn[0].axes
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_title()) == ("epoch", "loss", "title")
    assert all(tick == int(tick) for tick in axes.get_xticks())
    styles = {line.get_label(): line.get_linestyle() for line in axes.get_lines()}
    assert styles["training"] == "--"
    assert styles["validation"] == "-"


def test_confusion_counts_are_in_their_cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    monkeypatch.setattr(plots, "_save", lambda figure, path: drawn.append(figure))
    labels, probabilities = np.array([0, 0, 0, 1, 1, 1]), np.array([0.1, 0.2, 0.9, 0.6, 0.7, 0.5])
    plots.plot_confusion(labels, probabilities, "title", tmp_path / "confusion.png")
    texts = {text.get_position(): text.get_text().split("\n")[0] for text in drawn[0].axes[0].texts}
    # (predicted, true): a probability of exactly 0.5 is not positive.
    assert texts == {(0, 0): "2", (1, 0): "1", (0, 1): "1", (1, 1): "2"}


def test_comparison_of_many_groups_is_drawn(tmp_path: Path) -> None:
    plots.plot_comparison({f"model {n}": [HISTORY, HISTORY[:3]] for n in range(9)}, tmp_path / "comparison.png")
    with Image.open(tmp_path / "comparison.png") as picture:
        assert picture.size[0] > picture.size[1] > 300
