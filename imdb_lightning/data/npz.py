"""Keras's `imdb.npz`, read without running code from it and checked once.

The reviews are a pickled array of lists. `np.load(allow_pickle=True)` would run any code in the pickle, and numpy's own
`__setstate__`, even alone, follows pointers that the file chooses: a crafted file read memory at an address that it
named. So the unpickler hands out stand-ins of ours, and of what they take only whole numbers go on to numpy.
"""

from __future__ import annotations

import pickle
import re
import reprlib
import zipfile
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from imdb_lightning.config.errors import UserError
from imdb_lightning.data.vocabulary import MAX_RANK

_HEADER_READERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
_SHOWN = 200
"""Characters of a damaged file's error in the message."""


def count_reviews(npz: Path) -> int:
    """How many training reviews the file says it has, without reading them.

    Raises:
        UserError: the file is damaged.
    """
    try:
        with zipfile.ZipFile(npz) as archive, archive.open("y_train.npy") as file:
            reviews = _read_header(file)[0]
        if not reviews:
            raise ValueError("no labels in y_train")
        return reviews
    except Exception as error:  # See `read_reviews`.
        raise _damaged(npz, error) from error


def read_reviews(npz: Path, split: str) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.uint8]]:
    """Reads one split in the file's order.

    Args:
        npz: path of the file.
        split: `train` or `test`.

    Returns:
        word ranks int32 `[N]`, each from 1 to `MAX_RANK`; review lengths int64 `[R]`, `R` at least 1; labels uint8
        `[R]` of 0 and 1.

    Raises:
        UserError: the file is damaged, it holds something that only running code could read, or a number in it is not
            what it should be.
    """
    try:
        with zipfile.ZipFile(npz) as archive:
            reviews = _read_lists(archive, f"x_{split}.npy")
            labels = _read_numbers(archive, f"y_{split}.npy")
        if not len(labels) or len(reviews) != len(labels):
            raise ValueError(f"{len(reviews)} reviews in x_{split} and {len(labels)} labels in y_{split}")
    # A hostile file finds its way into nearly every exception of zipfile, zlib, pickle and numpy, MemoryError included.
    except Exception as error:
        raise _damaged(npz, error) from error
    _check_labels(npz, f"y_{split}", labels)
    ranks, lengths = _check_ranks(npz, f"x_{split}", reviews)
    return ranks, lengths, labels.astype(np.uint8)


def _check_labels(npz: Path, name: str, labels: NDArray[Any]) -> None:
    wrong = np.flatnonzero((labels != 0) & (labels != 1))
    if len(wrong):
        raise _wrong_number(npz, name, int(wrong[0]), "a label 0 or 1", labels[wrong[0]].item())


def _check_ranks(npz: Path, name: str, reviews: list[Any]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """The reviews' word ranks, one after the other, and how many each has."""
    accepted, flat = f"ranks of words, whole numbers from 1 to {MAX_RANK}", array("q")
    for row, review in enumerate(reviews):
        try:
            # Takes whole numbers alone: of 1.5 or "12", numpy would silently make 1 and 12.
            flat.fromlist(review.numbers().tolist() if isinstance(review, _Array) else review)
        except (TypeError, OverflowError, ValueError) as error:
            raise _wrong_number(npz, name, row, accepted, reprlib.repr(review)) from error
    ranks, lengths = np.frombuffer(flat, np.int64), np.fromiter(map(len, reviews), np.int64, len(reviews))
    if len(ranks) and (ranks.min() < 1 or ranks.max() > MAX_RANK):
        first = int(np.flatnonzero((ranks < 1) | (ranks > MAX_RANK))[0])
        row = int(np.searchsorted(np.cumsum(lengths), first, side="right"))
        raise _wrong_number(npz, name, row, accepted, ranks[first].item())
    return ranks.astype(np.int32), lengths


def _wrong_number(npz: Path, name: str, row: int, accepted: str, got: object) -> UserError:
    return UserError(f"{npz}, {name}, row {row}", accepted, got, "Fetch the file again, or mend what wrote it.")


def _read_numbers(archive: zipfile.ZipFile, member: str) -> NDArray[Any]:
    """A plain array of whole numbers or booleans, `[R]`."""
    with archive.open(member) as file:
        rows, dtype = _read_header(file)
        if dtype.kind not in "iub":
            raise ValueError(f"{member} holds {dtype}, not whole numbers")
        content = file.read(rows * dtype.itemsize + 1)
    return _numbers(content, dtype, rows)


def _read_lists(archive: zipfile.ZipFile, member: str) -> list[Any]:
    """The lists of an array of objects; what they hold is not looked at."""
    with archive.open(member) as file:
        rows, dtype = _read_header(file)
        if not dtype.hasobject:
            raise ValueError(f"{member} holds {dtype}, not lists")
        loaded = _Unpickler(file).load()
    if not isinstance(loaded, _Array) or not isinstance(loaded.content, list) or len(loaded.content) != rows:
        raise ValueError(f"{member} does not hold {rows} lists")
    return loaded.content


def _read_header(file: IO[bytes]) -> tuple[int, np.dtype[Any]]:
    """Rows and type of a one-dimensional array."""
    version = np.lib.format.read_magic(file)
    if version not in _HEADER_READERS:
        raise ValueError(f"npy format {version}")
    shape, _, dtype = _HEADER_READERS[version](file)
    if len(shape) != 1 or shape[0] < 0:
        raise ValueError(f"an array of shape {shape}")
    return int(shape[0]), dtype


def _numbers(content: bytes, dtype: np.dtype[Any], rows: int) -> NDArray[Any]:
    if len(content) != rows * dtype.itemsize:
        raise ValueError(f"{len(content)} bytes for {rows} numbers of {dtype.itemsize} bytes")
    return np.frombuffer(content, dtype)


class _DType:
    """What the unpickler gives for a `numpy.dtype`: its name and byte order, nothing else."""

    __slots__ = ("name", "order")

    def __init__(self, name: str) -> None:
        self.name, self.order = name, "|"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        # As numpy writes it: version, byte order, then fields, subarray and sizes, which plain types do not have.
        if state[1] not in ("<", ">", "|", "=") or tuple(state[2:5]) != (None, None, None):
            raise pickle.UnpicklingError(f"the type {self.name!r} has a state of its own")
        self.order = state[1]


class _Array:
    """What the unpickler gives for a `numpy.ndarray`: a list as it is, or bytes of whole numbers.

    Attributes:
        content: a list, whose length the reader compares with the file's header, or bytes.
        dtype: of the bytes.
        rows: the array's length.
    """

    __slots__ = ("content", "dtype", "rows")

    def __init__(self) -> None:
        self.content: list[Any] | bytes = b""
        self.dtype, self.rows = _DType("u1"), 0

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, _, content = state
        (rows,) = shape
        of_objects = isinstance(content, list) and re.fullmatch("O8?", dtype.name)
        of_numbers = isinstance(content, bytes) and re.fullmatch("[iu][1248]", dtype.name)
        if not (of_objects or of_numbers):
            raise pickle.UnpicklingError("an array is neither a list nor whole numbers")
        self.content, self.dtype, self.rows = content, dtype, rows

    def __len__(self) -> int:
        return self.rows

    def numbers(self) -> NDArray[Any]:
        """The whole numbers, `[rows]`."""
        if not isinstance(self.content, bytes):
            raise ValueError("a review holds lists")
        return _numbers(self.content, np.dtype(self.dtype.order + self.dtype.name), self.rows)


class _Name:
    """What the unpickler gives for a name in the file: it can be called, and nothing can be set on it."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, *arguments: Any) -> Any:
        return _CALLS[self._name](*arguments)


def _make_dtype(name: str, align: object = False, copy: object = False) -> _DType:
    return _DType(name)


def _make_array(subtype: _Name, shape: Sequence[int], typecode: bytes) -> _Array:
    return _Array()


def _latin1(text: str, encoding: str) -> bytes:
    """How Python 3 writes a byte string in the old pickle protocol that the published file uses."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"encoding {encoding!r}")
    return text.encode("latin1")


_CALLS: dict[str, Any] = {
    "numpy.dtype": _make_dtype,
    "numpy.core.multiarray._reconstruct": _make_array,
    "numpy._core.multiarray._reconstruct": _make_array,
    "_codecs.encode": _latin1,
}


class _Unpickler(pickle.Unpickler):
    """Reads arrays of lists of whole numbers; any name that they do not need is refused."""

    def find_class(self, module: str, name: str) -> _Name:
        dotted = f"{module}.{name}"
        if dotted not in _CALLS and dotted != "numpy.ndarray":
            raise pickle.UnpicklingError(f"it asks for {dotted}")
        return _Name(dotted)


def _damaged(npz: Path, error: Exception) -> UserError:
    accepted = "an npz file with x_train, y_train, x_test and y_test as Keras publishes it"
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return UserError(npz, accepted, text[:_SHOWN], "Fetch the file again.")
