"""The one exception for mistakes that the user can mend.

Every command turns it into one message and exit status 2. Anything else that is raised is a bug or an
accident and fails loudly, with its traceback.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


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

    def __init__(self, key: object, accepted: str, got: object, remedy: str) -> None:
        # The four arguments stay in `args`, so that the error can be pickled on its way back from a cluster job.
        super().__init__(key, accepted, got, remedy)

    def __str__(self) -> str:
        key, accepted, got, remedy = self.args
        return f"{key}: expected {accepted}, but got {got}. {remedy}"


class RelayedError(UserError):
    """A `UserError` of another process, of which only the message is known."""

    def __init__(self, message: str) -> None:
        ValueError.__init__(self, message)

    def __str__(self) -> str:
        return str(self.args[0])


@contextmanager
def exit_on_user_error() -> Iterator[None]:
    """Ends the program with the message of a `UserError` and status 2: around the work of each command."""
    try:
        yield
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)


MAX_SEED = 2**32 - 1
MAX_SIZE = 2**31 - 1
"""Of anything that is counted by an int32, as word ids are."""


def check_choice(key: str, value: str, accepted: tuple[str, ...]) -> None:
    """Refuses a value that is not one of those accepted."""
    if value not in accepted:
        raise UserError(key, "one of " + ", ".join(accepted), repr(value), f"Try {key}={accepted[0]}.")


def check_whole(key: str, value: int, least: int, example: int, most: int | None = None) -> None:
    """Refuses a number out of its range; `example` is one to try."""
    if value < least or (most is not None and value > most):
        accepted = f"a whole number, at least {least}" if most is None else f"a whole number from {least} to {most}"
        raise UserError(key, accepted, value, f"Try {key}={example}.")


def check_real(key: str, value: float, accepted: str, ok: bool, example: float) -> None:
    """Refuses a number that is not finite, or not `ok`."""
    if not (ok and math.isfinite(value)):
        raise UserError(key, accepted, value, f"Try {key}={example:g}.")


def check_targets(key: str, values: dict[str, Any]) -> None:
    """Refuses a mapping of names to objects to be made unless each names its class."""
    for name, value in values.items():
        if not isinstance(value, dict) or not isinstance(value.get("_target_"), str):
            accepted, remedy = "a mapping with a class as _target_", f"Say {key}.{name}._target_=package.module.Class."
            raise UserError(f"{key}.{name}", accepted, repr(value), remedy)
