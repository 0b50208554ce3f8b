"""What a search leaves beside the folders of its trials: a table and pictures."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from imdb_lightning.config.schema import MONITORS
from imdb_lightning.runs import records
from imdb_lightning.runs.files import write_text

STUDY, TRIALS, FOUND = "study.journal", "trials.csv", "experiment/found.yaml"
# Trials on the terminal.
_SHOWN = 5


@dataclass(frozen=True)
class Trial:
    """A job of a search."""

    number: int
    state: str  # `complete`, `pruned`, or `running` where there is no result.
    value: float | None  # What the search goes by, on the validation reviews; of a pruned one, after its last epoch.
    settings: dict[str, str]  # Those that the search varies, as they are typed.
    folder: Path

    def seconds(self) -> float | None:
        """Of the run; None where there is no result."""
        return records.read_result(self.folder).seconds["total"] if self.state != "running" else None


def report(trials: Sequence[Trial], monitor: str, importances: Mapping[str, float], folder: Path) -> None:
    """Writes `trials.csv` and pictures, and prints the best trials.

    Args:
        trials: all, in their order, at least one complete.
        monitor: what they are told apart by, as in `callbacks.monitor`.
        importances: share of each setting in what made trials good; empty where it is not known.
        folder: of the sweep.
    """
    from imdb_lightning.runs import plots  # matplotlib takes a while.

    keys = list(trials[0].settings)
    rows: list[list[object]] = [["number", "state", "value", *keys, "seconds", "folder"]]
    rows += [[t.number, t.state, t.value, *t.settings.values(), t.seconds(), t.folder.name] for t in trials]
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    write_text(folder / TRIALS, buffer.getvalue())

    pictures = {"search": plots.plot_search([(t.number, t.state, t.value) for t in trials], monitor)}
    if importances:
        pictures["importances"] = plots.plot_importances(importances)
    for name, figure in pictures.items():
        plots.save(figure, folder / f"{name}.png")

    console = Console(highlight=False)
    console.print(f"the best of {len(trials)} trials, by {monitor}", style="italic")
    table = Table()
    for column in ("trial", monitor, *(key.rpartition(".")[2] for key in keys)):
        table.add_column(column, justify="right")
    sign = {"min": 1, "max": -1}[MONITORS[monitor]]
    complete = [(sign * t.value, t) for t in trials if t.state == "complete" and t.value is not None]
    for _, trial in sorted(complete, key=lambda pair: pair[0])[:_SHOWN]:
        table.add_row(str(trial.number), f"{trial.value:.4f}", *trial.settings.values())
    console.print(table)


def print_found(folder: Path) -> None:
    """Prints where the results of a sweep that was a search are, and the command that trains what it found."""
    if (folder / FOUND).exists():
        command = (folder / FOUND).read_text(encoding="utf-8").splitlines()[1].removeprefix("# ")
        lines = [f"search       {folder}/{TRIALS}, search.png, {STUDY}", f"found        {folder}/{FOUND}; to train it:"]
        Console().print("\n".join([*lines, f"  {command}"]), highlight=False, soft_wrap=True, markup=False)
