"""Pictures of runs, from plain numbers.

Figures are made without `pyplot`: no global state, no display, and 0.2 s less to import.
"""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from imdb_lightning.runs.files import write_file
from imdb_lightning.runs.records import Epoch

QUANTITIES = ("loss", "accuracy")
SIZE = (6.4, 4.2)
DOTS_PER_INCH = 120
# Told apart also by people who confuse red and green, and dark enough for a white page.
COLORS = ("#1f6fb4", "#d1600b", "#2b8a3e", "#8a3ffc", "#b3261e", "#00818a", "#8d6e00", "#6b6b6b")
GRAY = "#6b6b6b"
BINS = 10


def save(figure: Figure, path: Path) -> None:
    """Writes a figure as PNG, whole or not at all."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    write_file(path, buffer.getvalue())


def plot_curves(history: Sequence[Epoch], quantity: str, title: str, best_epoch: int) -> Figure:
    """Draws `loss` or `accuracy` over epochs: training dashed, validation solid, the best epoch marked."""
    figure = _figure()
    axes = figure.subplots()
    _draw_curves(axes, history, quantity, COLORS[0], "training", "validation")
    best = getattr(history[best_epoch - 1], f"val_{quantity}")
    axes.plot([best_epoch], [best], "o", color=COLORS[1], label=f"best epoch: {best_epoch} ({best:.4f})")
    axes.set_title(title)
    axes.legend(frameon=False)
    return figure


def plot_comparison(groups: Mapping[str, Sequence[Sequence[Epoch]]]) -> Figure:
    """Overlays the curves of groups of runs, by their labels: one color a group, training dashed, validation solid."""
    figure = _figure(2 * SIZE[0], SIZE[1] + 0.3 * len(groups))
    panels = figure.subplots(1, 2)
    for axes, quantity in zip(panels, QUANTITIES, strict=True):
        axes.set_title(quantity)
        for number, (label, runs) in enumerate(groups.items()):
            for run, history in enumerate(runs):
                labels = (f"{label}, training", f"{label}, validation") if run == 0 else ("", "")
                _draw_curves(axes, history, quantity, COLORS[number % len(COLORS)], *labels)
    handles, labels_shown = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels_shown, loc="outside lower center", ncols=2, frameon=False)
    return figure


def plot_confusion(counts: NDArray[np.int64], title: str) -> Figure:
    """Draws counts `[2, 2]`, true class by predicted class, and their shares of the true class."""
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = _figure(5.2, 4.4)
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (true, predicted), share in np.ndenumerate(shares):
        text = f"{counts[true, predicted]:,}\n{share:.1%}"
        axes.text(predicted, true, text, ha="center", va="center", color="white" if share > 0.5 else "black")
    names = ["negative", "positive"]
    axes.set(xticks=[0, 1], yticks=[0, 1], xticklabels=names, yticklabels=names)
    axes.set(xlabel="predicted", ylabel="true", title=title)
    figure.colorbar(image, ax=axes, label="share of the true class")
    return figure


def plot_rates(
    x: tuple[str, NDArray[Any]], y: tuple[str, NDArray[Any]], label: str, by_chance: tuple[float, float], title: str
) -> Figure:
    """Draws one rate over another, each with its name: a point `[T]` for each threshold.

    Guessing would give the line between the heights `by_chance` at 0 and at 1.
    """
    figure, axes = _square(x[0], y[0], title)
    axes.plot(x[1], y[1], color=COLORS[0], label=label)
    axes.plot([0, 1], by_chance, ":", color=GRAY, label="by chance")
    # Where no curve runs, be it one that rises or one that falls.
    axes.legend(loc="lower right" if by_chance[0] < by_chance[1] else "lower left", frameon=False)
    return figure


def plot_calibration(labels: NDArray[Any], probabilities: NDArray[Any], title: str) -> Figure:
    """Draws in ten bins how often reviews are positive, over the predicted probability, and how many are in each."""
    bins = np.minimum((probabilities * BINS).astype(np.intp), BINS - 1)
    counts = np.bincount(bins, minlength=BINS)
    filled = counts > 0
    predicted, found = (np.bincount(bins, of, BINS)[filled] / counts[filled] for of in (probabilities, labels))
    figure, axes = _square("predicted probability", "share of positive reviews", title)
    centers = (np.arange(BINS) + 0.5) / BINS
    axes.bar(centers, counts / max(counts.sum(), 1), width=0.9 / BINS, color="#d9d9d9", label="share of reviews")
    axes.plot([0, 1], [0, 1], ":", color=GRAY, label="perfectly calibrated")
    axes.plot(predicted, found, "o-", color=COLORS[0], label="found")
    axes.legend(loc="upper left", frameon=False)
    return figure


def _draw_curves(
    axes: Axes, history: Sequence[Epoch], quantity: str, color: str, training: str, validation: str
) -> None:
    epochs = [epoch.epoch for epoch in history]
    # A single epoch is a point: a line through it would not be seen.
    marker = "." if len(epochs) < 30 else ""
    for name, style, label in ((quantity, "--", training), (f"val_{quantity}", "-", validation)):
        values = [getattr(epoch, name) for epoch in history]
        axes.plot(epochs, values, linestyle=style, marker=marker, color=color, label=label or None)
    axes.set(xlabel="epoch", ylabel=quantity)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(alpha=0.3)


def _square(xlabel: str, ylabel: str, title: str) -> tuple[Figure, Axes]:
    figure = _figure(5.2, 4.6)
    axes = figure.subplots()
    # A little room above 1, where a good curve runs.
    axes.set(xlim=(0, 1), ylim=(0, 1.01), aspect="equal", xlabel=xlabel, ylabel=ylabel, title=title)
    axes.grid(alpha=0.3)
    return figure, axes


def _figure(width: float = SIZE[0], height: float = SIZE[1]) -> Figure:
    return Figure(figsize=(width, height), dpi=DOTS_PER_INCH, layout="constrained")
