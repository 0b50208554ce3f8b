"""Pictures: titles, axes and numbers that a reader needs."""

from __future__ import annotations

import numpy as np
import pytest

from imdb_lightning.runs import plots
from imdb_lightning.runs.records import Epoch

HISTORY = [Epoch(number, 1 / number, 1 - 0.3 / number, 1.1 / number, 0.9 - 0.3 / number, 0.1) for number in range(1, 8)]


@pytest.mark.parametrize("epochs", [1, 2, 7])
def test_epochs_are_whole_numbers(epochs: int) -> None:
    (axes,) = plots.plot_curves(HISTORY[:epochs], "loss", "title", best_epoch=1).axes
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_title()) == ("epoch", "loss", "title")
    assert all(tick == int(tick) for tick in axes.get_xticks())
    styles = {line.get_label(): line.get_linestyle() for line in axes.get_lines()}
    assert styles["training"] == "--"
    assert styles["validation"] == "-"


def test_confusion_counts_are_in_their_cells() -> None:
    axes = plots.plot_confusion(np.array([[2, 1], [3, 4]]), "title").axes[0]
    texts = {text.get_position(): text.get_text() for text in axes.texts}
    assert texts == {(0, 0): "2\n66.7%", (1, 0): "1\n33.3%", (0, 1): "3\n42.9%", (1, 1): "4\n57.1%"}


def test_comparison_of_many_groups_is_drawn() -> None:
    figure = plots.plot_comparison({f"model {n}": [HISTORY, HISTORY[:3]] for n in range(9)})
    width, height = figure.canvas.get_width_height()
    assert width > height > 300
    assert [axes.get_title() for axes in figure.axes] == ["loss", "accuracy"]
    # A training and a validation curve of each run; the first run of a group names it.
    assert [len(axes.get_lines()) for axes in figure.axes] == [36, 36]
    assert len(figure.legends[0].get_texts()) == 18
