"""Lists of whole numbers out of a pickled array, with bounded memory and without running anything that is in it.

`np.load(allow_pickle=True)` would run any code in the pickle, and numpy's own `__setstate__`, even alone, follows
pointers that the file chooses: a crafted file read memory at an address that it named. So the unpickler hands out
stand-ins that do nothing, and of what they keep only whole numbers go on to numpy. What it would allocate is seen
before it starts: a byte of a pickle may stand for a list of 56 bytes, and five for a table of gigabytes.
"""

import io
import pickle
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# All names that lists of whole numbers need in a pickle; numpy 2 moved `core` to `_core`.
_NAMES = re.compile(r"numpy\.(ndarray|dtype|_?core\.multiarray\._reconstruct)|_codecs\.encode")
# Up to a thousand instructions that take a few bytes at most: marks, numbers, what goes into a list or a small memo.
_PLAIN = re.compile(rb"(?s:[(eabN)0.\x88\x89\x93\x94]|[Kqh\x80].|M..|[Jj].{4}|[G\x95].{8}){1,1000}")
# Instructions that make a list, a tuple or an object, and the bytes of the lengths of strings and long numbers.
_MAKERS, _LENGTHS = b"]tR\x85\x86\x87", {b"U": 1, b"C": 1, b"\x8c": 1, b"\x8a": 1, b"X": 4, b"B": 4, b"T": 4}
_LINES = re.compile(rb"c[^\n]*\n[^\n]*\n")
# Lists, tuples and objects of an array that is a row; a list takes one.
_MADE_BY_ROW, _MADE_BESIDES = 8, 100


def read_lists(content: bytes, rows: int) -> list[Any]:
    """The rows of a pickled array of objects: lists of anything but of more values than bytes, and what is no list.

    Raises:
        ValueError: it holds something else; besides, whatever `pickle.load` raises.
    """
    _check_instructions(content, _MADE_BY_ROW * rows + _MADE_BESIDES)
    lists: list[Any] = _unpack(_Unpickler(io.BytesIO(content)).load(), list, "O8?")[0]
    if len(lists) != rows:
        raise ValueError(f"it does not hold {rows} lists")
    arrays = [(row, _unpack(row, bytes, "[iu][1248]")) for row in lists if isinstance(row, _StandIn)]
    # A list, or the bytes of an array, may be there many times.
    size = sum(len(row) for row in lists if isinstance(row, list)) + sum(len(parts[0]) for _, parts in arrays)
    if size > len(content):
        raise ValueError(f"{len(content):,} bytes stand for {size:,} or more")
    read = {id(row): to_numbers(*parts).tolist() for row, parts in arrays}
    return [read.get(id(row), row) for row in lists]


def to_numbers(content: bytes, dtype: np.dtype[Any], rows: int) -> NDArray[Any]:
    """An array `[rows]` of its bytes.

    Raises:
        ValueError: there are more bytes, or less.
    """
    if len(content) != rows * dtype.itemsize:
        raise ValueError(f"{len(content)} bytes for {rows} numbers of {dtype.itemsize} bytes")
    return np.frombuffer(content, dtype)


def _check_instructions(content: bytes, most: int) -> None:
    """Refuses a pickle with other instructions than lists of whole numbers need, or that makes more than `most` things.

    Raises:
        ValueError: it is such.
    """
    place, made = 0, 0
    while place < len(content):
        if plain := _PLAIN.match(content, place):
            place = plain.end()
            continue
        name = content[place : place + 1]
        argument = content[place + 1 : place + 1 + _LENGTHS.get(name, 4)]
        if name in _MAKERS:
            place, made = place + 1, made + 1
        elif name in _LENGTHS:
            place += 1 + len(argument) + int.from_bytes(argument, "little")
        # The number of a place in the memo, a table that is as long as the largest one says.
        elif name == b"r" and int.from_bytes(argument, "little") < most:
            place += 5
        elif lines := _LINES.match(content, place):
            place = lines.end()
        else:
            raise ValueError(f"the pickle holds {name!r} at byte {place:,}")
        if made > most:
            raise ValueError(f"the pickle makes more than {most:,} lists")


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
