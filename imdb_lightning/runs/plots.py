"""Pictures of runs, from the plain data of their folders.

Figures are made without `pyplot`: no global state, no display, and 0.2 s less to import.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from imdb_lightning.runs.files import write_file
from imdb_lightning.runs.records import Epoch

SIZE = (6.4, 4.2)
DOTS_PER_INCH = 120
COLORS = ("#1f6fb4", "#d1600b", "#2b8a3e", "#8a3ffc", "#b3261e", "#00818a", "#8d6e00", "#6b6b6b")
BINS = 10
QUANTITIES = {"loss": "loss", "accuracy": "accuracy"}


def plot_curves(history: Sequence[Epoch], quantity: str, title: str, path: Path, best_epoch: int) -> None:
    """Draws `loss` or `accuracy` over epochs: training dashed, validation solid, the best epoch marked."""
    figure, axes = _figure()
    _draw_curves(axes, history, quantity, COLORS[0], "training", "validation")
    best = getattr(history[best_epoch - 1], f"val_{quantity}")
    axes.plot([best_epoch], [best], "o", color=COLORS[1], label=f"best epoch: {best_epoch} ({best:.4f})")
    _finish_curves(axes, quantity, title)
    _save(figure, path)


def plot_comparison(groups: Mapping[str, Sequence[Sequence[Epoch]]], path: Path) -> None:
    """Overlays the curves of several runs: one color a group, training dashed, validation solid.

    Args:
        groups: runs' histories by label; the first run of a group names it in the legend.
        path: of the file.
    """
    figure = Figure(figsize=(2 * SIZE[0], SIZE[1] + 0.3 * len(groups)), dpi=DOTS_PER_INCH, layout="constrained")
    panels = figure.subplots(1, 2)
    for axes, quantity in zip(panels, QUANTITIES, strict=True):
        for number, (label, runs) in enumerate(groups.items()):
            for run, history in enumerate(runs):
                labels = (f"{label}, training", f"{label}, validation") if run == 0 else ("", "")
                _draw_curves(axes, history, quantity, COLORS[number % len(COLORS)], *labels)
        _finish_curves(axes, quantity, quantity, legend=False)
    handles, labels_shown = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels_shown, loc="outside lower center", ncols=2, frameon=False)
    _save(figure, path)


def plot_confusion(labels: NDArray[Any], probabilities: NDArray[Any], title: str, path: Path) -> None:
    """Draws how many reviews of each class were taken for which: counts, and their share of the true class."""
    counts = np.zeros((2, 2), np.int64)
    np.add.at(counts, (labels.astype(np.intp), (probabilities > 0.5).astype(np.intp)), 1)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure, axes = _figure((5.2, 4.4))
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for true in (0, 1):
        for predicted in (0, 1):
            share = shares[true, predicted]
            text = f"{counts[true, predicted]:,}\n{share:.1%}"
            axes.text(predicted, true, text, ha="center", va="center", color="white" if share > 0.5 else "black")
    names = ["negative", "positive"]
    axes.set(xticks=[0, 1], yticks=[0, 1], xticklabels=names, yticklabels=names)
    axes.set(xlabel="predicted", ylabel="true", title=title)
    figure.colorbar(image, ax=axes, label="share of the true class")
    _save(figure, path)


def plot_roc(labels: NDArray[Any], probabilities: NDArray[Any], title: str, path: Path) -> None:
    """Draws the true positive rate over the false positive rate for all thresholds."""
    false_rate, true_rate = roc_curve(labels, probabilities)
    area = float(np.sum(np.diff(false_rate) * (true_rate[1:] + true_rate[:-1]) / 2))
    figure, axes = _figure((5.2, 4.6))
    axes.plot(false_rate, true_rate, color=COLORS[0], label=f"area {area:.4f}")
    axes.plot([0, 1], [0, 1], ":", color="#6b6b6b", label="by chance")
    axes.set(xlabel="false positive rate", ylabel="true positive rate", title=title)
    _finish_square(figure, axes, "lower right", path)


def plot_precision_recall(labels: NDArray[Any], probabilities: NDArray[Any], title: str, path: Path) -> None:
    """Draws precision over recall for all thresholds; the average precision is its sum over the steps of recall."""
    false_rate, true_rate = roc_curve(labels, probabilities)
    positives, negatives = int((labels == 1).sum()), int((labels == 0).sum())
    taken = false_rate * negatives + true_rate * positives
    precision = np.divide(true_rate * positives, taken, out=np.ones_like(taken), where=taken > 0)
    average = float(np.sum(np.diff(true_rate) * precision[1:]))
    share = positives / max(len(labels), 1)
    figure, axes = _figure((5.2, 4.6))
    axes.plot(true_rate, precision, color=COLORS[0], label=f"average precision {average:.4f}")
    axes.axhline(share, linestyle=":", color="#6b6b6b", label=f"by chance {share:.2f}")
    axes.set(xlabel="recall", ylabel="precision", title=title)
    _finish_square(figure, axes, "lower left", path)


def plot_calibration(labels: NDArray[Any], probabilities: NDArray[Any], title: str, path: Path) -> None:
    """Draws in ten bins how often reviews are positive, over the probability given, and how many are in each."""
    bins = np.minimum((probabilities * BINS).astype(np.intp), BINS - 1)
    counts = np.bincount(bins, minlength=BINS)
    filled = counts > 0
    given = np.bincount(bins, probabilities, minlength=BINS)[filled] / counts[filled]
    found = np.bincount(bins, labels, minlength=BINS)[filled] / counts[filled]
    figure, axes = _figure((5.2, 4.6))
    centers = (np.arange(BINS) + 0.5) / BINS
    axes.bar(centers, counts / max(counts.sum(), 1), width=0.9 / BINS, color="#d9d9d9", label="share of reviews")
    axes.plot([0, 1], [0, 1], ":", color="#6b6b6b", label="as it should be")
    axes.plot(given, found, "o-", color=COLORS[0], label="found")
    axes.set(xlabel="probability given", ylabel="share of positive reviews", title=title)
    _finish_square(figure, axes, "upper left", path)


TEST_PLOTS = {
    "confusion": plot_confusion,
    "roc": plot_roc,
    "precision_recall": plot_precision_recall,
    "calibration": plot_calibration,
}
"""All that is drawn of labels and probabilities, by the name of its file."""


def roc_curve(labels: NDArray[Any], probabilities: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """False and true positive rates, one point for each distinct probability, from (0, 0) to (1, 1).

    Example:
        >>> roc_curve(np.array([0, 1, 1]), np.array([0.2, 0.2, 0.9]))
        (array([0., 0., 1.]), array([0. , 0.5, 1. ]))
    """
    order = np.argsort(-probabilities, kind="stable")
    ordered = probabilities[order]
    last_of_equals = np.append(ordered[1:] != ordered[:-1], True)
    true = np.cumsum(labels[order] == 1)[last_of_equals]
    false = np.flatnonzero(last_of_equals) + 1 - true
    return np.append(0, false) / max(false[-1], 1), np.append(0, true) / max(true[-1], 1)


def _draw_curves(
    axes: Axes, history: Sequence[Epoch], quantity: str, color: str, training: str, validation: str
) -> None:
    epochs = [epoch.epoch for epoch in history]
    # A single epoch is a point: a line through it would not be seen.
    marker = "." if len(epochs) < 30 else ""
    for name, style, label in ((quantity, "--", training), (f"val_{quantity}", "-", validation)):
        values = [getattr(epoch, name) for epoch in history]
        axes.plot(epochs, values, linestyle=style, marker=marker, color=color, label=label or None)


def _finish_square(
    figure: Figure, axes: Axes, legend: Literal["lower right", "lower left", "upper left"], path: Path
) -> None:
    axes.set(xlim=(0, 1), ylim=(0, 1.01))
    axes.set_aspect("equal")
    axes.grid(alpha=0.3)
    axes.legend(loc=legend, frameon=False)
    _save(figure, path)


def _finish_curves(axes: Axes, quantity: str, title: str, legend: bool = True) -> None:
    axes.set(xlabel="epoch", ylabel=QUANTITIES[quantity], title=title)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(alpha=0.3)
    if legend:
        axes.legend(frameon=False)


def _figure(size: tuple[float, float] = SIZE) -> tuple[Figure, Axes]:
    figure = Figure(figsize=size, dpi=DOTS_PER_INCH, layout="constrained")
    return figure, figure.subplots()


def _save(figure: Figure, path: Path) -> None:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    write_file(path, buffer.getvalue())
