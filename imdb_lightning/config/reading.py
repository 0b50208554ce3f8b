"""Files that may be damaged or a stranger's: regular ones only, and only up to a size."""

import os
import stat
from pathlib import Path

from imdb_lightning.config.errors import UserError

# Characters of an error in a message.
_SHOWN = 200
# What a path may be that is no file to read.
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def own_path(name: str | Path) -> Path:
    """A path as a user types it, with `~` for a home; that of nobody stays as it is, and will not be found."""
    # By the module, since `Path.expanduser` raises where there is no such user.
    return Path(os.path.expanduser(name))  # noqa: PTH111


def why_unreadable(path: Path) -> str:
    """Why a path is no regular file that may be read, else "": a pipe would be waited for, a device read for ever."""
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            return _KINDS.get(stat.S_IFMT(mode), "no regular file")
        path.open("rb").close()
    except OSError as error:  # None, a loop of links, a name that is too long, one that may not be read.
        return error.strerror or str(error)
    except ValueError:
        return "a name with a NUL"
    return ""


def check_file(path: Path) -> None:
    """Refuses what is no regular file that may be read.

    Raises:
        UserError: it is none.
    """
    if reason := why_unreadable(path):
        raise UserError(path, "an existing file that can be read", reason, "Mend the path, or its permissions.")


def read_text(path: Path, most: int) -> str:
    """Reads a text file in UTF-8.

    Raises:
        OSError: there is no such file, it is no regular one, or it cannot be read.
        ValueError: it has more than `most` bytes, or is no text.
    """
    if reason := why_unreadable(path):
        raise OSError(reason)
    with path.open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"more than {most:,} bytes")
    return content.decode()


def found_instead(error: Exception) -> str:
    """What stands in a file's place, for a `UserError`: why it cannot be read, or in short why it cannot be used."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    text = f"no {error}" if isinstance(error, KeyError) else str(error) or type(error).__name__
    line = " ".join(text.split())
    return f"other content ({line if len(line) <= _SHOWN else line[:_SHOWN] + '...'})"
