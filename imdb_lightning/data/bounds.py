"""What a data file may be and hold: the limits, each with its reason, and what is refused before it is read.

They bound what is held in memory at once, never the length of a file that is read row by row: files of reviews may have
any number of gigabytes.
"""

import gzip
import os
from pathlib import Path

from imdb_lightning.config.errors import UserError
from imdb_lightning.config.reading import check_file

# Characters of a review, of a line, and of a row of CSV with all its fields: five times War and Peace.
MAX_REVIEW = 1 << 24
# Characters of a label that tell it from others: the named column may hold reviews, but no class has such a name.
MAX_LABEL = 1000
# Characters from which on reviews that wait to be worked on at once are no more added to: some 13,000 of IMDB's.
BATCH_CHARACTERS = 1 << 24
# Bytes that compressed text may grow to, for each of its own, unless they are few: text grows threefold, a table of
# numbers tenfold, and only what says nothing a thousandfold.
MAX_GROWTH, FREE_BYTES = 100, 32 << 20
# Bytes of imdb.npz, of each array in it, and rows of these: 7, 4 and 40 times those of the published one. A pickled
# number of two bytes takes 40 in memory.
MAX_NPZ, MAX_ARRAY, MAX_ROWS = 128 << 20, 64 << 20, 1 << 20
# Bytes of a word index: some 14 million words. That of imdb.npz has 1.6 MB.
MAX_INDEX = 256 << 20
# Bytes of a list of what a prepared folder holds: of a terabyte it has 12 MB.
MAX_MANIFEST = 64 << 20


def read_bounded(path: Path, most: int) -> bytes:
    """A whole file of at most so many bytes.

    Raises:
        UserError: it is none, or larger.
    """
    check_file(path)
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            raise UserError(path, f"at most {most:,} bytes", f"{size:,}", "Name another file.")
        return file.read(size)


class Unpacked(gzip.GzipFile):
    """A compressed file that is not read on where it grows more than text does."""

    def __init__(self, path: Path, mode: str) -> None:
        super().__init__(path, mode)
        self._most = max(FREE_BYTES, MAX_GROWTH * path.stat().st_size)

    def read1(self, size: int = -1) -> bytes:
        """Some bytes, as a text file asks for them.

        Raises:
            gzip.BadGzipFile: there are too many of them for so small a file.
        """
        content = super().read1(size)
        if self.tell() > self._most:
            raise gzip.BadGzipFile(f"it grows to more than {self._most:,} bytes")
        return content
