"""Text of files that may be damaged or a stranger's: plain files only, and only up to a size."""

from pathlib import Path

# Characters of an error in a message.
_SHOWN = 200


def read_text(path: Path, most: int) -> str:
    """Reads a text file in UTF-8.

    Raises:
        OSError: there is no such file, it is no plain one (a pipe would never end), or it cannot be read.
        ValueError: it has more than `most` bytes, or is no text.
    """
    if not path.is_file():
        raise OSError("no plain file" if path.exists() else "no such file")
    with path.open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"more than {most:,} bytes")
    return content.decode()


def found_instead(error: Exception) -> str:
    """What stands in a file's place, for a `UserError`: why it cannot be read, or in short why it cannot be used."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    line = " ".join((str(error) or type(error).__name__).split())
    return f"other content ({line if len(line) <= _SHOWN else line[:_SHOWN] + '...'})"
