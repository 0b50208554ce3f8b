"""Pictures of runs, from the plain data of their folders.

Figures are made without `pyplot`: no global state, no display, and 0.2 s less to import.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from imdb_lightning.results import Epoch, write_file

SIZE = (6.4, 4.2)
DOTS_PER_INCH = 120
COLORS = ("#1f6fb4", "#d1600b", "#2b8a3e", "#8a3ffc", "#b3261e", "#00818a", "#8d6e00", "#6b6b6b")
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


def plot_roc(labels: NDArray[Any], probabilities: NDArray[Any], auroc: float, title: str, path: Path) -> None:
    """Draws the true positive rate over the false positive rate for all thresholds."""
    false_rate, true_rate = roc_curve(labels, probabilities)
    figure, axes = _figure((5.2, 4.6))
    axes.plot(false_rate, true_rate, color=COLORS[0], label=f"area {auroc:.4f}")
    axes.plot([0, 1], [0, 1], ":", color="#6b6b6b", label="by chance")
    axes.set(xlim=(0, 1), ylim=(0, 1.01), xlabel="false positive rate", ylabel="true positive rate", title=title)
    axes.set_aspect("equal")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", frameon=False)
    _save(figure, path)


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
