"""The command `python -m imdb_lightning.check`: what would stop `python -m imdb_lightning` with the same arguments."""

import sys

from rich.console import Console
from rich.markup import escape

from imdb_lightning.config.errors import UserError
from imdb_lightning.launch import clusters, command_line


def main() -> None:
    """Runs the command line; exit status 2: something is wrong."""
    command_line.register_schema()
    subject = "settings, data, devices"
    try:
        line = command_line.read_command_line(sys.argv[1:])
    except UserError as error:
        _print("wrong", subject, error)
        sys.exit(2)
    _print("ok", subject)
    status = 2 if line.errors else 0
    for overrides, mistake in line.errors.items():
        _print("wrong", overrides, mistake)
    # Where the command stops at the first mistake, all are looked for here.
    for subject, check in clusters.sweep_checks(line.launcher, line.configs, line.sweep).items():
        try:
            unknown = check()
            _print("ok" if unknown is None else "open", subject, unknown)
        except UserError as error:
            _print("wrong", subject, error)
            status = 2
    sys.exit(status)


def _print(word: str, subject: str, detail: object = None) -> None:
    color = {"ok": "green", "open": "yellow", "wrong": "red"}[word]
    text = subject if detail is None else f"{subject}: {detail}"
    # Unwrapped, so that a message can be searched for in a log.
    Console(highlight=False, soft_wrap=True).print(f"[{color}]{word:7}[/{color}]{escape(text)}")


if __name__ == "__main__":
    main()
