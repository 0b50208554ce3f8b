"""The last lines of a run: what it reached and with which weights, for the terminal and for `train.log`."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from imdb_lightning.config.schema import Config
from imdb_lightning.config.shown import shown
from imdb_lightning.runs.records import RunResult


def print_result(config: Config, result: RunResult, console: Console, changes: Sequence[str] = ()) -> None:
    """Prints losses and accuracies, which epoch's weights were tested, and seconds.

    `changes` are overrides of the network's settings: its name alone would not say what was trained.
    """
    changed = f" ({' '.join(text.partition('.')[2] for text in changes)})" if changes else ""
    table = Table("")
    for column in ("loss", "accuracy", "larger class", "F1"):
        table.add_column(column, justify="right")
    # What always answering the larger class would get right stands beside the accuracy, which says little without it.
    shares = result.data.get("larger_class", {})  # Runs from before it was recorded have none.
    tests: list[tuple[str, Mapping[str, Any]]] = [("validation", result.validation), ("test", result.test)]
    if result.refit is not None:
        tests.append(("test, refitted", result.refit["test"]))
    for split, numbers in tests:
        larger_class = shares.get(split.partition(",")[0])
        cells = [numbers["loss"], numbers["accuracy"], larger_class, numbers.get("f1")]
        table.add_row(split, *("" if cell is None else f"{cell:.4f}" for cell in cells))
    # Above the table, not as its title, which would be broken at the table's width.
    title = shown(f"{result.name}{changed}, seed {result.seed}")
    console.print(title, style="italic", highlight=False, markup=False)
    console.print(table)
    seconds = result.seconds
    lines = [
        f"tested       the weights of {_tested(config, result)}",
        *(
            [f"refitted     on training and validation reviews, {result.refit['epochs']} epochs"]
            if result.refit
            else []
        ),
        f"seconds      {seconds['total']:.1f} (fit {seconds['fit']:.1f}, test {seconds['test']:.1f})",
    ]
    console.print("\n".join(lines), highlight=False, soft_wrap=True)


def result_text(config: Config, result: RunResult) -> str:
    """The same as plain text."""
    lines = io.StringIO()
    print_result(config, result, Console(file=lines, width=80, color_system=None, force_jupyter=False))
    return lines.getvalue().rstrip()


def _tested(config: Config, result: RunResult) -> str:
    best, last = result.best_epoch, result.epochs
    early = {"early": " (stopped early)", "pruned": " (pruned)"}.get(result.stopped, "")
    if config.callbacks.restore_best:
        return f"epoch {best}, the best of {last}{early}"
    if best == last:
        return f"epoch {last}, the last{early} and by {config.callbacks.monitor} the best"
    return f"epoch {last}, the last{early}; epoch {best} had the best {config.callbacks.monitor}"
