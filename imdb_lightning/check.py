"""The command `python -m imdb_lightning.check`: what would stop a command, said before it is given.

It takes what `python -m imdb_lightning` takes, and runs nothing.
"""

from __future__ import annotations

import sys
from functools import partial

from rich.console import Console
from rich.markup import escape

from imdb_lightning.config.errors import UserError
from imdb_lightning.launch import clusters, command_line
from imdb_lightning.launch.run import preflight


def main() -> None:
    """Runs the command line; exit status 2: something is wrong."""
    command_line.register_schema()
    parsed: list[command_line.CommandLine] = []
    ok = _report("settings, data, devices", lambda: parsed.append(_read()))
    for line in parsed:
        for overrides, mistake in line.errors.items():
            ok &= _report(overrides, partial(_raise, mistake))
        if line.sweep is not None:
            for subject, check in clusters.checks(line.launcher, line.configs, line.sweep).items():
                ok &= _report(subject, check)
    sys.exit(0 if ok else 2)


def _read() -> command_line.CommandLine:
    return command_line.read_command_line(sys.argv[1:], preflight)


def _raise(error: UserError) -> None:
    raise error


def _report(subject: str, check: clusters.Check) -> bool:
    console = Console(highlight=False, soft_wrap=True)
    try:
        open_question = check()
    except UserError as error:
        console.print(f"[red]wrong[/red]  {escape(subject)}: {escape(str(error))}")
        return False
    if open_question is None:
        console.print(f"[green]ok[/green]     {subject}")
    else:
        console.print(f"[yellow]open[/yellow]   {subject}: {escape(open_question)}")
    return True


if __name__ == "__main__":
    main()
