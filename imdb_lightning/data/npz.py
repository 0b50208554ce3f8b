"""Keras's `imdb.npz`, read without running code from it, checked once, and put in Keras's order.

The reviews are a pickled array of lists. `np.load(allow_pickle=True)` would run any code in the pickle, and numpy's own
`__setstate__`, even alone, follows pointers that the file chooses: a crafted file read memory at an address that it
named. So the unpickler hands out stand-ins that do nothing, and of what they keep only whole numbers go on to numpy.
"""

import pickle
import re
import reprlib
import zipfile
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from imdb_lightning.config.errors import UserError
from imdb_lightning.data.vocabulary import MAX_RANK

_HEADER_READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
# All names that lists of whole numbers need in a pickle; numpy 2 moved `core` to `_core`.
_NAMES = re.compile(r"numpy\.(ndarray|dtype|_?core\.multiarray\._reconstruct)|_codecs\.encode")
SHUFFLE_SEED = 113
_REMEDY = "Fetch the file again, or mend what wrote it."


def count_reviews(npz: Path) -> int:
    """How many training reviews the file says it has, without reading them.

    Raises:
        UserError: the file is damaged.
    """
    with _open(npz) as archive, archive.open("y_train.npy") as file:
        reviews, _ = _read_header(file)
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
        with zipfile.ZipFile(npz) as archive:
            yield archive
    # A hostile file finds its way into nearly every exception of zipfile, zlib, pickle and numpy, MemoryError included.
    except Exception as error:
        accepted = "an npz file with x_train, y_train, x_test and y_test as Keras publishes it"
        text = " ".join(f"{type(error).__name__}: {error}".split())
        # Names out of the file stand in some of these messages, however long.
        raise UserError(npz, accepted, text[:200], "Fetch the file again.") from error


def _read_numbers(archive: zipfile.ZipFile, member: str) -> NDArray[Any]:
    """A plain array of whole numbers or booleans, `[R]`."""
    with archive.open(member) as file:
        rows, dtype = _read_header(file)
        if dtype.kind not in "iub":
            raise ValueError(f"{member} holds {dtype}, not whole numbers")
        # One byte more than the header promises, so that a longer member is noticed.
        return _numbers(file.read(rows * dtype.itemsize + 1), dtype, rows)


def _read_lists(archive: zipfile.ZipFile, member: str) -> list[Any]:
    """The rows of an array of objects: lists of anything, and whatever is no list."""
    with archive.open(member) as file:
        rows, dtype = _read_header(file)
        if not dtype.hasobject:
            raise ValueError(f"{member} holds {dtype}, not lists")
        lists: list[Any] = _unpack(_Unpickler(file).load(), list, "O8?")[0]
    if len(lists) != rows:
        raise ValueError(f"{member} does not hold {rows} lists")
    kinds = "[iu][1248]"
    return [_numbers(*_unpack(row, bytes, kinds)).tolist() if isinstance(row, _StandIn) else row for row in lists]


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


@dataclass(slots=True, eq=False, repr=False)
class _StandIn:
    """What the unpickler gives for a name in the file, and for what comes of calling it: a record that does nothing."""

    name: str
    arguments: tuple[Any, ...] = ()
    state: object = None

    def __call__(self, *arguments: Any) -> Any:
        if self.name != "encode":
            return _StandIn(self.name, arguments)
        # How Python 3 writes a byte string in the old pickle protocol that the published file uses.
        text, encoding = arguments
        if encoding != "latin1":
            raise pickle.UnpicklingError(f"encoding {encoding!r}")
        return text.encode("latin1")

    # Without this method a state would be set as attributes.
    def __setstate__(self, state: object) -> None:
        self.state = state


class _Unpickler(pickle.Unpickler):
    """Reads arrays of lists of whole numbers; any name that they do not need is refused."""

    def find_class(self, module: str, name: str) -> _StandIn:
        dotted = f"{module}.{name}"
        if not _NAMES.fullmatch(dotted):
            raise pickle.UnpicklingError(f"it asks for {dotted}")
        return _StandIn(dotted.rpartition(".")[2])


def _unpack(found: object, holds: type, kinds: str) -> tuple[Any, np.dtype[Any], int]:
    """Content, type and length of a one-dimensional array: what numpy writes of one, and nothing else."""
    match found:
        case _StandIn("_reconstruct", (_, _, _), (_, (int(rows),), _StandIn("dtype") as dtype, _, content)):
            match dtype.arguments, dtype.state:
                # After the version and byte order: subarray, names and fields, which plain types do not have.
                case (str(kind), _, _), (_, "<" | ">" | "|" | "=" as order, None, None, None, *_):
                    if isinstance(content, holds) and re.fullmatch(kinds, kind):
                        return content, np.dtype(f"{order}{kind}"), rows
    raise pickle.UnpicklingError("an array is neither a list nor whole numbers")
