"""The one exception for mistakes that the user can mend.

Every command turns it into one message and exit status 2. Anything else that is raised is a bug or an
accident and fails loudly, with its traceback.
"""

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
def exit_on_user_error() -> Iterator[None]:
    """Ends the program with the message of a `UserError` and status 2: around the work of each command."""
    try:
        yield
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
