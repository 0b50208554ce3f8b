"""The one exception for mistakes that the user can mend.

Every command turns it into one message and exit status 2. Anything else that is raised is a bug or an
accident and fails loudly, with its traceback.
"""

import io
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager


class UserError(ValueError):
    """A setting or a file that cannot be used.

    Args:
        key: dotted key of the setting, or path of the file.
        accepted: what would have been accepted there.
        got: what came instead.
        remedy: what to do, as a sentence.

    Example:
        >>> print(UserError("data.batch_size", "a whole number, at least 1", 0, "Try data.batch_size=512."))
        data.batch_size: expected a whole number, at least 1, but got 0. Try data.batch_size=512.
    """

    self_explanatory = True  # Its text stands in a run's status without the name of its class.

    def __init__(self, key: object, accepted: str, got: object, remedy: str) -> None:
        # The four arguments stay in `args`, so that the error can be pickled: a rank or a cluster job hands it back.
        super().__init__(key, accepted, got, remedy)

    def __str__(self) -> str:
        key, accepted, got, remedy = self.args
        return f"{key}: expected {accepted}, but got {got}. {remedy}"


@contextmanager
def command() -> Iterator[None]:
    """Around the main function of each command, which imports what takes long in there, as Ctrl-C may come then, too.

    Ends the program on Ctrl-C in one line with status 130, and on a `UserError` as `exit_on_user_error` does. What the
    terminal cannot show is shown as its code: `±` as `\\xb1` where only ASCII is known.
    """
    escape_unencodable()
    try:
        with exit_on_user_error():
            yield
    except KeyboardInterrupt:
        print("Interrupted by SIGINT.", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)


def escape_unencodable() -> None:
    """Lets this process print any text, whatever the locale."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@contextmanager
def exit_on_user_error() -> Iterator[None]:
    """Ends the program with the message of a `UserError` and status 2."""
    try:
        yield
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
