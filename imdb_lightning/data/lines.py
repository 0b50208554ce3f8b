"""Lines of a text file, with a limit on those that belong to one row: a file may be one endless line, or one row."""

from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from imdb_lightning.config.errors import UserError
from imdb_lightning.data.bounds import MAX_REVIEW

# Characters of a file's beginning that show what is in it.
_START = 1 << 16


class Lines:
    """Lines one by one; whoever takes them says where a row ends."""

    def __init__(self, path: Path, file: TextIO) -> None:
        self._path, self._file = path, file
        self._first, self._number, self._held = 1, 0, 0

    def __iter__(self) -> "Lines":
        return self

    def __next__(self) -> str:
        """The next line.

        Raises:
            UserError: the lines of a row have too many characters.
        """
        line = self._file.readline(MAX_REVIEW + 1)
        if not line:
            raise StopIteration
        self._number += 1
        self._held += len(line)
        if self._held > MAX_REVIEW:
            raise too_long(f"{self._path}, line {self._first}")
        return line

    def end_row(self) -> None:
        """What comes next is another row."""
        self._first, self._held = self._number + 1, 0


def single_lines(path: Path, file: TextIO) -> Iterator[str]:
    """Lines of which each is a row; raises what `Lines` raises."""
    lines = Lines(path, file)
    for line in lines:
        lines.end_row()
        yield line


def read_beginning(file: TextIO) -> str:
    """The first lines, each whole unless it is too long; what is read next begins with them again."""
    start = file.read(_START)
    if not start.endswith("\n"):
        start += file.readline(MAX_REVIEW)
    file.seek(0)
    return start


def too_long(place: str) -> UserError:
    """What to say of a review, or a row, that is too long to be one."""
    remedy = "Shorten or remove it; if it is many rows, look for a quote that is never closed."
    return UserError(place, f"at most {MAX_REVIEW:,} characters", "more", remedy)
