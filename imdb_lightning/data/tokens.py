"""Many reviews into words, by several processes, with bounded memory and a progress bar."""

import hashlib
import itertools
import multiprocessing
import os
from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from imdb_lightning.data.vocabulary import tokenize

# 16 bytes of BLAKE2b of a review and its label: among a billion reviews, two agree by chance once in 10^20 times.
DIGEST = np.dtype([("high", "<u8"), ("low", "<u8")])
# A review whose words are `length` tokens from `start` on, its label, 0 or 1, and its digest; `Reviews` are `[R]`.
REVIEW = np.dtype([("start", "<i8"), ("length", "<i8"), ("label", "u1"), ("digest", DIGEST)])
Reviews = NDArray[np.void]
Labelled = tuple[str, int]

# Reviews that go to a process at once: 3 MB of text of ordinary length.
_CHUNK = 2048
# Chunks in flight for each process; a faster reader waits for them, which keeps memory bounded.
_AHEAD = 4


class Chunk(NamedTuple):
    """Tokenized reviews: the distinct words, indices into them (int32 `[N]`), and `REVIEW` `[R]` in the same order."""

    words: list[str]
    tokens: NDArray[np.int32]
    reviews: Reviews


def tokenized(reviews: Iterable[Labelled]) -> Iterator[Chunk]:
    """Tokenizes reviews in their order, read as they are needed; more than one chunk in as many processes as CPUs."""
    chunks = _chunks(iter(reviews))
    first, second = next(chunks, []), next(chunks, None)
    if second is None:
        yield tokenize_chunk(first)
        return
    processes = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    columns = SpinnerColumn(), TextColumn("{task.description}: {task.completed:,.0f}"), TimeElapsedColumn()
    progress = Progress(*columns, console=Console(stderr=True), transient=True)
    # Fresh processes: forking one that has started threads may hang.
    with multiprocessing.get_context("spawn").Pool(processes) as pool, progress:
        task = progress.add_task("Reading reviews", total=None)
        # Lazy: a chunk is read only when it is taken from here, once the oldest of those in flight is done.
        started = (pool.apply_async(tokenize_chunk, [chunk]) for chunk in itertools.chain([first, second], chunks))
        running = deque(itertools.islice(started, _AHEAD * processes))
        while running:
            chunk = running.popleft().get()
            running.extend(itertools.islice(started, 1))
            progress.advance(task, len(chunk.reviews))
            yield chunk


def tokenize_chunk(labelled: list[Labelled]) -> Chunk:
    """What one process does."""
    words: dict[str, int] = {}
    tokens = [[words.setdefault(word, len(words)) for word in tokenize(text)] for text, _ in labelled]
    reviews = np.zeros(len(labelled), REVIEW)
    reviews["length"] = lengths = np.fromiter(map(len, tokens), np.int64, len(tokens))
    reviews["start"] = np.cumsum(lengths) - lengths
    reviews["label"] = [label for _, label in labelled]
    reviews["digest"] = np.frombuffer(b"".join(digest(text, label) for text, label in labelled), DIGEST)
    flat = np.fromiter(itertools.chain.from_iterable(tokens), np.int32, int(lengths.sum()))
    return Chunk(list(words), flat, reviews)


def digest(text: str, label: int) -> bytes:
    """16 bytes that stand for a review and its label; see `DIGEST`."""
    return hashlib.blake2b(f"{label}{text}".encode(), digest_size=16).digest()


def _chunks(reviews: Iterator[Labelled]) -> Iterator[list[Labelled]]:
    while chunk := list(itertools.islice(reviews, _CHUNK)):
        yield chunk
