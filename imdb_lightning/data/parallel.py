"""Work in several threads, with results in order and bounded memory."""

import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from imdb_lightning.data.bounds import BATCH_CHARACTERS

Item = TypeVar("Item")
Result = TypeVar("Result")

# Items in flight for each thread; a faster reader waits for them.
_AHEAD = 2


def count_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def batches(items: Iterable[Item], most: int, characters: Callable[[Item], int]) -> Iterator[list[Item]]:
    """Lists of items to be worked on at once: at most so many, and fewer where they are long.

    Example:
        >>> list(batches("abc", 2, len))
        [['a', 'b'], ['c']]
    """
    batch: list[Item] = []
    held = 0
    for item in items:
        batch.append(item)
        held += characters(item)
        if len(batch) == most or held >= BATCH_CHARACTERS:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch


def map_in_order(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Does work that holds no lock of Python's for each item, by as many threads as there are CPUs.

    Results come in the items' order, and items are read a few ahead of them.

    Example:
        >>> list(map_in_order(abs, [-1, 2, -3]))
        [1, 2, 3]
    """
    threads = count_cores()
    with ThreadPoolExecutor(threads) as pool:
        started = (pool.submit(work, item) for item in items)
        running = deque(itertools.islice(started, _AHEAD * threads))
        while running:
            result = running.popleft().result()
            running.extend(itertools.islice(started, 1))
            yield result
