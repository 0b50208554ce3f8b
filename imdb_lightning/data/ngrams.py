"""Bags of n-grams: which ones the training reviews have, and those of a review.

An n-gram is a run of words that stand next to each other; its column is its place in a table. The table of an order
builds on the one before: an n-gram is the column of all its words but the last, and the last. Nothing is hashed, so no
two n-grams share a column, and all steps are over whole arrays of ids.

Shapes: `N` ids in all, `R` reviews, `C` columns.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from imdb_lightning.config.errors import UserError
from imdb_lightning.data.bags import Ids, distinct

Int64s = NDArray[np.int64]
# Gives reviews anew with each call, some thousand at a time: ids int32 `[N]`, 0 for a word that stands in no n-gram,
# and lengths `[R]`.
Chunks = Callable[[], Iterable[tuple[Ids, Int64s]]]
FILE = "ngrams.safetensors"  # In a prepared folder and in a run's.
# A key is this times the column of the words before, plus the id of the last word.
_IDS = 2**31


@dataclass(frozen=True)
class NGrams:
    """The n-grams that have columns."""

    tables: tuple[Int64s, ...]  # Keys of each order, from 1, sorted; columns count through all of them.

    def __len__(self) -> int:
        return sum(map(len, self.tables))

    def bags(self, ids: Ids, lengths: Int64s) -> tuple[Ids, Int64s]:
        """The distinct columns of each review, sorted, int32 `[n]`, and how many each has, `[R]`.

        Example:
            >>> ngrams = learn(lambda: [(np.array([4, 5, 4, 5, 6], "i4"), np.array([5]))], 2, 1)
            >>> len(ngrams), ngrams.bags(np.array([4, 5, 0, 5, 6], "i4"), np.array([4, 1]))
            (6, (array([0, 1, 3, 2], dtype=int32), array([3, 1])))
        """
        rows = np.repeat(np.arange(len(lengths)), lengths)
        columns = list(self._columns(ids, rows))
        starts = [np.flatnonzero(of_order >= 0) for of_order in columns]
        rows_found = np.concatenate([rows[places] for places in starts])
        found = np.concatenate([of_order[places] for of_order, places in zip(columns, starts, strict=True)])
        # Rows are sorted within an order, so that this sort merges as many runs as there are orders.
        order = np.argsort(rows_found, kind="stable")
        counts = np.bincount(rows_found, minlength=len(lengths))
        return distinct(found[order].astype(np.int32), counts, max(len(self), 1))

    def words(self, column: int) -> list[int]:
        """The ids of an n-gram's words.

        Example:
            >>> NGrams((np.array([4, 7]), np.array([1 * 2**31 + 4]))).words(2)
            [7, 4]
        """
        for number, table in enumerate(self.tables):
            if column < len(table):
                before, last = divmod(int(table[column]), _IDS)
                return [*(self.words(before) if number else []), last]
            column -= len(table)
        raise IndexError(column)

    def _columns(self, ids: Ids, rows: Int64s) -> Iterator[Int64s]:
        """For each order the column of the n-gram that begins at each word, -1 where there is none."""
        columns, first = np.zeros(len(ids) + 1, np.int64), 0
        for number, table in enumerate(self.tables):
            keys = _keys(ids, rows, columns, number)
            places = np.searchsorted(table, keys)
            known = table[np.minimum(places, len(table) - 1)] == keys if len(table) else np.zeros(len(keys), bool)
            columns, first = np.where(known, first + places, -1), first + len(table)
            yield columns


def to_bytes(ngrams: NGrams) -> bytes:
    """What `ngrams.safetensors` holds: for each order its keys, by the order's number."""
    return save({str(number): table for number, table in enumerate(ngrams.tables, start=1)})


def load_ngrams(folder: Path) -> NGrams:
    """Reads `ngrams.safetensors`.

    Raises:
        UserError: the file is missing or damaged.
    """
    try:
        arrays = load_file(folder / FILE)
        tables = tuple(arrays[str(number)] for number in range(1, len(arrays) + 1))
        columns, before = 0, range(1)
        for table in tables:
            if table.dtype != np.int64 or table.ndim != 1 or not (table[1:] > table[:-1]).all():
                raise ValueError("keys that are not whole numbers in rising order")
            if len(table) and not (int(table[0]) // _IDS in before and int(table[-1]) // _IDS in before):
                raise ValueError("n-grams that begin with unknown ones")
            before = range(columns, columns + len(table))  # Those that the next order's begin with.
            columns += len(table)
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        text = " ".join(str(error).split())
        raise UserError(folder / FILE, "the n-grams of a run", text, "Name a finished run's folder.") from error
    return NGrams(tables)


def learn(chunks: Chunks, orders: int, min_count: int) -> NGrams:
    """All n-grams of 1 to `orders` words that stand in at least `min_count` reviews.

    Memory holds the n-grams themselves and one chunk of reviews.
    """
    tables: list[Int64s] = []
    for number in range(orders):
        ngrams = NGrams(tuple(tables))
        keys, counts = np.zeros(0, np.int64), np.zeros(0, np.int64)
        waiting: list[tuple[Int64s, Int64s]] = []
        for ids, lengths in chunks():
            waiting.append(_count(ngrams, ids, lengths, number))
            # As much as there is already, so that each count is moved a few times only, however many chunks there are.
            if sum(len(some) for some, _ in waiting) > len(keys):
                keys, counts = _add([(keys, counts), *waiting])
                waiting = []
        keys, counts = _add([(keys, counts), *waiting])
        tables.append(keys[counts >= min_count])
    return NGrams(tuple(tables))


def _count(ngrams: NGrams, ids: Ids, lengths: Int64s, number: int) -> tuple[Int64s, Int64s]:
    """The keys of the order after those in the tables, sorted, and in how many of these reviews each is."""
    rows = np.repeat(np.arange(len(lengths)), lengths)
    *_, columns = np.zeros(len(ids) + 1, np.int64), *ngrams._columns(ids, rows)
    keys = _keys(ids, rows, columns, number)
    # One that holds a rarer n-gram is at least as rare: those without the n-gram of its last words need no count.
    places = np.flatnonzero((keys >= 0) & (columns[1:][: len(keys)] >= 0))
    found = np.sort(keys[places])
    found = found[np.append(True, found[1:] != found[:-1])] if len(found) else found
    numbers = np.searchsorted(found, keys[places]).astype(np.int32)
    once, _ = distinct(numbers, np.bincount(rows[places], minlength=len(lengths)), max(len(found), 1))
    return found, np.bincount(once, minlength=len(found))


def _keys(ids: Ids, rows: Int64s, columns: Int64s, number: int) -> Int64s:
    """The keys of `number + 1` words from each word on, -1 where they are not all there.

    `columns` are those of the first `number` words.
    """
    last = ids[number:]
    there = (last > 0) & (columns[: len(last)] >= 0) & (rows[: len(last)] == rows[number:])
    return np.where(there, columns[: len(last)] * _IDS + last, -1)


def _add(parts: list[tuple[Int64s, Int64s]]) -> tuple[Int64s, Int64s]:
    """Counts by their keys, sorted."""
    keys, counts = (np.concatenate(of_parts) for of_parts in zip(*parts, strict=True))
    order = np.argsort(keys, kind="stable")
    keys, counts = keys[order], counts[order]
    firsts = np.flatnonzero(np.append(True, keys[1:] != keys[:-1])) if len(keys) else np.zeros(0, np.int64)
    return keys[firsts], np.add.reduceat(counts, firsts) if len(keys) else counts
