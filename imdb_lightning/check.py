"""The command `python -m imdb_lightning.check`: what would stop `python -m imdb_lightning` with the same arguments."""

import sys
import textwrap

from imdb_lightning.config.command import command
from imdb_lightning.config.errors import UserError


@command()
def main() -> None:
    """Runs the command line; exit status 2: something is wrong."""
    from imdb_lightning.launch import clusters, command_line

    command_line.register_schema()
    subject = "settings, data, devices"
    try:
        line = command_line.read_command_line(sys.argv[1:])
    except UserError as error:
        _print("wrong", subject, error)
        sys.exit(2)
    if line.configs:
        _print("ok", subject)
    status = 2 if line.errors else 0
    for overrides, mistake in line.errors.items():
        _print("wrong", overrides, mistake)
    # Where the command stops at the first mistake, all are looked for here.
    checks = clusters.sweep_checks(line.launcher, line.configs, line.sweep) if line.configs else {}
    for subject, check in checks.items():
        try:
            unknown = check()
            _print("ok" if unknown is None else "open", subject, unknown)
        except UserError as error:
            _print("wrong", subject, error)
            status = 2
    sys.exit(status)


def _print(word: str, subject: str, detail: object = None) -> None:
    from rich.console import Console
    from rich.markup import escape

    from imdb_lightning.config.shown import shown

    color = {"ok": "green", "open": "yellow", "wrong": "red"}[word]
    text = shown(subject if detail is None else f"{subject}: {detail}")
    console = Console(highlight=False, soft_wrap=True)
    # Between words: a path is there to be copied.
    lines = textwrap.wrap(text, console.width - 7, break_long_words=False, break_on_hyphens=False)
    console.print(f"[{color}]{word:7}[/{color}]" + escape("\n       ".join(lines)))


if __name__ == "__main__":
    main()
