"""The one exception for what the user can mend: mistakes, a full disk, missing permissions.

Every command turns it into one message and exit status 2. Anything else that is raised is a bug or an
accident and fails loudly, with its traceback.
"""

import errno
import os
import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from imdb_lightning.config.shown import shown

# What the system may refuse, though no mistake of this program: what is expected instead, what the reason begins with,
# and a remedy.
_ROOM = "room on the disk", "disk full: ", "Free some, and give the same command again."
_DISK = "a disk that works", "", "See the system's log, or name a place on another disk."
_RIGHTS = "a place that this user may read and write", "", "Mend its permissions, or name another."
_PATH = "a path that the system takes", "", "Name another."
_MEMORY = "as much memory as this takes", "", "Free some, or take less at once, as with a smaller data.batch_size."
_OPEN = "one more open file", "", "Raise the limit with ulimit -n."
_REFUSED = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), _ROOM),
    errno.EIO: _DISK,
    errno.ENOMEM: _MEMORY,
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), _OPEN),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), _RIGHTS),
    **dict.fromkeys((errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP), _PATH),
}

# What MemoryError has no class for: torch's own allocators raise RuntimeError.
_NO_MEMORY = "can't allocate memory", "out of memory", "std::bad_alloc"

# Characters of a part of a message.
_LONGEST = 1000


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
        # One line, whatever a file or its name holds.
        key, accepted, got, remedy = (_shortened(str(part).replace("\n", r"\n")) for part in self.args)
        return shown(f"{key}: expected {accepted}, but got {got}. {remedy}")


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}... ({len(text):,} characters)"


@contextmanager
def explaining(path: Path | str) -> Iterator[None]:
    """Around any work: what the system refuses for a reason that the user can mend becomes a `UserError`.

    It names the file that the system names, or `path`, what is written to beside its place; used-up memory has no file.
    Any other `OSError`, as of a file that is missing, may be a mistake of this program and stays what it is.

    Raises:
        UserError: the disk is full or fails, memory is used up, permissions are missing, or the system cannot take a
            path.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not any(text in str(error) for text in _NO_MEMORY):
            raise
        found = (str(error).splitlines() or ["no reason given"])[0].rstrip(".")  # torch's may go on with a stack.
        accepted, _, remedy = _MEMORY
        raise UserError("memory", accepted, f"too little ({found})", remedy) from error
    except OSError as error:
        number, file = error.errno or 0, error.filename
        # An error that names no file is of one that is open already, or of something else than a file.
        if number not in _REFUSED or (file is None and _REFUSED[number] in (_RIGHTS, _PATH)):
            raise
        accepted, begin, remedy = _REFUSED[number]
        beside = f".{Path(path).name}."
        named = path if file is None or beside in str(file) else os.fsdecode(file)
        raise UserError(named, accepted, f"{begin}{os.strerror(number)}", remedy) from error


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
