"""What is around the main function of every command: its streams, and how it ends."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from imdb_lightning.config.errors import UserError, explaining
from imdb_lightning.config.streams import open_streams, written_output


@contextmanager
def command() -> Iterator[None]:
    """Around the main function of each command, which imports what takes long in there, as Ctrl-C may come then, too.

    Ends the program on Ctrl-C in one line with status 130, and on a `UserError`, as where its output cannot be written,
    as `exit_on_user_error` does. What the terminal cannot show is shown as its code: `±` as `\\xb1` where only ASCII
    is known.
    """
    open_streams()
    try:
        with exit_on_user_error(), explaining("standard output"), written_output():
            yield
    except KeyboardInterrupt:
        print("Interrupted by SIGINT.", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)


@contextmanager
def exit_on_user_error() -> Iterator[None]:
    """Ends the program with the message of a `UserError` and status 2."""
    try:
        yield
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
