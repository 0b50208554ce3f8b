"""Keras's `imdb.npz`, read without running code from it, checked once, and put in Keras's order.

What the file says of its sizes is held against limits before anything is unpacked: three megabytes of zip may stand for
three gigabytes of zeros.
"""

import io
import reprlib
import zipfile
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from imdb_lightning.config.errors import UserError
from imdb_lightning.data.bounds import MAX_ARRAY, MAX_NPZ, MAX_ROWS
from imdb_lightning.data.pickled import read_lists, to_numbers
from imdb_lightning.data.vocabulary import MAX_RANK

_HEADER_READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
# What numpy writes; others can ask for any memory, or are slow.
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
SHUFFLE_SEED = 113
_REMEDY = "Fetch the file again, or mend what wrote it."


def count_reviews(npz: Path) -> int:
    """How many training reviews the file says it has, without reading them.

    Raises:
        UserError: the file is damaged.
    """
    with _open(npz) as archive:
        reviews, _ = _read_header(_member(archive, "y_train.npy"))
        if not reviews:
            raise ValueError("no labels in y_train")
    return reviews


def read_split(npz: Path, split: str) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.uint8]]:
    """Reads one split, `train` or `test`, in Keras's order.

    Returns:
        word ranks int32 `[N]`, each from 1 to `MAX_RANK`; review lengths int64 `[R]`, `R` at least 1; labels uint8
        `[R]` of 0 and 1.

    Raises:
        UserError: the file is damaged, only running code could read it, or a number in it is not what it should be.
    """
    x, y = f"x_{split}", f"y_{split}"
    with _open(npz) as archive:
        reviews, labels = _read_lists(archive, f"{x}.npy"), _read_numbers(archive, f"{y}.npy")
        if not len(labels) or len(reviews) != len(labels):
            raise ValueError(f"{len(reviews)} reviews in {x} and {len(labels)} labels in {y}")
    wrong = np.flatnonzero((labels != 0) & (labels != 1))
    if len(wrong):
        raise UserError(f"{npz}, {y}, row {wrong[0]}", "a label 0 or 1", labels[wrong[0]].item(), _REMEDY)
    # One random state shuffles the training rows and then, going on, as many test rows.
    random = np.random.RandomState(SHUFFLE_SEED)
    order = {name: random.permutation(len(reviews)) for name in ("train", "test")}[split]
    # An `array` takes whole numbers alone: of 1.5 or "12", numpy would silently make 1 and 12.
    flat, accepted = array("q"), f"ranks of words, whole numbers from 1 to {MAX_RANK}"
    for row in order:
        try:
            flat.fromlist(reviews[row])
        except (TypeError, OverflowError) as error:
            raise UserError(f"{npz}, {x}, row {row}", accepted, reprlib.repr(reviews[row]), _REMEDY) from error
    ranks, lengths = np.frombuffer(flat, np.int64), np.array([len(reviews[row]) for row in order], np.int64)
    # Before int32 cuts them: 2**32 + 1 would become 1.
    wrong = np.flatnonzero((ranks < 1) | (ranks > MAX_RANK))
    if len(wrong):
        row = order[np.searchsorted(np.cumsum(lengths), wrong[0], side="right")]
        raise UserError(f"{npz}, {x}, row {row}", accepted, ranks[wrong[0]].item(), _REMEDY)
    return ranks.astype(np.int32), lengths, labels[order].astype(np.uint8)


@contextmanager
def _open(npz: Path) -> Iterator[zipfile.ZipFile]:
    try:
        if (size := npz.stat().st_size) > MAX_NPZ:
            raise ValueError(f"{size:,} bytes, more than {MAX_NPZ:,}")
        with zipfile.ZipFile(npz) as archive:
            yield archive
    # A hostile file finds its way into nearly every exception of zipfile, zlib, pickle and numpy, MemoryError included.
    except Exception as error:
        accepted = "an npz file with x_train, y_train, x_test and y_test as Keras publishes it"
        text = " ".join(f"{type(error).__name__}: {error}".split())
        # Names out of the file stand in some of these messages, however long.
        raise UserError(npz, accepted, text[:200], "Fetch the file again.") from error


def _member(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    """A file of the archive, unpacked."""
    member = archive.getinfo(name)
    if member.file_size > MAX_ARRAY:
        raise ValueError(f"{name} has {member.file_size:,} bytes, more than {MAX_ARRAY:,}")
    if member.compress_type not in _COMPRESSIONS:
        raise ValueError(f"{name} is compressed by method {member.compress_type}")
    return io.BytesIO(archive.read(member))


def _read_numbers(archive: zipfile.ZipFile, member: str) -> NDArray[Any]:
    """A plain array of whole numbers or booleans, `[R]`."""
    file = _member(archive, member)
    rows, dtype = _read_header(file)
    if dtype.kind not in "iub":
        raise ValueError(f"{member} holds {dtype}, not whole numbers")
    return to_numbers(file.read(), dtype, rows)


def _read_lists(archive: zipfile.ZipFile, member: str) -> list[Any]:
    """The rows of an array of objects: lists of anything, and whatever is no list."""
    file = _member(archive, member)
    rows, dtype = _read_header(file)
    if not dtype.hasobject:
        raise ValueError(f"{member} holds {dtype}, not lists")
    return read_lists(file.read(), rows)


def _read_header(file: IO[bytes]) -> tuple[int, np.dtype[Any]]:
    """Rows and type of a one-dimensional array."""
    version = np.lib.format.read_magic(file)
    if version not in _HEADER_READERS:
        raise ValueError(f"npy format {version}")
    shape, _, dtype = _HEADER_READERS[version](file)
    if len(shape) != 1 or not 0 <= shape[0] <= MAX_ROWS:
        raise ValueError(f"an array of shape {shape}")
    return int(shape[0]), dtype
