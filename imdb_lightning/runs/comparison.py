"""Finished runs side by side: a table, curves, and what did not finish.

Runs with equal settings but for the seed make a group; a group's numbers are means with the sample's standard
deviation over its runs. A sweep ends with this, too.
"""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from rich.console import Console
from rich.table import Table

from imdb_lightning.config.errors import UserError
from imdb_lightning.config.file import load_config
from imdb_lightning.config.schema import flatten
from imdb_lightning.runs import records
from imdb_lightning.runs.files import write_text

# Columns of tables: the decimals that are shown of each number of a run's results.
_COLUMNS = {
    "parameters": 0, "best_epoch": 1, "validation.loss": 4, "validation.accuracy": 4, "test.loss": 4,
    "test.accuracy": 4, "seconds.total": 1,
}  # fmt: skip
_NAMES = [column.removesuffix(".total").replace(".", "_") for column in _COLUMNS]
# The notebook's protocol: the test accuracy that it prints, its settings, and the reviews as results describe them.
_NOTEBOOK_SETTINGS = (
    "model.hidden_units", "model.activation", "model.loss", "model.l2", "model.dropout", "trainer.max_epochs",
    "callbacks.patience", "callbacks.restore_best", "model.optimizer", "model.learning_rate", "data.batch_size",
    "trainer.precision", "trainer.flags", "callbacks.monitor",
)  # fmt: skip
_SHARED: tuple[Any, ...] = ("adam", 0.001, 512, "32-true", {}, "val/loss")
_NOTEBOOK: dict[str, tuple[Any, ...]] = {
    "shallow_relu_bce": (0.88032, [16], "relu", "bce", 0.0, 0.0, 20, 2, True, *_SHARED),
    "deep_tanh_mse": (0.84740, [32, 32, 32], "tanh", "mse", 0.0, 0.0, 20, None, False, *_SHARED),
    "regularized_relu_bce": (0.87740, [64, 64], "relu", "bce", 0.001, 0.5, 5, None, False, *_SHARED),
}
_NOTEBOOK_REVIEWS = {"source": "imdb.npz", "num_words": 10_000, "train": 15_000, "validation": 10_000, "test": 25_000}


@dataclass(frozen=True)
class Run:
    """A run's folder and what is known of it; `result` is None unless it is completed."""

    folder: Path
    status: records.Status
    result: records.RunResult | None

    def __str__(self) -> str:
        # A run that was killed could not write that into its status.
        return f"{self.status.state}. {self.status.reason or 'It is still under way, or it was killed.'}"


@dataclass(frozen=True)
class Group:
    """Completed runs, at least one, with equal settings but for the seed."""

    label: str  # The network's name, and the settings that tell the group from others of the same network.
    runs: list[Run]
    notebook: float | None  # The notebook's test accuracy; None for settings or reviews that are not its own.

    def statistics(self) -> list[tuple[float, float | None]]:
        """Of each of `_COLUMNS` the mean and the sample's standard deviation, which a single run does not have."""
        results: list[dict[str, Any]] = [flatten(asdict(run.result)) for run in self.runs if run.result]
        columns = [[float(result[column]) for result in results] for column in _COLUMNS]
        return [(mean(values), stdev(values) if len(values) > 1 else None) for values in columns]


def find_runs(folders: Iterable[Path]) -> list[Run]:
    """All runs in or below the folders, in the order of their names, numbers by their value.

    Raises:
        UserError: a folder holds no run.
    """
    runs = []
    for folder in folders:
        found = sorted((path.parent for path in folder.rglob(records.STATUS)), key=_natural)
        if not found:
            raise UserError(folder, "a folder with runs", "one without any status.json", "Name a folder under logs.")
        for run in found:
            status = records.read_status(run)
            assert status is not None
            runs.append(Run(run, status, records.read_result(run) if status.state == records.COMPLETED else None))
    return runs


def group_runs(runs: Sequence[Run]) -> list[Group]:
    """Groups completed runs, in the order in which the groups first appear."""
    members: dict[tuple[tuple[str, str], ...], list[Run]] = {}
    for run in runs:
        if run.result is not None:
            config = asdict(load_config(run.folder / records.CONFIG)) | {"seed": None, "name": None}
            key = tuple((name, str(value)) for name, value in flatten(config).items())
            members.setdefault(key, []).append(run)
    groups = []
    for key, group in members.items():
        settings = dict(key)
        others = [dict(other) for other in members if ("model.name", settings["model.name"]) in other]
        differing = [name for name, value in key if any(other.get(name) != value for other in others)]
        label = " ".join([settings["model.name"], *(f"{name.split('.')[-1]}={settings[name]}" for name in differing)])
        groups.append(Group(label, group, _notebook_accuracy(settings, group)))
    return groups


def _notebook_accuracy(settings: dict[str, str], runs: Sequence[Run]) -> float | None:
    """The notebook's test accuracy for runs of its own settings on its own reviews; None for others."""
    accuracy, *values = _NOTEBOOK.get(settings["model.name"], (None,))
    own_settings = [settings.get(name) for name in _NOTEBOOK_SETTINGS] == [str(value) for value in values]
    own_reviews = all(run.result and _NOTEBOOK_REVIEWS.items() <= run.result.data.items() for run in runs)
    return accuracy if own_settings and own_reviews else None


def write_comparison(groups: Sequence[Group], runs: Sequence[Run], folder: Path) -> None:
    """Writes `comparison.csv`, `comparison.md` and, if any run was completed, `comparison.png`."""
    names = [f"{name}_{kind}" for name in _NAMES for kind in ("mean", "std")]
    rows = [[group.label, len(group.runs), *chain(*group.statistics()), group.notebook] for group in groups]
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator="\n").writerows([["model", "runs", *names, "notebook_test_accuracy"], *rows])
    write_text(folder / "comparison.csv", buffer.getvalue())
    header, *cells = _table(groups)
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *cells]
    text = "".join("| " + " | ".join(line) + " |\n" for line in lines)
    unfinished = [f"- `{run.folder.name}`: {run}" for run in runs if not run.result]
    write_text(folder / "comparison.md", "\n".join([text, *unfinished, ""]) if unfinished else text)
    if groups:
        from imdb_lightning.runs import plots  # matplotlib takes a while, and the table does without.

        curves = {group.label: [records.read_history(run.folder) for run in group.runs] for group in groups}
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
        if not run.result:
            # Without markup, as reasons may hold brackets.
            console.print(f"{run.folder.name}: {run}", style="red", soft_wrap=True, highlight=False, markup=False)


def compare(folders: Sequence[Path], output: Path) -> bool:
    """Compares all runs in or below the folders, writes and prints the tables; False: not all of them completed.

    Raises:
        UserError: a folder holds no run.
    """
    runs = find_runs(folders)
    groups = group_runs(runs)
    output.mkdir(parents=True, exist_ok=True)
    write_comparison(groups, runs, output)
    print_comparison(groups, runs)
    lines = [f"comparison   {output}/comparison.md, .csv, .png"]
    lines += [f"curves       tensorboard --logdir {folder}" for folder in folders]
    Console().print("\n".join(lines), highlight=False, soft_wrap=True)
    return all(run.result for run in runs)


def _table(groups: Sequence[Group]) -> list[list[str]]:
    """Header and rows as text."""
    rows = [["model", "runs", *(name.replace("_", " ") for name in _NAMES), "notebook"]]
    for group in groups:
        cells = [group.label, str(len(group.runs))]
        for (column, digits), (value, spread) in zip(_COLUMNS.items(), group.statistics(), strict=True):
            shown = "" if spread is None or column == "parameters" else f" ± {spread:.{digits}f}"
            cells.append(f"{value:,.{digits}f}{shown}")
        rows.append([*cells, "" if group.notebook is None else f"{group.notebook:.4f}"])
    return rows


def _natural(path: Path) -> tuple[str, int, str]:
    """Sorts 2_name before 10_name."""
    number = path.name.split("_")[0]
    return str(path.parent), int(number) if number.isdigit() else -1, path.name
