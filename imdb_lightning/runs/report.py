"""The last lines of a run: what it reached and with which weights, for the terminal and for `train.log`."""

import io

from rich.console import Console
from rich.table import Table

from imdb_lightning.config.schema import Config
from imdb_lightning.runs.records import RunResult


def print_result(config: Config, result: RunResult, console: Console) -> None:
    """Prints losses and accuracies, which epoch's weights were tested, and seconds."""
    table = Table("", title=f"{result.name}, seed {result.seed}", title_justify="left")
    for column in ("loss", "accuracy"):
        table.add_column(column, justify="right")
    for split, numbers in (("validation", result.validation), ("test", result.test)):
        table.add_row(split, f"{numbers['loss']:.4f}", f"{numbers['accuracy']:.4f}")
    console.print(table)
    seconds = result.seconds
    lines = [
        f"tested       the weights of {_tested(config, result)}",
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
    early = " (stopped early)" if result.stopped == "early" else ""
    if config.callbacks.restore_best:
        return f"epoch {best}, the best of {last}{early}"
    if best == last:
        return f"epoch {last}, the last{early} and by {config.callbacks.monitor} the best"
    return f"epoch {last}, the last{early}; epoch {best} had the best {config.callbacks.monitor}"
