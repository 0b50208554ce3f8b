"""What a finished run prints."""

import os
from pathlib import Path

from rich.console import Console
from rich.table import Table

from imdb_lightning.runs.records import RunResult


def print_result(result: RunResult, folder: Path | None) -> None:
    """Prints losses and accuracies, best epoch and seconds, and the folder; `folder` is None if none is kept."""
    table = Table(title=f"{result.name}, seed {result.seed}", title_justify="left")
    for column in ("", "loss", "accuracy"):
        table.add_column(column, justify="left" if not column else "right")
    for split in ("validation", "test"):
        numbers = getattr(result, split)
        table.add_row(split, f"{numbers['loss']:.4f}", f"{numbers['accuracy']:.4f}")
    console = Console()
    console.print(table)
    stopped = "stopped early" if result.stopped == "early" else "all epochs"
    seconds = result.seconds
    lines = [
        f"best epoch   {result.best_epoch} of {result.epochs} ({stopped})",
        f"seconds      {seconds['total']:.1f} (fit {seconds['fit']:.1f}, test {seconds['test']:.1f})",
    ]
    if folder is not None:
        relative = os.path.relpath(folder)  # As people type it.
        lines += [f"folder       {relative}", f"curves       tensorboard --logdir {relative}"]
    # No wrapping: paths and commands are there to be copied.
    console.print("\n".join(lines), highlight=False, soft_wrap=True)
