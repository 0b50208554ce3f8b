"""Pictures: titles, axes and numbers that a reader needs."""

from __future__ import annotations

from pathlib import Path

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
    axes = plots.plot_confusion(np.array([[2, 1], [3, 4]]), "title", ["ham", "spam"]).axes[0]
    for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
        assert [label.get_text() for label in labels] == ["ham", "spam"]
    texts = {text.get_position(): text.get_text() for text in axes.texts}
    assert texts == {(0, 0): "2\n66.7%", (1, 0): "1\n33.3%", (0, 1): "3\n42.9%", (1, 1): "4\n57.1%"}


def test_comparison_of_few_runs_shows_each() -> None:
    groups = [plots.Curves(f"model {n}", "bce", [HISTORY, HISTORY[:3]]) for n in range(8)]
    figure = plots.plot_comparison({"reviews": groups})
    width, height = figure.canvas.get_width_height()
    assert width > height > 300
    assert [axes.get_title() for axes in figure.axes] == ["loss: bce", "accuracy"]
    # A training and a validation curve of each run, in a color of its group's own.
    assert [len(axes.get_lines()) for axes in figure.axes] == [32, 32]
    assert all(len({line.get_color() for line in axes.get_lines()}) == 8 for axes in figure.axes)
    (legend,) = figure.subfigs[0].legends
    labels = [text.get_text() for text in legend.get_texts()]
    assert labels == [*(f"model {n}" for n in range(8)), "training", "validation"]


def test_comparison_of_many_groups_colors_the_best() -> None:
    # The later, the better.
    groups = [plots.Curves(f"model {n}", "bce", [HISTORY[: n + 1]]) for n in range(7)] * 2
    figure = plots.plot_comparison({"reviews": groups})
    (legend,) = figure.subfigs[0].legends
    labels = [text.get_text() for text in legend.get_texts()]
    best = [f"model {n}" for n in (3, 4, 5, 6)]
    assert labels[:-2] == [*best, *best[1:], "7 others, of lower validation accuracy"]
    colors = [line.get_color() for line in figure.axes[0].get_lines()]
    assert colors.count(plots.GRAY) == 2 * 7
    assert len(set(colors)) == 8


def test_comparison_of_many_runs_shows_their_mean_with_a_band() -> None:
    runs = [[Epoch(1, 0.1 * n, 0, 0.2 * n, 0, 0)] * (1 + n) for n in range(1, 6)]
    figure = plots.plot_comparison({"reviews": [plots.Curves("model", "mse", runs)]})
    assert figure.subfigs[0].legends[0].get_texts()[0].get_text() == "model (mean of 5 runs ± standard deviation)"
    loss, _ = figure.axes
    training, validation = loss.get_lines()
    # Over the two epochs that all have.
    np.testing.assert_allclose(training.get_ydata(), [0.3, 0.3])
    np.testing.assert_allclose(validation.get_ydata(), [0.6, 0.6])
    band = loss.collections[1].get_paths()[0].vertices[:, 1]
    deviation = np.std([0.2, 0.4, 0.6, 0.8, 1.0], ddof=1)
    np.testing.assert_allclose([band.min(), band.max()], [0.6 - deviation, 0.6 + deviation])


def test_kinds_of_loss_and_data_sets_share_no_axes() -> None:
    first = [plots.Curves(label, loss, [HISTORY]) for label, loss in (("a", "bce"), ("b", "mse"), ("c", "bce"))]
    figure = plots.plot_comparison({"reviews": first, "others": first[:1]})
    assert [subfigure.get_suptitle() for subfigure in figure.subfigs] == ["reviews", "others"]
    assert [(axes.get_title(), len(axes.get_lines())) for axes in figure.axes] == [
        ("loss: bce", 4), ("loss: mse", 2), ("accuracy", 6), ("loss: bce", 2), ("accuracy", 2),
    ]  # fmt: skip


@pytest.mark.parametrize(("monitor", "best"), [("val/loss", [0.5, 0.5, 0.3]), ("val/accuracy", [0.5, 0.6, 0.6])])
def test_search_shows_the_best_so_far_of_complete_trials(monitor: str, best: list[float]) -> None:
    trials = [
        (0, "complete", 0.5),
        (1, "pruned", 0.1),
        (2, "complete", 0.6),
        (3, "running", None),
        (4, "complete", 0.3),
    ]
    (axes,) = plots.plot_search(trials, monitor).axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("trial", monitor)
    lines = {line.get_label(): line.get_xydata().tolist() for line in axes.get_lines()}
    assert lines == {
        "complete": [[0, 0.5], [2, 0.6], [4, 0.3]],
        "pruned": [[1, 0.1]],
        f"best so far: {best[-1]:.4f}": [[0, best[0]], [2, best[1]], [4, best[2]]],
    }


def test_most_important_setting_is_on_top() -> None:
    (axes,) = plots.plot_importances({"model.dropout": 0.25, "model.learning_rate": 0.75}).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["model.dropout", "model.learning_rate"]
    assert [bar.get_width() for bar in axes.patches] == [0.25, 0.75]


def test_names_are_drawn_as_they_are(tmp_path: Path) -> None:
    """Also those that are half a formula, or steer a terminal."""
    name = "a$\\frac$ \x1b[2J $x_{$"
    plots.save(plots.plot_confusion(np.eye(2, dtype=np.int64), name, [name, name[::-1]]), tmp_path / "confusion.png")
    plots.save(plots.plot_calibration(np.array([0, 1]), np.array([0.2, 0.9]), name, name), tmp_path / "calibration.png")
    curves = plots.Curves(name, "bce", [[Epoch(1, 0.5, 0.8, 0.4, 0.9, 0.1)]])
    plots.save(plots.plot_comparison({name: [curves]}), tmp_path / "comparison.png")
