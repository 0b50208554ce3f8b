"""The one exception for mistakes that the user can mend.

Every command turns it into one message and exit status 2. Anything else that is raised is a bug or an
accident and fails loudly, with its traceback.
"""

import re
import shlex
from collections.abc import Sequence


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
        # Undecodable bytes of files and of their names could not be printed or logged.
        return f"{key}: expected {accepted}, but got {got}. {remedy}".encode(errors="backslashreplace").decode()


def typed(key: str, value: str | Sequence[str]) -> str:
    """A setting as it is typed in a shell, or an option of a command, with the quotes that the shell and Hydra want.

    Example:
        >>> print(typed("data.train", "reviews (1).csv"), typed("data.labels", ["ham", "spam"]))
        'data.train="reviews (1).csv"' 'data.labels=[ham,spam]'
        >>> print(typed("--text-column", "the text"))
        '--text-column=the text'
    """
    if key.startswith("-"):
        words = [f"{key}={value}"] if isinstance(value, str) else [key, *value]
        return shlex.join(words)
    text = _quoted(value) if isinstance(value, str) else f"[{','.join(map(_quoted, value))}]"
    assignment = f"{key}={text}"
    # Brackets, too: bash leaves them alone where no file has such a name, zsh refuses them.
    return shlex.quote(assignment) if set('"[') & set(assignment) else assignment


def _quoted(value: str) -> str:
    if re.fullmatch(r"(?!null$)[A-Za-z0-9_/.:%@+-]+", value):
        return value
    # Hydra takes a backslash for what it is, except before a quote.
    return '"' + re.sub(r'(\\*)("|$)', lambda found: 2 * found[1] + ("\\" + found[2] if found[2] else ""), value) + '"'
