"""Bags of words as CSR arrays: made once, kept as plain `.npy` files, read through memory maps.

A bag is the sorted distinct word ids of a review: exactly the columns of its multi-hot row that are one. A
review has 132 of them where the row has 10,000 columns, so a bag takes 75 times less memory, and since all
processes of a machine map the same files, they share one copy.

Shapes: `N` ids in all, `n` of a batch, `R` reviews, `B` reviews in a batch, `V` columns.
"""

import io
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from imdb_lightning.data.cache import WHOLE_BYTES, Pieces

Ids = NDArray[np.int32]
# Keeps `row * num_words + id` of one chunk within uint32, and the chunk's working memory within 200 MB.
CHUNK_IDS = 4_000_000
# Bags that are copied into a batch at once.
_JOINED = 512


@dataclass(frozen=True)
class Bags:
    """Labelled bags, one after the other."""

    ids: Ids  # Int32 `[N]`, sorted and distinct within each bag.
    offsets: NDArray[np.int64]  # `[R + 1]`; bag `r` is `ids[offsets[r]:offsets[r + 1]]`.
    labels: NDArray[np.uint8]  # `[R]`, 0 or 1.
    pieces: Pieces | None = None  # Checks a large file that the ids are mapped from; None: they need no check.

    def __len__(self) -> int:
        return len(self.labels)

    def larger_class(self) -> float:
        """The share of reviews in the class that has more of them: what always answering it gets right."""
        return float(np.bincount(self.labels, minlength=2).max() / max(len(self), 1))

    def part(self, start: int, stop: int) -> "Bags":
        """The bags from row `start` to before row `stop`, sharing memory."""
        return Bags(self.ids, self.offsets[start : stop + 1], self.labels[start:stop], self.pieces)

    def span(self, start: int, stop: int) -> tuple[Ids, Ids]:
        """A batch of neighbouring rows: ids `[n]`, sharing memory, and offsets int32 `[B + 1]` from 0."""
        offsets = self.offsets[start : stop + 1]
        self._check(offsets[:1], offsets[-1:])
        return self.ids[offsets[0] : offsets[-1]], (offsets - offsets[0]).astype(np.int32)

    def take(self, rows: NDArray[np.integer[Any]]) -> tuple[Ids, Ids]:
        """A batch of any rows, in their order: ids `[n]` and offsets int32 `[B + 1]` from 0.

        Example:
            >>> bags = Bags(np.array([1, 4, 2], "i4"), np.array([0, 2, 2, 3]), np.array([1, 0, 1], "u1"))
            >>> bags.take(np.array([2, 1, 0]))
            (array([2, 1, 4], dtype=int32), array([0, 1, 1, 3], dtype=int32))
        """
        starts, stops = self.offsets[rows], self.offsets[rows + 1]
        self._check(starts, stops)
        offsets = np.zeros(len(rows) + 1, np.int32)
        np.cumsum(stops - starts, out=offsets[1:])
        # Each bag is copied whole, as bytes; indexing would look up each id. Some hundred bags at a time: the system
        # hands out fresh memory for what is larger, page by page, unless NumPy asks for it.
        content, size = self.ids.view(np.uint8).data, self.ids.itemsize
        ids = np.empty(offsets[-1], self.ids.dtype)
        spans = map(slice, (size * starts).tolist(), (size * stops).tolist())
        parts, target = map(content.__getitem__, spans), ids.view(np.uint8).data
        for first in range(0, len(rows), _JOINED):
            begin, end = offsets[[first, min(first + _JOINED, len(rows))]].tolist()
            target[size * begin : size * end] = b"".join(itertools.islice(parts, _JOINED))
        return ids, offsets

    def will_need(self, rows: NDArray[np.integer[Any]]) -> None:
        """Has the system read the bags of these rows from a large file, in the background; small ones are read whole.

        Neighbours, in any order among the rows, are read together.
        """
        if self.pieces is not None and len(rows):
            rows = np.sort(rows)
            breaks = np.flatnonzero(np.diff(rows) > 1)
            firsts, lasts = np.append(rows[0], rows[breaks + 1]), np.append(rows[breaks], rows[-1])
            header = len(_header(0))
            self.pieces.will_need(header + 4 * self.offsets[firsts], header + 4 * self.offsets[lasts + 1])

    def _check(self, starts: NDArray[np.int64], stops: NDArray[np.int64]) -> None:
        # Once all pieces have been checked, a batch pays nothing.
        if self.pieces is not None and self.pieces.left:
            self.pieces.check(len(_header(0)) + 4 * starts, len(_header(0)) + 4 * stops)


def multi_hot(ids: Ids, offsets: Ids, num_words: int) -> NDArray[np.float32]:
    """The dense rows of a batch, float32 `[B, V]`: one where the bag has the word, else zero.

    Example:
        >>> multi_hot(np.array([1, 3, 0], "i4"), np.array([0, 2, 2, 3], "i4"), 4)
        array([[0., 1., 0., 1.],
               [0., 0., 0., 0.],
               [1., 0., 0., 0.]], dtype=float32)
    """
    rows = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    dense = np.zeros((len(offsets) - 1, num_words), np.float32)
    dense[rows, ids] = 1.0
    return dense


def distinct(ids: Ids, lengths: NDArray[np.integer[Any]], num_words: int) -> tuple[Ids, NDArray[np.int64]]:
    """Makes bags of reviews of ids int32 `[N]`, from 0 to below `V`: their ids, and how many each has, int64 `[R]`."""
    rows = len(lengths)
    # Sorting `row * V + id` as uint32 and comparing neighbours takes 0.09 s for the 5.9 million ids of 25,000 reviews;
    # `np.unique`, which hashes first, takes 5 s.
    wide = np.dtype(np.uint32 if rows * num_words < 2**32 else np.uint64)
    keys = np.repeat(np.arange(rows, dtype=wide) * wide.type(num_words), lengths) + ids.astype(wide)
    keys.sort()
    if len(keys):
        keys = keys[np.concatenate([[True], keys[1:] != keys[:-1]])]
    row_of_key, kept = np.divmod(keys, wide.type(num_words))
    return kept.astype(np.int32), np.bincount(row_of_key.astype(np.intp), minlength=rows)


class BagsWriter:
    """Writes one split's bags to `<name>_ids.npy`, `<name>_offsets.npy` and `<name>_labels.npy`, chunk by chunk.

    Only the offsets and labels (9 bytes a review) are held in memory, so a split may be of any size.
    """

    def __init__(self, folder: Path, name: str, num_words: int) -> None:
        self._folder, self._name, self._num_words = folder, name, num_words
        self._counts, self._labels = [np.zeros(1, np.int64)], [np.zeros(0, np.uint8)]
        self._file: BinaryIO = (folder / f"{name}_ids.npy").open("wb")
        self._file.write(_header(0))

    def append(self, ids: Ids, lengths: NDArray[np.integer[Any]], labels: NDArray[np.integer[Any]]) -> None:
        """Adds reviews: ids int32 `[N]` with repetitions, lengths `[R]`, labels `[R]` of 0 and 1."""
        assert len(lengths) == len(labels), "a label for each review"
        assert len(ids) == lengths.sum(), "the reviews' lengths add up"
        # Before they are part of keys, in which one out of range would move words into other reviews.
        assert not len(ids) or (ids.min() >= 0 and ids.max() < self._num_words), "ids are columns"
        stops = np.cumsum(lengths)
        first = 0
        while first < len(lengths):
            begin = stops[first] - lengths[first]
            last = max(first + 1, int(np.searchsorted(stops, begin + CHUNK_IDS, side="right")))
            kept, counts = distinct(ids[begin : stops[last - 1]], lengths[first:last], self._num_words)
            self.append_bags(kept, counts, labels[first:last])
            first = last

    def append_bags(self, ids: Ids, counts: NDArray[np.int64], labels: NDArray[np.integer[Any]]) -> None:
        """Adds what `distinct` gives, and labels `[R]` of 0 and 1."""
        # One out of range would train on, without a word.
        assert not len(labels) or (labels.min() >= 0 and labels.max() <= 1), "labels are 0 or 1"
        # Not `tofile` or `np.save`, which keep the system's reason for themselves: a full disk, say.
        self._file.write(ids.tobytes())
        self._counts.append(counts)
        self._labels.append(labels.astype(np.uint8))

    def __enter__(self) -> "BagsWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._file as file:
            if kind is not None:
                return
            offsets = np.cumsum(np.concatenate(self._counts))
            # numpy pads the header so that it keeps its length while the first axis grows.
            file.seek(0)
            file.write(_header(int(offsets[-1])))
        save_array(self._folder / f"{self._name}_offsets.npy", offsets)
        save_array(self._folder / f"{self._name}_labels.npy", np.concatenate(self._labels))


def save_array(path: Path, array: NDArray[Any]) -> None:
    """Writes an array as `.npy`, to the bytes of `np.save`, and raises what the system says."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, np.lib.format.header_data_from_array_1_0(array))
    with path.open("wb") as file:
        file.write(buffer.getvalue())
        file.write(array.tobytes())


def _header(count: int) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "<i4", "fortran_order": False, "shape": (count,)})
    return buffer.getvalue()


def open_bags(folder: Path, name: str) -> "Bags":
    """Maps what a `BagsWriter` wrote, in a folder of the cache; no ids are read until they are used."""
    # Copy-on-write, since torch warns of read-only arrays; nobody writes, so all processes share the pages.
    # Plain arrays over the same map: indexing a np.memmap costs a Python call each time.
    paths = [folder / f"{name}_{part}.npy" for part in ("ids", "offsets", "labels")]
    mapped = [np.load(path, mmap_mode="c") for path in paths]
    ids, offsets, labels = map(np.asarray, mapped)
    return Bags(ids, offsets, labels, Pieces(paths[0], mapped[0].base) if len(mapped[0].base) > WHOLE_BYTES else None)
