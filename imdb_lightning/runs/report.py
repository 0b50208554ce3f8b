"""Compared runs as tables and curves, for the terminal and in files; a sweep ends with this.

Groups on different reviews stand in sections of their own, and losses of different kinds are told apart.
"""

import csv
import io
import textwrap
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from rich.console import Console, JustifyMethod
from rich.markup import escape
from rich.table import Table

from imdb_lightning.config.shown import plain, shown
from imdb_lightning.runs.comparison import COLUMNS, Group, Run, find_runs, group_runs
from imdb_lightning.runs.files import write_text

# Columns as a terminal has room for them, the most important first.
_ORDER = (
    "model", "test accuracy", "notebook", "runs", "refitted", "validation accuracy", "ensemble", "test loss",
    "seconds", "validation loss", "best epoch", "parameters",
)  # fmt: skip
# Characters of a label in a table that is too wide; what is longer goes on in the next line of its cell.
_LABEL = 24


def compare(folders: Sequence[Path], output: Path) -> bool:
    """Compares all runs in or below the folders, writes and prints the tables; False: not all of them completed.

    Raises:
        UserError: a folder holds no run, or a file of a run is damaged; nothing is written.
    """
    runs = find_runs(folders)
    groups = group_runs(runs)
    output.mkdir(parents=True, exist_ok=True)
    write_comparison(groups, runs, output)
    print_comparison(groups, runs)
    lines = [f"comparison   {output}/comparison.md, .csv, .png"]
    lines += [f"curves       tensorboard --logdir {folder}" for folder in folders]
    Console().print(shown("\n".join(lines)), highlight=False, markup=False, soft_wrap=True)
    return all(run.result for run in runs)


def write_comparison(groups: Sequence[Group], runs: Sequence[Run], folder: Path) -> None:
    """Writes `comparison.csv`, `comparison.md` and, if any run was completed, `comparison.png`."""
    names = [f"{name.replace(' ', '_')}_{kind}" for name in COLUMNS for kind in ("mean", "std")]
    others: list[object] = [
        "notebook_test_accuracy",
        "loss_kind",
        "data",
        "ensemble_test_accuracy",
        "refitted_test_accuracy",
    ]
    rows: list[list[object]] = [["model", "runs", *names, *others]]
    for group in groups:
        others = [group.notebook, group.loss, group.data, group.ensemble, group.refitted()]
        rows.append([group.label, len(group.runs), *chain(*group.statistics()), *others])
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    write_text(folder / "comparison.csv", buffer.getvalue())
    parts = []
    for data, section in _sections(groups).items():
        header, *cells = [[cell.replace("|", r"\|") for cell in line] for line in _table(section)]
        lines = [header, ["---"] + ["---:"] * (len(header) - 1), *cells]
        parts += [f"{data}\n", "".join("| " + " | ".join(line) + " |\n" for line in lines)]
    unfinished = "".join(f"- `{run.folder.name}`: {run}\n" for run in runs if not run.result)
    write_text(folder / "comparison.md", shown("\n".join([*parts, unfinished] if unfinished else parts)))
    if groups:
        from imdb_lightning.runs import plots  # matplotlib takes a while, and the table does without.

        def curves(group: Group) -> plots.Curves:
            return plots.Curves(group.label, group.loss, [run.history for run in group.runs])

        sections = {data: list(map(curves, section)) for data, section in _sections(groups).items()}
        plots.save(plots.plot_comparison(sections), folder / "comparison.png")


def print_comparison(groups: Sequence[Group], runs: Sequence[Run]) -> None:
    """Prints a table for each data set, then every run that did not complete, with its reason."""
    console = Console(highlight=False)
    for data, section in _sections(groups).items():
        count = sum(len(group.runs) for group in section)
        _print_line(console, f"{count} runs, mean ± standard deviation, {data}", "italic")
        left_out = _print_table(console, _table(section))
        if left_out:
            _print_line(console, f"Only in the files, for want of width: {', '.join(left_out)}.")
    for run in runs:
        if not run.result:
            _print_line(console, f"{run.folder.name}: {run}", "red")


def _print_line(console: Console, text: str, style: str = "") -> None:
    # Between words: a path is there to be copied. Without markup, as reasons may hold brackets.
    text = textwrap.fill(shown(text), console.width, break_long_words=False, break_on_hyphens=False)
    console.print(text, style=style, markup=False, soft_wrap=True)


def _print_table(console: Console, rows: Sequence[Sequence[str]]) -> list[str]:
    """Prints a table in the console's width; gives the columns that had no room."""
    header, *cells = rows
    # Without a column in which there is nothing.
    columns = {name: column for name, *column in zip(header, *cells, strict=True) if any(column)}
    shown, room = [], console.width - 1
    for name in sorted(columns, key=_ORDER.index):
        width = max(map(len, [*name.split(), *columns[name]]))
        width = 3 + (min(width, _LABEL) if name == "model" else width)
        if width <= room:
            shown.append(name)
            room -= width
    shown.sort(key=header.index)
    # Lines between rows where labels take several.
    table = Table(show_lines=max(map(len, columns["model"])) > _LABEL + room)
    for name in shown:
        justify: JustifyMethod = "left" if name == "model" else "right"
        table.add_column(name.replace(" ", "\n"), justify=justify, no_wrap=name != "model")
    for row in zip(*(columns[name] for name in shown), strict=True):
        table.add_row(*map(escape, row))
    console.print(table)
    return [name for name in columns if name not in shown]


def _sections(groups: Sequence[Group]) -> dict[str, list[Group]]:
    """Groups by their data set."""
    sections: dict[str, list[Group]] = {}
    for group in groups:
        sections.setdefault(group.data, []).append(group)
    return sections


def _table(groups: Sequence[Group]) -> list[list[str]]:
    """Header and rows as text."""
    several_losses = len({group.loss for group in groups}) > 1
    rows = [["model", "runs", *COLUMNS, "notebook", "ensemble", "refitted"]]
    for group in groups:
        cells = [plain(group.label), str(len(group.runs))]
        for (column, digits), (value, spread) in zip(COLUMNS.items(), group.statistics(), strict=True):
            shown = "" if spread is None or column == "parameters" else f" ± {spread:.{digits}f}"
            kind = f" {group.loss}" if several_losses and column.endswith("loss") else ""
            cells.append(f"{value:,.{digits}f}{shown}{kind}")
        accuracies = (group.notebook, group.ensemble, group.refitted())
        rows.append([*cells, *("" if accuracy is None else f"{accuracy:.4f}" for accuracy in accuracies)])
    return rows
