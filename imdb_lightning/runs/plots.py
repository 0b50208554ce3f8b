"""Pictures of runs, from plain numbers.

Figures are made without `pyplot`: no global state, no display, and 0.2 s less to import.
"""

import dataclasses
import io
import textwrap
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from imdb_lightning.config.data import LABELS
from imdb_lightning.config.schema import MONITORS
from imdb_lightning.config.shown import plain
from imdb_lightning.runs.files import write_file
from imdb_lightning.runs.records import Epoch

QUANTITIES = ("loss", "accuracy")
SIZE = (6.4, 4.2)
# Inches around the axes. A layout that looks for them itself draws each figure twice.
LEFT, RIGHT, BOTTOM, TOP = 0.85, 0.2, 0.55, 0.4
DOTS_PER_INCH = 120
# Told apart also by people who confuse red and green, and dark enough for a white page.
COLORS = ("#1f6fb4", "#d1600b", "#2b8a3e", "#8a3ffc", "#b3261e", "#00818a", "#8d6e00", "#6b6b6b")
GRAY = "#6b6b6b"
BINS = 10
# Runs of a group that are drawn one by one; more are a mean.
_EACH = 3
# Of curves that are not told apart.
_FAINT = 0.4
# Characters of a class's name that fit beside a cell.
_NAME = 20


def save(figure: Figure, path: Path) -> None:
    """Writes a figure as PNG, whole or not at all."""
    buffer = io.BytesIO()
    # A tenth larger than pressed as far as it goes, in a third of the time.
    figure.savefig(buffer, format="png", pil_kwargs={"compress_level": 1})
    write_file(path, buffer.getvalue())


def plot_curves(history: Sequence[Epoch], quantity: str, title: str, best_epoch: int) -> Figure:
    """Draws `loss` or `accuracy` over epochs: training dashed, validation solid, the best epoch marked."""
    figure = _figure()
    axes = figure.subplots()
    _draw_curves(axes, history, quantity, "training", "validation", color=COLORS[0])
    best = getattr(history[best_epoch - 1], f"val_{quantity}")
    axes.plot([best_epoch], [best], "o", color=COLORS[1], label=f"best epoch: {best_epoch} ({best:.4f})")
    _title(axes, title)
    axes.legend(frameon=False)
    return figure


class Curves(NamedTuple):
    """The histories of runs that differ in nothing but the seed."""

    label: str
    loss: str  # What kind it is: those of different kinds share no axes.
    runs: Sequence[Sequence[Epoch]]

    def legend(self) -> str:
        """The label, in lines that fit beside others, and how many runs a mean is of."""
        count = f" (mean of {len(self.runs)} runs ± standard deviation)" if len(self.runs) > _EACH else ""
        return textwrap.fill(_literal(self.label) + count, 60)

    def accuracy(self) -> float:
        """The best validation accuracy, the mean over runs."""
        return float(np.mean([max(epoch.val_accuracy for epoch in history) for history in self.runs]))


def plot_comparison(sections: Mapping[str, Sequence[Curves]]) -> Figure:
    """Overlays curves, a row of panels for each data set: one color a group, training dashed, validation solid.

    More than three runs of a group are a mean with a band of one standard deviation, over the epochs that all of them
    have. Of more groups than colors the best ones are colored, the others gray.
    """
    panels = 1 + max(len({group.loss for group in groups}) for groups in sections.values())
    heights = [SIZE[1] + 0.5 + 0.25 * len(groups[: len(COLORS)]) for groups in sections.values()]
    size = (max(2 * SIZE[0], 4.8 * panels), sum(heights))
    # Here it is worth it: legends are of any size, and there is one such figure in a sweep.
    figure = Figure(figsize=size, dpi=DOTS_PER_INCH, layout="constrained")
    rows = figure.subfigures(len(sections), 1, squeeze=False, height_ratios=heights)
    for row, (data, groups) in zip(rows[:, 0], sections.items(), strict=True):
        row.suptitle(_literal(data))
        ranked = sorted(range(len(groups)), key=lambda number: -groups[number].accuracy())
        # The last color is a gray: that of all others where there are any.
        count = len(COLORS) - (len(groups) > len(COLORS))
        colors = dict(zip(sorted(ranked[:count]), COLORS, strict=False))
        losses = list(dict.fromkeys(group.loss for group in groups))
        for axes, loss in zip(row.subplots(1, len(losses) + 1), [*losses, None], strict=True):
            axes.set_title(f"loss: {loss}" if loss else "accuracy")
            for number, group in enumerate(groups):
                if loss in (group.loss, None):
                    _draw_group(axes, group.runs, "loss" if loss else "accuracy", colors.get(number))
        handles = [Line2D([], [], color=color, label=groups[n].legend()) for n, color in colors.items()]
        if others := len(groups) - len(colors):
            label = f"{others} others, of lower validation accuracy"
            handles.append(Line2D([], [], color=GRAY, alpha=_FAINT, label=label))
        handles.append(Line2D([], [], color="black", linestyle="--", label="training"))
        handles.append(Line2D([], [], color="black", label="validation"))
        row.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False)
    return figure


def plot_confusion(counts: NDArray[np.int64], title: str, classes: Sequence[str] = LABELS) -> Figure:
    """Draws counts `[2, 2]`, true class by predicted class, and their shares of the true class."""
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = _figure(5.2, 4.4)
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (true, predicted), share in np.ndenumerate(shares):
        text = f"{counts[true, predicted]:,}\n{share:.1%}"
        axes.text(predicted, true, text, ha="center", va="center", color="white" if share > 0.5 else "black")
    names = [_literal(textwrap.shorten(name, _NAME, placeholder="...")) for name in classes]
    axes.set_xticks([0, 1], names)
    # Upright, they take the same room whatever their length.
    axes.set_yticks([0, 1], names, rotation=90, va="center")
    axes.set(xlabel="predicted", ylabel="true")
    _title(axes, title)
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


def plot_calibration(
    labels: NDArray[Any], probabilities: NDArray[Any], title: str, positive: str = LABELS[1]
) -> Figure:
    """Draws in ten bins how often reviews are positive, over the predicted probability, and how many are in each."""
    bins = np.minimum((probabilities * BINS).astype(np.intp), BINS - 1)
    counts = np.bincount(bins, minlength=BINS)
    filled = counts > 0
    predicted, found = (np.bincount(bins, of, BINS)[filled] / counts[filled] for of in (probabilities, labels))
    figure, axes = _square("predicted probability", f"share of {_literal(positive)} reviews", title)
    centers = (np.arange(BINS) + 0.5) / BINS
    axes.bar(centers, counts / max(counts.sum(), 1), width=0.9 / BINS, color="#d9d9d9", label="share of reviews")
    axes.plot([0, 1], [0, 1], ":", color=GRAY, label="perfectly calibrated")
    axes.plot(predicted, found, "o-", color=COLORS[0], label="found")
    axes.legend(loc="upper left", frameon=False)
    return figure


def plot_search(trials: Sequence[tuple[int, str, float | None]], monitor: str) -> Figure:
    """Draws the value of each trial, `(number, state, value)`, over its number, and the best one so far."""
    figure = _figure()
    axes = figure.subplots()
    for state, marker, color in (("complete", "o", COLORS[0]), ("pruned", "x", GRAY)):
        points = [(number, value) for number, kind, value in trials if kind == state and value is not None]
        if points:
            axes.plot(*zip(*points, strict=True), marker, color=color, label=state)
            if state == "complete":
                numbers, values = zip(*points, strict=True)
                best = {"min": np.minimum, "max": np.maximum}[MONITORS[monitor]].accumulate(values)
                axes.step(numbers, best, where="post", color=COLORS[1], label=f"best so far: {best[-1]:.4f}")
    axes.set(xlabel="trial", ylabel=monitor)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    _title(axes, f"{len(trials)} trials")
    return figure


def plot_importances(importances: Mapping[str, float]) -> Figure:
    """Draws each setting's share in what made trials good, the largest on top."""
    figure = Figure(figsize=(SIZE[0], 1.1 + 0.4 * len(importances)), dpi=DOTS_PER_INCH, layout="constrained")
    axes = figure.subplots()
    shares = sorted(importances.items(), key=lambda item: item[1])
    bars = axes.barh([key for key, _ in shares], [share for _, share in shares], color=COLORS[0])
    axes.bar_label(bars, fmt="%.2f", padding=3)
    axes.set(xlim=(0, 1.1), xlabel="share (PED-ANOVA)", title="which settings mattered")
    return figure


def _draw_group(axes: Axes, runs: Sequence[Sequence[Epoch]], quantity: str, color: str | None) -> None:
    """Draws each of few runs, or the mean of many; without a color, as one of those that are not told apart."""
    style: dict[str, Any] = {"color": color or GRAY, "alpha": 1.0 if color else _FAINT, "zorder": 2.0 if color else 1.0}
    if len(runs) <= _EACH:
        for history in runs:
            _draw_curves(axes, history, quantity, **style)
        return
    # [epochs that all runs have, runs, fields]
    values = np.array([[dataclasses.astuple(epoch) for epoch in epochs] for epochs in zip(*runs, strict=False)])
    mean, deviation = ([Epoch(*row) for row in of(axis=1)] for of in (values.mean, partial(values.std, ddof=1)))
    _draw_curves(axes, mean, quantity, **style)
    for name in (quantity, f"val_{quantity}"):
        middle, width = (np.array([getattr(epoch, name) for epoch in rows]) for rows in (mean, deviation))
        epochs = np.arange(1, len(mean) + 1)
        axes.fill_between(epochs, middle - width, middle + width, **style | {"alpha": 0.15, "linewidth": 0})


def _draw_curves(
    axes: Axes, history: Sequence[Epoch], quantity: str, training: str = "", validation: str = "", **style: Any
) -> None:
    epochs = [epoch.epoch for epoch in history]
    # A single epoch is a point: a line through it would not be seen.
    marker = "." if len(epochs) < 30 else ""
    for name, line, label in ((quantity, "--", training), (f"val_{quantity}", "-", validation)):
        values = [getattr(epoch, name) for epoch in history]
        axes.plot(epochs, values, linestyle=line, marker=marker, label=label or None, **style)
    axes.set(xlabel="epoch", ylabel=quantity)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(alpha=0.3)


def _square(xlabel: str, ylabel: str, title: str) -> tuple[Figure, Axes]:
    figure = _figure(5.2, 4.6)
    axes = figure.subplots()
    # A little room above 1, where a good curve runs.
    axes.set(xlim=(0, 1), ylim=(0, 1.01), aspect="equal", xlabel=xlabel, ylabel=ylabel)
    _title(axes, title)
    axes.grid(alpha=0.3)
    return figure, axes


def _figure(width: float = SIZE[0], height: float = SIZE[1]) -> Figure:
    figure = Figure(figsize=(width, height), dpi=DOTS_PER_INCH)
    figure.subplots_adjust(LEFT / width, BOTTOM / height, 1 - RIGHT / width, 1 - TOP / height)
    return figure


def _literal(text: str) -> str:
    return plain(text).replace("$", r"\$")  # Between two of them, Matplotlib reads formulas.


def _title(axes: Axes, title: str) -> None:
    axes.set_title(_literal(title), y=1.0)  # Without a height, all ticks are laid out once more to find one.
