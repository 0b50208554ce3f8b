"""Many reviews into words, by several processes, with bounded memory and a progress bar."""

from __future__ import annotations

import hashlib
import itertools
import multiprocessing
import os
import threading
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from imdb_lightning.data.vocabulary import tokenize

DIGEST = np.dtype([("high", "<u8"), ("low", "<u8")])
"""16 bytes of BLAKE2b of a review and its label: among a billion reviews, two agree by chance once in 10^20 times."""
_CHUNK = 2048
"""Reviews that go to a process at once: 3 MB of text of ordinary length."""
_AHEAD = 4
"""Chunks on their way for each process; a reader that is faster than they are waits."""

Reviews = list[tuple[str, int]]


class Chunk(NamedTuple):
    """Tokenized reviews.

    Attributes:
        words: the distinct ones.
        tokens: indices into `words`, the reviews one after the other, int32 `[N]`.
        lengths: tokens of each review, int64 `[R]`.
        labels: uint8 `[R]`.
        digests: of each review and its label, `DIGEST` `[R]`.
    """

    words: list[str]
    tokens: NDArray[np.int32]
    lengths: NDArray[np.int64]
    labels: NDArray[np.uint8]
    digests: NDArray[np.void]


def tokenized(reviews: Iterable[tuple[str, int]]) -> Iterator[Chunk]:
    """Tokenizes reviews in their order; more than one chunk by as many processes as there are CPUs.

    Args:
        reviews: texts and labels, read as they are needed.
    """
    chunks = _chunks(iter(reviews))
    first = next(chunks, [])
    second = next(chunks, None)
    if second is None:
        yield tokenize_chunk(first)
        return
    processes = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    slots = threading.Semaphore(_AHEAD * processes)
    # Fresh processes: forking one that has started threads may hang.
    with multiprocessing.get_context("spawn").Pool(processes) as pool, _progress() as progress:
        task = progress.add_task("Reading reviews", total=None)
        waiting = _throttled(itertools.chain([first, second], chunks), slots)
        try:
            for chunk in pool.imap(tokenize_chunk, waiting):
                slots.release()
                progress.advance(task, len(chunk.labels))
                yield chunk
        finally:
            # The pool cannot end while its feeder waits for a slot; more than any file has chunks left are given.
            slots.release(processes * 1000)


def tokenize_chunk(reviews: Reviews) -> Chunk:
    """What one process does."""
    words: dict[str, int] = {}
    tokens = [[words.setdefault(word, len(words)) for word in tokenize(text)] for text, _ in reviews]
    lengths = np.fromiter(map(len, tokens), np.int64, len(tokens))
    digests = b"".join(digest(text, label) for text, label in reviews)
    return Chunk(
        words=list(words),
        tokens=np.fromiter(itertools.chain.from_iterable(tokens), np.int32, int(lengths.sum())),
        lengths=lengths,
        labels=np.array([label for _, label in reviews], np.uint8),
        digests=np.frombuffer(digests, DIGEST),
    )


def digest(text: str, label: int) -> bytes:
    """16 bytes that stand for a review and its label; see `DIGEST`."""
    return hashlib.blake2b(f"{label}{text}".encode(), digest_size=16).digest()


def _chunks(reviews: Iterator[tuple[str, int]]) -> Iterator[Reviews]:
    while chunk := list(itertools.islice(reviews, _CHUNK)):
        yield chunk


def _throttled(chunks: Iterator[Reviews], slots: threading.Semaphore) -> Iterator[Reviews]:
    for chunk in chunks:
        slots.acquire()
        yield chunk


def _progress() -> Progress:
    columns = (SpinnerColumn(), TextColumn("{task.description}: {task.completed:,.0f}"), TimeElapsedColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)
