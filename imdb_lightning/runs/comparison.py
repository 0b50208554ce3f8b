"""Finished runs side by side: a table, curves, and what did not finish.

Runs with equal settings but for the seed make a group; a group's numbers are means with the sample's standard
deviation over its runs. A sweep ends with this, too.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, stdev

from rich.console import Console
from rich.table import Table

from imdb_lightning.config.errors import UserError
from imdb_lightning.config.file import load_config
from imdb_lightning.config.schema import flatten
from imdb_lightning.runs.files import write_text
from imdb_lightning.runs.records import (
    COMPLETED,
    CONFIG,
    STATUS,
    RunResult,
    Status,
    read_history,
    read_result,
    read_status,
)

NOTEBOOK = {
    "shallow_relu_bce": (0.88032, ([16], "relu", "bce", 0.0, 0.0), (20, 2, True)),
    "deep_tanh_mse": (0.84740, ([32, 32, 32], "tanh", "mse", 0.0, 0.0), (20, None, False)),
    "regularized_relu_bce": (0.87740, ([64, 64], "relu", "bce", 0.001, 0.5), (5, None, False)),
}
"""Of each network of the Keras notebook, the test accuracy that it prints; hidden units, activation, loss, L2, dropout;
epochs, patience, and whether the best weights are restored."""
NOTEBOOK_REVIEWS = {"source": "imdb.npz", "num_words": 10_000, "train": 15_000, "validation": 10_000, "test": 25_000}
"""The notebook's reviews, as a run's results describe them."""

COLUMNS = {
    "parameters": lambda result: result.parameters,
    "best_epoch": lambda result: result.best_epoch,
    "validation_loss": lambda result: result.validation["loss"],
    "validation_accuracy": lambda result: result.validation["accuracy"],
    "test_loss": lambda result: result.test["loss"],
    "test_accuracy": lambda result: result.test["accuracy"],
    "seconds": lambda result: result.seconds["total"],
}
DIGITS = {"parameters": 0, "best_epoch": 1, "seconds": 1}
"""Decimals shown in tables; 4 for the others."""


@dataclass(frozen=True)
class Run:
    """A run's folder and what is known of it; `result` is None unless it is completed."""

    folder: Path
    status: Status
    result: RunResult | None


@dataclass(frozen=True)
class Group:
    """Completed runs with equal settings but for the seed.

    Attributes:
        label: the network's name, and the settings that tell the group from others of the same network.
        runs: at least one.
        notebook: the test accuracy that the notebook has; None for settings or reviews that are not the notebook's own.
    """

    label: str
    runs: list[Run]
    notebook: float | None

    def values(self, column: str) -> list[float]:
        """A column's value of each run."""
        return [float(COLUMNS[column](run.result)) for run in self.runs]

    def spread(self, column: str) -> float | None:
        """The sample's standard deviation; None for a single run."""
        return stdev(self.values(column)) if len(self.runs) > 1 else None


def find_runs(folders: Iterable[Path]) -> list[Run]:
    """All runs in or below the folders, in the order of their names, numbers by their value.

    Raises:
        UserError: a folder holds no run.
    """
    runs = []
    for folder in folders:
        found = sorted((path.parent for path in folder.rglob(STATUS)), key=_natural)
        if not found:
            raise UserError(folder, "a folder with runs", "one without any status.json", "Name a folder under logs.")
        for folder in found:
            status = read_status(folder)
            assert status is not None
            runs.append(Run(folder, status, read_result(folder) if status.state == COMPLETED else None))
    return runs


def group_runs(runs: Sequence[Run]) -> list[Group]:
    """Groups completed runs, in the order in which the groups first appear."""
    members: dict[tuple[tuple[str, str], ...], list[Run]] = {}
    for run in runs:
        if run.result is not None:
            config = asdict(load_config(run.folder / CONFIG)) | {"seed": None, "name": None}
            key = tuple((name, str(value)) for name, value in flatten(config).items())
            members.setdefault(key, []).append(run)
    groups = []
    for key, group in members.items():
        model = dict(key)["model.name"]
        others = [dict(other) for other in members if dict(other)["model.name"] == model]
        differing = [
            f"{name.split('.')[-1]}={value}" for name, value in key if any(other.get(name) != value for other in others)
        ]
        label = " ".join([model, *differing])
        groups.append(Group(label, group, _notebook_accuracy(group)))
    return groups


def _notebook_accuracy(runs: Sequence[Run]) -> float | None:
    """The notebook's test accuracy for runs of its own settings on its own reviews; None for others."""
    config = load_config(runs[0].folder / CONFIG)
    if config.model.name not in NOTEBOOK:
        return None
    accuracy, network, protocol = NOTEBOOK[config.model.name]
    model, trainer, callbacks = config.model, config.trainer, config.callbacks
    same = (
        (model.hidden_units, model.activation, model.loss, model.l2, model.dropout) == network
        and (trainer.max_epochs, callbacks.patience, callbacks.restore_best) == protocol
        and (model.optimizer, model.learning_rate, config.data.batch_size) == ("adam", 0.001, 512)
        and (trainer.precision, trainer.flags, callbacks.monitor) == ("32-true", {}, "val/loss")
        and all(run.result and NOTEBOOK_REVIEWS.items() <= run.result.data.items() for run in runs)
    )
    return accuracy if same else None


def write_comparison(groups: Sequence[Group], runs: Sequence[Run], folder: Path) -> None:
    """Writes `comparison.csv`, `comparison.md` and, if any run was completed, `comparison.png`."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    statistics = [f"{column}_{kind}" for column in COLUMNS for kind in ("mean", "std")]
    writer.writerow(["model", "runs", *statistics, "notebook_test_accuracy"])
    for group in groups:
        numbers = [number for column in COLUMNS for number in (mean(group.values(column)), group.spread(column))]
        cells = ("" if number is None else number for number in [*numbers, group.notebook])
        writer.writerow([group.label, len(group.runs), *cells])
    write_text(folder / "comparison.csv", buffer.getvalue())
    header, *rows = _table(groups)
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    text = "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"
    unfinished = [f"- `{run.folder.name}`: {_state(run)}" for run in runs if not run.result]
    write_text(folder / "comparison.md", "\n".join([text, *unfinished, ""]) if unfinished else text)
    if groups:
        from imdb_lightning.runs import plots  # matplotlib takes a while, and the table does without.

        curves = {group.label: [read_history(run.folder) for run in group.runs] for group in groups}
        plots.save(plots.plot_comparison(curves), folder / "comparison.png")


def print_comparison(groups: Sequence[Group], runs: Sequence[Run]) -> None:
    """Prints the table, then every run that did not complete, with its reason."""
    console = Console()
    if groups:
        header, *rows = _table(groups)
        table = Table(title=f"{len(runs)} runs, mean ± standard deviation", title_justify="left")
        for number, column in enumerate(header):
            table.add_column(column, justify="right" if number else "left")
        for row in rows:
            table.add_row(*row)
        # A table squeezed into 80 columns cannot be read: better that its lines are long.
        needed = Console(width=1000).measure(table).maximum
        Console(width=max(needed, console.width if console.is_terminal else 0)).print(table)
    for run in runs:
        if run.result is None:
            console.print(
                f"{run.folder.name}: {_state(run)}", style="red", soft_wrap=True, highlight=False, markup=False
            )


def compare_sweep(folder: Path) -> bool:
    """Compares the jobs of a sweep in its folder; False: not all of them completed."""
    runs = find_runs([folder])
    groups = group_runs(runs)
    write_comparison(groups, runs, folder)
    print_comparison(groups, runs)
    lines = f"comparison   {folder}/comparison.md, .csv, .png\ncurves       tensorboard --logdir {folder}"
    Console().print(lines, highlight=False, soft_wrap=True)
    return all(run.result is not None for run in runs)


def _state(run: Run) -> str:
    """How far a run came that has no result, and why; one that was killed could not say so itself."""
    return f"{run.status.state}. {run.status.reason or 'It is still under way, or it was killed.'}"


def _table(groups: Sequence[Group]) -> list[list[str]]:
    """Header and rows as text."""
    header = ["model", "runs", *(column.replace("_", " ") for column in COLUMNS), "notebook"]
    rows = []
    for group in groups:
        cells = [group.label, str(len(group.runs))]
        for column in COLUMNS:
            digits, spread = DIGITS.get(column, 4), group.spread(column)
            cell = f"{mean(group.values(column)):,.{digits}f}"
            cells.append(cell if spread is None or column == "parameters" else f"{cell} ± {spread:.{digits}f}")
        rows.append([*cells, "" if group.notebook is None else f"{group.notebook:.4f}"])
    return [header, *rows]


def _natural(path: Path) -> tuple[str, int, str]:
    number = path.name.split("_")[0]
    return str(path.parent), int(number) if number.isdigit() else -1, path.name
